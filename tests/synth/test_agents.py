"""Agents as a method: calls run, results and failures come back, and only what passes the rubric is a row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synth_runs import recipe, rows

from tutelage.chat.formats import read_conversations
from tutelage.ledger import Ledger
from tutelage.records import ToolCall, ToolResult
from tutelage.synth.runner import synthesise
from tutelage.synth.tool_turns import BUSY
from tutelage.tools.world_conversations import called

WORLD = {"people": 40}
ADD = 'def add(left: int, right: int) -> int:\n    "Adds two numbers."\n    return left + right\n'
CALL = '<call>{"name": "add", "arguments": {"left": 17, "right": 25}}</call>'


def made(out: Path, faults: dict[str, float] | None = None, **make: Any) -> dict[str, Any]:
    table = {"kind": "agents", "tools": "search", **make}
    teacher = {"kind": "world", "faults": faults or {}, "world": WORLD}
    return synthesise(recipe({"make": table, "input": "world", "limit": 30, "teacher": teacher, "world": WORLD}), out)


def test_training_reads_calls_results_and_the_tools_that_were_offered(tmp_path: Path) -> None:
    made(tmp_path, fails=0.4)
    ledger = Ledger("rows")
    conversations = list(read_conversations(tmp_path / "data.jsonl", ledger, 0.0))
    assert len(conversations) >= 20 and not ledger.noted
    results = []
    for conversation in conversations:
        assert [tool.count('"search"') for tool in conversation.tools] == [1]
        assert {turn.role for turn in conversation.messages} == {"user", "assistant", "tool"}
        parts = [part for turn in conversation.messages for part in turn.content]
        results += [part.text for part in parts if isinstance(part, ToolResult)]
        assert all('"query"' in part.arguments for part in parts if isinstance(part, ToolCall))
        assert called(conversation.messages).count("search") >= 2  # once for each question of the user
    assert 0.2 < results.count(BUSY) / len(results) < 0.6
    assert all(text.startswith("[people/") for text in results if text != BUSY)


@pytest.mark.parametrize("judged_by", ["verifier", "rubric"])
def test_a_wrong_answer_leaves_no_row(judged_by: str, tmp_path: Path) -> None:
    verify = {"verify": "tutelage.world.tasks:names_value", "turns": 1} if judged_by == "verifier" else {}
    made(tmp_path, {"wrong": 0.3}, **verify)
    reasons = {row["reason"] for row in rows(tmp_path, "dropped.jsonl")}
    assert reasons == {"wrong" if judged_by == "verifier" else "fails the rubric"}
    assert rows(tmp_path)


@pytest.fixture
def adding(endpoint: Any, prompts: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the method with a tool of a file, and a teacher that writes these replies in turn."""
    (tmp_path / "tools.py").write_text(ADD)

    def run(*replies: str, **make: Any) -> dict[str, Any]:
        waiting = list(replies)
        endpoint.answer = lambda body: waiting.pop(0)
        table = {"kind": "agents", "tools": str(tmp_path / "tools.py"), "fails": 0.0, **make}
        teacher = {"kind": "endpoint", "url": endpoint.url, "model": "m", "parallel": 1, "backoff": 0.0}
        asked = prompts(1, "What is 17 and 25?")
        return synthesise(
            recipe({"make": table, "input": str(asked), "teacher": teacher, "min_kept": 0}), tmp_path / "out"
        )

    return run


def test_the_user_sees_what_is_said_and_the_judge_sees_the_calls(adding: Any, endpoint: Any, tmp_path: Path) -> None:
    adding(CALL, "It is 42.", "user: And twice that?", "It is 84.", "Good.\n[[pass]]")
    [row] = rows(tmp_path / "out")
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert row["messages"][2]["content"] == "42" and row["messages"][4]["content"] == "And twice that?"
    assert row["lineage"]["verdicts"] == {"calls": 1}
    asked = [body["messages"][-1]["content"] for body in endpoint.seen]
    assert asked[1] == "<result>42</result>" and endpoint.seen[1]["messages"][2]["content"].startswith("<call>")
    assert "Adds two numbers." in endpoint.seen[0]["messages"][0]["content"]
    assert "It is 42." in asked[2] and "<call>" not in asked[2] and "<result>" not in asked[2]
    assert "<result>42</result>" in asked[4] and "<call>" in asked[4]


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (("<call>{'name': 1}</call>",), "unparsable"),
        (("<call>add 17 25",), "unparsable"),
        (('<call>{"name": "fly", "arguments": {}}</call>',), "unknown tool"),
        ((CALL, CALL, CALL), "too many calls"),
        (("It is 42.", "Good.\nI say pass."), "unparsable"),
        (("It is 43.", "Wrong.\n[[fail]]"), "fails the rubric"),
    ],
)
def test_what_is_no_good_conversation_is_dropped(
    replies: tuple[str, ...], reason: str, adding: Any, tmp_path: Path
) -> None:
    adding(*replies, turns=1, calls=2)
    assert [row["reason"] for row in rows(tmp_path / "out", "dropped.jsonl")] == [reason]


def test_a_tool_tells_the_model_what_is_wrong_with_a_call(adding: Any, tmp_path: Path) -> None:
    adding('<call>{"name": "add", "arguments": {"left": 1}}</call>', CALL, "It is 42.", "[[pass]]", turns=1)
    [row] = rows(tmp_path / "out")
    assert row["messages"][2]["content"] == "add needs the argument 'right'. Its arguments are: left, right."
