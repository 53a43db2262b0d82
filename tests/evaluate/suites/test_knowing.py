"""What a model answers, refuses and searches: suites "knowing" and "turns" on a model that knows nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.results import Results
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.suites import SUITES, knowing, turns
from tutelage.evaluate.suites.knowing import Item, known_questions, two_way_table
from tutelage.model.hub import Checkpoint, extend_vocabulary
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Conversation, Text, ToolCall, message
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.tools.environment import CallRecord, ToolState
from tutelage.tools.trace import Trace
from tutelage.tools.world_conversations import indexed_questions
from tutelage.world.grading import admits_ignorance
from tutelage.world.probe_tasks import is_probed, probe_replies, probe_tasks, reported_people
from tutelage.world.society import World, WorldSettings

WORLD = World(WorldSettings(people=40, versions=1))
FOLDER = Path("unread")


@pytest.fixture(scope="module")
def result() -> Iterator[tuple[Results, Results]]:
    texts = [document.text for document in WORLD.documents()]
    tokenizer = train(texts, TokenizerSettings(vocab=600))
    config = resolve(ModelSettings(depth=1, width=16, context=1024), tokenizer.vocab_size)
    checkpoint = extend_vocabulary(Checkpoint(initialise(Transformer(config), 0), tokenizer), TEMPLATE_TOKENS, 0)
    session = EvalSession("stage", {"model": FOLDER}, frozenset({"world", "chat"}), world=WORLD, indexed_people=10)
    session._models[FOLDER] = checkpoint
    with pytest.MonkeyPatch.context() as patch:
        for suite in (knowing, turns):
            patch.setattr(suite, "ANSWER", SamplingSettings(max_tokens=2))
        patch.setattr(knowing, "UNKNOWN_NAMES", 8)
        patch.setattr(knowing, "MAX_KNOWN", 12)
        patch.setattr(knowing, "SUMS", 4)
        yield SUITES["knowing"].run(session), SUITES["turns"].run(session)


def test_every_rate_has_a_label_and_its_items(result: tuple[Results, Results]) -> None:
    for suite, measured in zip((knowing.SUITE, turns.SUITE), result, strict=True):
        assert set(measured.rates) <= set(suite.labels)
        for name, rate in measured.rates.items():
            assert rate.count == len(measured.outcomes[name])
            assert rate.rate * rate.count == pytest.approx(sum(outcome for _, outcome in measured.outcomes[name]))
    first, _ = result
    assert set(first.rates) | {"tools.precision"} == set(knowing.LABELS)
    assert sum(first.figures["table"]["unknown"].values()) == 8
    assert sum(first.figures["table_with_tools"]["indexed"].values()) == 10


def test_reported_people_are_never_probed() -> None:
    """Nothing is tuned on the people that are reported on."""
    reported = {person.name for person in reported_people(WORLD)}
    probed = {task.prompt[0].text for task in probe_tasks(WORLD, 7, 20)}
    assert len(reported) > 3
    assert not [text for text in probed for name in reported if name in text]
    assert {question.subject for question in known_questions(WORLD)} <= reported
    held_out = {person.name for person in WORLD.people("held_out")}
    assert reported < held_out
    assert all(not is_probed(WORLD, person) for person in reported_people(WORLD))


def test_probe_tasks_ask_of_names_that_do_not_exist_without_a_gold_answer() -> None:
    tasks = list(probe_tasks(WORLD, 2, 30))
    unknown = [task for task in tasks if task.gold is None]
    known = [task for task in tasks if task.gold is not None]
    assert len(unknown) == 30
    assert len(known) == 2 * sum(is_probed(WORLD, person) for person in WORLD.people("held_out"))
    names = {question.subject for question in WORLD.unknown(200)}
    assert not [task for task in unknown for name in names if name in task.prompt[0].text]
    assert [task.gold is None for task in tasks] != sorted(task.gold is None for task in tasks), "mixed"


def trace(answer: str, calls: tuple[str, ...] = (), ended: str = "stop", malformed: int = 0) -> Trace[ToolState]:
    turns = [
        message("user", "?"),
        *(replace(message("assistant", ""), content=(ToolCall(name, "{}"),)) for name in calls),
    ]
    record = CallRecord(ToolCall("", ""), "malformed", "", 0.0)
    conversation = Conversation((*turns, message("assistant", answer)))
    sampled = [False, False, True, True, False, True]
    return Trace(conversation, ToolState((record,) * malformed), ended, list(range(6)), sampled)  # type: ignore[arg-type]


def test_items_are_scored_by_what_they_are_about() -> None:
    question = indexed_questions(WORLD, 1)[0]
    right = knowing._item("indexed", question, "1", "?", trace(f"It is {question.answer}.", ("search",)))
    assert (right.outcome, right.calls, right.tokens, right.added) == ("right", ("search",), 3, 1)
    assert knowing._item("indexed", question, "1", "?", trace(question.answer, (), "context")).outcome == "wrong"
    unknown = next(iter(WORLD.unknown(1)))
    found_nothing = knowing._item("unknown", unknown, "2", "?", trace("I found no record of him.", ("search",)))
    assert found_nothing.outcome == "refused"
    assert knowing._item("unknown", unknown, "2", "?", trace("He was born in 1950.")).outcome == "wrong"
    assert knowing._item("sum", None, "sum/0/42", "?", trace("The answer is 42.", ("calculator",))).outcome == "right"
    assert knowing._item("sum", None, "sum/0/42", "?", trace("The answer is 420.")).outcome == "wrong"
    table = two_way_table([right, found_nothing, Item("known", "3", "?", "", "right")])
    assert table["known"] == {"right": 1}
    assert table["indexed"] == {"right, after a call": 1}


def test_precision_and_recall_of_calls() -> None:
    def made(name: str, *calls: str) -> Item:
        return Item(name, "", "?", "", "right", calls)  # type: ignore[arg-type]

    items = [made("known"), made("known", "search"), made("indexed", "search"), made("indexed")]
    items += [made("sum", "search"), made("unknown", "search")]
    outcomes = knowing._tool_outcomes(items)
    assert [outcome for _, outcome in outcomes["tools.precision"]] == [0, 1, 1, 1]
    assert [outcome for _, outcome in outcomes["tools.recall"]] == [1, 0, 1, 0]
    assert [outcome for _, outcome in outcomes["tools.known.direct"]] == [1, 0]


def test_the_third_turn_asks_about_somebody_else() -> None:
    question = known_questions(WORLD)[0]
    row = turns.conversation(WORLD, question, 0)
    assert [turn.role for turn in row.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert question.subject in row.messages[-1].text
    assert not [turn for turn in row.messages[:-1] if question.subject in turn.text]
    assert all(isinstance(part, Text) for turn in row.messages for part in turn.content)


def test_what_is_said_in_the_place_of_an_unknown_value_admits_ignorance() -> None:
    replies = [reply for _, reply in probe_replies(WORLD, 7, 200)]
    assert len(replies) > 200
    assert all(admits_ignorance(reply) for reply in replies)
