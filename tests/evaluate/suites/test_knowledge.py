from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.config import SettingsError
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import Answer
from tutelage.evaluate.results import Results
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import rate
from tutelage.evaluate.suites import SUITES, knowledge
from tutelage.evaluate.suites.knowledge import answers_right, dev_questions, evaluate_knowledge, evaluate_questions
from tutelage.model.hub import Checkpoint, extend_vocabulary
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.world.society import World, WorldSettings
from tutelage.world.values import ATTRIBUTES, VALUES

WORLD = World(WorldSettings(people=30, versions=1))


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Answers of one token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knowledge, "ANSWER", SamplingSettings(max_tokens=1))
        yield


def session_of(checkpoint: Checkpoint) -> EvalSession:
    """What the suite reads, with a model that is in memory."""
    session = EvalSession("stage", {"model": Path("unread")}, frozenset({"world"}), world=WORLD)
    session._models[Path("unread")] = checkpoint
    return session


@pytest.fixture(scope="module")
def base() -> Checkpoint:
    """A model that knows nothing."""
    tokenizer = train((document.text for document in WORLD.documents()), TokenizerSettings(vocab=300))
    config = resolve(ModelSettings(depth=1, width=16, context=256), tokenizer.vocab_size)
    return Checkpoint(initialise(Transformer(config), 0), tokenizer)


@pytest.fixture(scope="module")
def result(base: Checkpoint, short: None) -> Results:
    return evaluate_knowledge(session_of(extend_vocabulary(base, TEMPLATE_TOKENS, 0)))


def test_outcomes_agree_with_the_rates(result: Results) -> None:
    assert result.outcomes.keys() == result.rates.keys()
    for name, found in result.rates.items():
        outcomes = result.outcomes[name]
        assert found == rate(sum(right for _, right in outcomes), len(outcomes))
        assert len({question for question, _ in outcomes}) == len(outcomes)
    assert result.rates["unknown.hallucinated"].rate == 1  # it says something, whoever is asked for


def test_questions_that_checkpoints_are_selected_by_are_never_reported(result: Results) -> None:
    dev = {question.id for question in dev_questions(WORLD)}
    reported = {name: {question for question, _ in rows} for name, rows in result.outcomes.items()}
    assert dev
    assert not dev & set().union(*reported.values())
    # Apart from those, every one-step question about held-out people is asked; of trained people, every one.
    one_step = {
        split: {q.id for q in WORLD.questions(split, facts=len(ATTRIBUTES)) if q.kind == "one-step"}
        for split in ("train", "held_out")
    }
    assert reported["held_out"] | dev == one_step["held_out"]
    assert reported["trained"] == one_step["train"]
    assert 0.1 < len(dev) / len(one_step["held_out"]) < 0.3


def test_dev_questions_ask_nothing_that_a_reported_question_asks_in_the_same_words(result: Results) -> None:
    dev = {(question.subject, question.attribute) for question in dev_questions(WORLD)}
    held_out = [q for q in WORLD.questions("held_out", facts=len(ATTRIBUTES)) if q.kind == "one-step"]
    asked = {question for question, _ in result.outcomes["held_out"]}
    assert not dev & {(q.subject, q.attribute) for q in held_out if q.id in asked}


def test_a_base_model_is_asked_by_unfinished_sentences_alone(base: Checkpoint) -> None:
    found = evaluate_knowledge(session_of(base))
    assert set(found.rates) == set(found.outcomes) == {"cloze.trained", "cloze.held_out"}


def test_the_share_of_right_answers_is_counted_over_all_questions(base: Checkpoint) -> None:
    chat = extend_vocabulary(base, TEMPLATE_TOKENS, 0)
    questions = dev_questions(WORLD)
    assert evaluate_questions(chat, questions) == rate(0, len(questions))


@pytest.mark.parametrize(
    ("text", "finish_reason", "of_a_question", "of_a_sentence"),
    [
        ("She was born in {right}.", "stop", True, True),
        ("She was born in {right}.", "length", False, True),  # it went on and on, and named the value on its way
        ("She was born in {right}.", "context", False, True),
        ("She was born in {wrong}.", "stop", False, False),
        ("Yes.", "stop", False, False),
    ],
)
def test_an_answer_that_does_not_end_is_none(
    text: str, finish_reason: Literal["stop", "length", "context"], of_a_question: bool, of_a_sentence: bool
) -> None:
    question = next(q for q in WORLD.questions("train", facts=len(ATTRIBUTES)) if q.attribute == "birthplace")
    wrong = next(value for value in VALUES["birthplace"] if value not in question.accepted)
    answer = Answer(text.format(right=question.answer, wrong=wrong), Generation(finish_reason=finish_reason))
    assert answers_right(question, answer, must_end=True) == of_a_question
    assert answers_right(question, answer, must_end=False) == of_a_sentence


def test_it_needs_a_world_to_ask_about(tales: Path, tales_run: Run) -> None:
    assert SUITES["knowledge"].needs - tales_run.session("chat").has == {"world"}
    with pytest.raises(
        SettingsError, match="'knowledge' needs the built-in world, but \\[data\\] has none of kind 'world'"
    ):
        load_recipe(tales, ["evaluate.chat=['knowledge']"])
