"""Calculator, Python in the sandbox, search over documents, recordings."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_engine import RENDERER, call, results, run, say

from tutelage.records import Document
from tutelage.sandbox import check_available
from tutelage.tools.calculator import CALCULATOR, calculate
from tutelage.tools.environment import ToolLimits
from tutelage.tools.python_tool import python_tool
from tutelage.tools.recording import record_calls, replay_calls
from tutelage.tools.search import NOT_FOUND, build_index, folder_documents, search, search_tool
from tutelage.tools.tool import ToolError
from tutelage.tools.trace import verify_trace

PAGES = [
    Document("Ada Adair Askew was born in Brindle.", "people/ada"),
    Document("Ada Adair Bonnell was born in Carrow.", "people/ada-b"),
    Document("Brindle is known for its lighthouse. Brindle is a town.", "towns/brindle"),
]


SUMS = {
    "2 + 2": "4",
    "7 x 12": "84",
    "1 / 3": "0.333333333333",
    "0.1 + 0.2": "0.3",
    "-(3 - 5) ** 3": "8",
    "17 % 5 + 17 // 5": "5",
    "2 ^ 10": "1024",
    "4 ** 0.5": "2",
}
NO_SUMS = (
    """1 / 0;9 ** 9 ** 9;__import__('os');x;;[1];'a' * 9;1e999;True;(-1) ** 0.5;2 ** 0.5 ** -9999999;1 if 1 else 2"""
)


@pytest.mark.parametrize("expression", SUMS)
def test_calculator(expression: str) -> None:
    assert calculate(expression) == SUMS[expression]


@pytest.mark.parametrize("expression", [*NO_SUMS.split(";"), "(" * 150, "1 + " * 200])
def test_what_is_no_sum_is_told(expression: str) -> None:
    with pytest.raises(ToolError):
        calculate(expression)


@given(st.integers(-999, 999), st.integers(-999, 999))
def test_sums_are_exact(left: int, right: int) -> None:
    assert calculate(f"{left} + {right}") == str(left + right)
    assert calculate(f"({left}) * ({right})") == str(left * right)


@pytest.mark.skipif(bool(check_available()), reason="no sandbox on this machine")
def test_programs_run_in_the_sandbox_and_tracebacks_are_told() -> None:
    programs = ["print(6 * 7)", "1 / 0", "x = 1", "print('x' * 10 ** 6)"]
    turns = [call("python", json.dumps({"code": program})) for program in programs]
    (trace,) = run([python_tool()], [*turns, say("it is")], limits=ToolLimits(result_tokens=60))
    assert [record.status for record in trace.state.calls] == ["ok", "error", "ok", "error"]
    told = results(trace)
    assert told[0] == "42\n"
    assert "ZeroDivisionError" in told[1]
    assert "printed nothing" in told[2]
    assert verify_trace(RENDERER, trace) == ""


def test_bm25_by_hand() -> None:
    """Robertson & Zaragoza 2009, eq. 3.15 with k1 = 1.2, b = 0.75."""
    documents = [Document("red red blue", "a"), Document("blue green yellow black", "b"), Document("white", "c")]
    best, second = search(build_index(documents), "red blue", limit=5)
    mean = 8 / 3

    def term(count: int, length: int, having: int) -> float:
        idf = math.log(1 + (3 - having + 0.5) / (having + 0.5))
        return idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))

    assert (best.document.id, second.document.id) == ("a", "b")
    assert best.score == pytest.approx(term(2, 3, 1) + term(1, 3, 2))
    assert second.score == pytest.approx(term(1, 4, 2))
    assert (best.complete, second.complete) == (True, False)


def test_a_possessive_is_its_word() -> None:
    """Of a person whose page says "Askew's" alone the search said that no document had the name."""
    index = build_index([Document("Ada Adair Askew's job is that of a typist.", "a"), Document("Curly: Askew’s", "b")])
    assert [found.complete for found in search(index, "Ada Adair Askew")] == [True, False]
    assert [found.document.id for found in search(index, "curly askew's")] == ["b", "a"]


def test_results_are_cited_by_id_and_say_where_nothing_matches() -> None:
    tool = search_tool(build_index(PAGES))
    found = tool.run({"query": "Ada Adair Askew"}, 1)
    assert isinstance(found, str)
    assert found.startswith("[people/ada] Ada Adair Askew was born in Brindle.\n[people/ada-b]")
    missing = tool.run({"query": "Ada Adair Chalmer"}, 1)
    assert isinstance(missing, str)
    assert missing.splitlines()[0] == NOT_FOUND
    assert len(missing.splitlines()) == 3
    assert tool.run({"query": "zebra"}, 1) == NOT_FOUND
    with pytest.raises(ToolError, match="no words"):
        tool.run({"query": " ?! "}, 1)


def test_a_folder_is_searched_by_the_paths_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.md").write_bytes(b"Caf\xff au lait")
    (tmp_path / "b.png").write_bytes(b"au lait")
    (found,) = search(build_index(folder_documents(tmp_path)), "lait")
    assert found.document.id == "deep/a.md"
    with pytest.raises(ValueError, match="has no text to search"):
        folder_documents(tmp_path / "deep" / "missing")


def test_a_recording_answers_the_same_without_the_tools(tmp_path: Path) -> None:
    script = [
        call("calculator", '{"expression": "2 + 2"}'),
        call("calculator", '{"expression": "1 / 0"}'),
        say("it is"),
    ]
    recorded = run(record_calls([CALCULATOR], tmp_path / "calls.jsonl"), script)
    replayed = run(replay_calls([CALCULATOR], tmp_path / "calls.jsonl"), script)
    assert results(recorded[0]) == results(replayed[0]) == ["4", "It divides by 0."]
    assert recorded[0].ids == replayed[0].ids
    other_call = call("calculator", '{"expression": "2 + 3"}')
    (other,) = run(replay_calls([CALCULATOR], tmp_path / "calls.jsonl"), [other_call, say("it is")])
    assert "has no further call" in results(other)[0]
    (tmp_path / "calls.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"calls.jsonl, line 1: .*; record the calls again"):
        replay_calls([CALCULATOR], tmp_path / "calls.jsonl")
