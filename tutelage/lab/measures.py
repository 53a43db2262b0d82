"""What findings measure of a model per item: right answers, format, words, log-likelihoods; and what training cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tutelage.chat import make_renderer
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import ANSWER, Answer, ask
from tutelage.evaluate.sequence_scores import score_sequences
from tutelage.evaluate.suites.format import FormatResult, evaluate_format
from tutelage.evaluate.suites.knowledge import answers_right
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import demo_world
from tutelage.model.hub import Checkpoint, load_model
from tutelage.records import Conversation, Example, Split, message
from tutelage.world.grading import Question
from tutelage.world.prompts import prompt_sets
from tutelage.world.values import ATTRIBUTES

T = TypeVar("T")
QUICK_ITEMS = 4  # of each kind that a quick run asks


@dataclass(frozen=True)
class PersonAnswers:
    """The answers of a model to questions about people: per question, whether it is right, stopped by itself and how
    many words it has."""

    answers: Sequence[Answer]
    right: np.ndarray
    stopped: np.ndarray
    words: np.ndarray


def some(runs: RunCache, items: Sequence[T], count: int | None = None) -> list[T]:
    """The first `count` items, or all; few of them in a quick run."""
    return list(items[: QUICK_ITEMS if runs.overrides else count])


def person_questions(split: Split = "held_out", each: int = len(ATTRIBUTES)) -> list[Question]:
    """One-step questions of the demo's world, `each` about everybody in a split."""
    return [question for question in demo_world().questions(split, facts=each) if question.kind == "one-step"]


def model_of(run: FinishedRun, stage: str) -> Checkpoint:
    """The model of a finished stage, or of a step that it keeps (STAGE@STEP)."""
    return load_model(run.run.folder / stage)


def ask_model(model: Checkpoint, prompts: Sequence[str], settings: SamplingSettings | None = None) -> list[Answer]:
    """The model's answer to each prompt of one user turn."""
    return ask(model, [Conversation((message("user", text),)) for text in prompts], settings or ANSWER, "answers")


def ask_questions(model: Checkpoint, questions: Sequence[Question]) -> PersonAnswers:
    """Greedy answers to questions of the world; an answer that does not stop is not right."""
    answers = ask_model(model, [question.prompt for question in questions])
    right = [
        answers_right(question, answer, must_end=True) for question, answer in zip(questions, answers, strict=True)
    ]
    stopped = [answer.generation.finish_reason == "stop" for answer in answers]
    words = [len(answer.text.split()) for answer in answers]
    return PersonAnswers(answers, *(np.array(values, np.float64) for values in (right, stopped, words)))


def format_of(model: Checkpoint, prompts: Sequence[Conversation]) -> FormatResult:
    """Greedy answers to prompts, with the checks of the suite "format"."""
    return evaluate_format(model, prompts, ANSWER)


def prompts_of(name: str, count: int) -> list[Conversation]:
    """Up to `count` prompts of one of the demo world's sets: in_domain, near, out_of_domain."""
    return prompt_sets(demo_world(), count)[name]


def reply_logprobs(model: Checkpoint, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """The log-probability in nats of each reply to its prompt, the end of the turn included, float64[pairs]."""
    return _scores(model, _reply_examples(model, pairs))


def reply_losses(model: Checkpoint, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """The mean loss in nats per token of each reply to its prompt, float64[pairs]."""
    examples = _reply_examples(model, pairs)
    tokens = [float(np.sum(example.weights)) for example in examples if example.weights is not None]
    return -_scores(model, examples) / tokens


def _reply_examples(model: Checkpoint, pairs: Sequence[tuple[str, str]]) -> list[Example]:
    renderer = make_renderer(model.tokenizer, model.chat_config)
    chats = [Conversation((message("user", prompt), message("assistant", reply))) for prompt, reply in pairs]
    examples = []
    for rendered in renderer.render_rows(chats, "assistant"):
        assert not isinstance(rendered, ValueError), rendered
        examples.append(Example(rendered[0].ids, rendered[0].weights))
    return examples


def _scores(model: Checkpoint, examples: Sequence[Example]) -> np.ndarray:
    found = np.empty(len(examples))
    for scores in score_sequences(model.model, examples):
        for number, score in scores:
            found[number] = score.logprob
    return found


def text_logprobs(model: Checkpoint, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """The log-probability in nats of each continuation of a beginning, without a chat template, float64[pairs]. The two
    are encoded apart."""
    encoded = [model.tokenizer.encode_batch(list(texts)) for texts in zip(*pairs, strict=True)]
    opening = model.tokenizer.document_edges[0]
    examples = []
    for beginning, rest in zip(*encoded, strict=True):
        weights = np.repeat(np.array([0, 1], np.float32), [len(opening) + len(beginning), len(rest)])
        examples.append(Example(np.concatenate([opening, beginning, rest]), weights))
    return _scores(model, examples)


def budget(run: FinishedRun, stages: Sequence[str]) -> list[str]:
    """The steps and trained tokens of the first of some stages, for a table."""
    steps, tokens = (run.summary[f"stages.{stages[0]}.{name}"] for name in ("steps", "trained_tokens"))
    return [f"{steps:,}", f"{tokens:,.0f}"]
