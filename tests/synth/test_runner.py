"""What is written is a function of recipe, input and answers: not of faults, kills and the order of answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from synth_runs import balanced, files, rows, swap

from tutelage.client import BudgetError, EndpointError
from tutelage.config import to_plain, to_toml
from tutelage.synth import runner
from tutelage.synth.runner import TooFewRows, synthesise


def test_rows_are_in_the_order_of_the_input_and_carry_their_lineage(
    endpoint: Any, prompts: Any, tmp_path: Path
) -> None:
    summary = synthesise(swap(prompts(12), endpoint), tmp_path / "out")
    made = rows(tmp_path / "out")
    assert [row["lineage"]["parent"] for row in made] == [f"prompts.jsonl:{n}" for n in range(1, 13)]
    assert [row["lineage"]["item"] for row in made] == list(range(12))
    lineage = made[3]["lineage"]
    assert (lineage["method"], lineage["model"], lineage["finish"]) == ("teacher_swap", "m", "stop")
    assert lineage["tokens"] == [10, 2] and lineage["sampling"]["temperature"] == 0.7 and "seed" in lineage["sampling"]
    assert summary["rows"] == 12 and balanced(summary) and summary["done"]


def test_a_second_run_asks_nothing_and_changes_nothing(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    recipe, out = swap(prompts(9), endpoint), tmp_path / "out"
    synthesise(recipe, out)
    first, asked = files(out), len(endpoint.seen)
    synthesise(recipe, out)
    assert files(out) == first and len(endpoint.seen) == asked == 9


FAULTS = [429, 500, "drop", "half", "garbage", {"status": 429, "Retry-After": "0.05"}, "no choices", 503]


def test_faults_of_the_endpoint_change_nothing(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    path = prompts(20)
    synthesise(swap(path, endpoint), tmp_path / "plain")
    endpoint.faults = FAULTS * 4
    summary = synthesise(swap(path, endpoint, teacher={"attempts": 40}), tmp_path / "faulty")
    assert files(tmp_path / "faulty") == files(tmp_path / "plain")
    assert balanced(summary) and summary["usage"]["teacher"]["retries"] >= 30


def test_d956_questions_that_fail_for_good_are_dropped_with_their_reason(
    endpoint: Any, prompts: Any, tmp_path: Path
) -> None:
    """distilabel 956, PR 400; curator 205: no column is None without a cause."""
    endpoint.faults = ([None] * 6 + [418]) * 9
    summary = synthesise(swap(prompts(30), endpoint, teacher={"parallel": 1}), tmp_path / "out")
    dropped = rows(tmp_path / "out", "dropped.jsonl")
    assert [row["reason"] for row in dropped] == ["no answer: refused with status 418"] * 4
    assert all(row["raw"] == "trouble 418" and row["level"] == "item" for row in dropped)
    assert len(rows(tmp_path / "out")) == 26 and balanced(summary)


def test_what_is_cut_off_or_empty_is_dropped_with_its_text(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    endpoint.faults = [None, "cut off", None, None]
    path = prompts(5)
    plain = endpoint.answer
    endpoint.answer = lambda body: " " if "object 3" in body["messages"][-1]["content"] else plain(body)
    summary = synthesise(swap(path, endpoint, teacher={"parallel": 1}), tmp_path / "out")
    dropped = rows(tmp_path / "out", "dropped.jsonl")
    assert [row["reason"] for row in dropped] == ["cut off", "empty reply"]
    assert dropped[0]["raw"].startswith("Answer 1:") and dropped[0]["parent"] == "prompts.jsonl:2"
    assert balanced(summary)


def test_c618_ctrl_c_leaves_a_valid_set_that_resumes_to_the_same_bytes(
    endpoint: Any, prompts: Any, tmp_path: Path
) -> None:
    """curator 618, DataDesigner 709 and 525, distilabel 1065: SIGINT, kill -9, then to the end."""
    path = prompts(60)
    synthesise(swap(path, endpoint), tmp_path / "plain")
    asked = len(endpoint.seen)
    endpoint.delay = 0.05
    toml = tmp_path / "recipe.toml"
    toml.write_text(to_toml(to_plain(swap(path, endpoint))))
    out = tmp_path / "out"
    for number in (signal.SIGINT, signal.SIGKILL, signal.SIGKILL):
        before = _commits(out)
        process = _start(toml, out)
        while _commits(out) < before + 8:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.005)
        process.send_signal(number)
        process.wait(30)
        assert process.returncode == (130 if number == signal.SIGINT else -9)
        if number == signal.SIGINT:
            assert json.loads((out / "synth.json").read_text())["done"] is False
            assert len(rows(out)) >= 8
    endpoint.delay = 0.0
    assert _start(toml, out).wait(60) == 0
    assert files(out) == files(tmp_path / "plain")
    # What a killed process had in flight is the most that is asked twice.
    assert len(endpoint.seen) - 2 * asked <= 3 * 4


def test_a_chain_balances_under_kills_and_faults_of_every_kind(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """Rows in = kept + dropped at every step, and the files are those of a quiet run, with kill -9, 429, 500, timeouts
    and half-answered batches at once."""
    teacher = {"attempts": 30, "timeout": 0.5, "max_requests": 10_000}
    then = [{"kind": "teacher_swap", "sampling": {"temperature": 0.1}}]
    chain = swap(prompts(24), endpoint, teacher=teacher, then=then)
    quiet = synthesise(chain, tmp_path / "quiet")
    endpoint.delay, endpoint.faults = 0.02, [429, None, 500, "half", None, "hang", None, None] * 5
    toml, out = tmp_path / "recipe.toml", tmp_path / "out"
    toml.write_text(to_toml(to_plain(chain)))
    for folder in (out / "steps" / "1-teacher_swap", out):
        process = _start(toml, out)
        while _commits(folder) < 8:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.005)
        process.kill()
        process.wait(30)
    endpoint.faults = [500, "half", "hang", None, 429]
    summary = synthesise(chain, out)
    for name in (".", "steps/1-teacher_swap"):
        assert files(out / name) == files(tmp_path / "quiet" / name)
    assert balanced(summary) and summary["rows"] == quiet["rows"] == 24
    asked = len(endpoint.seen)
    assert synthesise(chain, out)["rows"] == 24 and len(endpoint.seen) == asked


def _commits(out: Path) -> int:
    path = out / "commits.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _start(toml: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tutelage", "synth", str(toml), f"out={out}"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (toml.parent / "log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def test_rows_without_their_commit_are_cut_off(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """Every prefix of the bytes that a process can leave behind resumes to the same files."""
    recipe, out = swap(prompts(6), endpoint), tmp_path / "out"
    synthesise(recipe, out)
    whole, asked = files(out), len(endpoint.seen)
    ends = [end + 1 for end, byte in enumerate(whole["commits.jsonl"]) if byte == 10]
    for commits, data in ((ends[2], len(whole["data.jsonl"]) - 5), (ends[2] - 7, 400), (0, 0), (ends[4], 10)):
        (out / "commits.jsonl").write_bytes(whole["commits.jsonl"][:commits])
        (out / "data.jsonl").write_bytes(whole["data.jsonl"][:data])
        synthesise(recipe, out)
        assert files(out) == whole
    assert len(endpoint.seen) == asked


def test_a_budget_ends_with_a_valid_set_and_a_larger_one_goes_on(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """curator 226, 296: paid answers are never thrown away."""
    path, out = prompts(20), tmp_path / "out"
    with pytest.raises(BudgetError, match="7 requests"):
        synthesise(swap(path, endpoint, teacher={"max_requests": 7}), out)
    assert 4 <= len(rows(out)) <= 7 and json.loads((out / "synth.json").read_text())["done"] is False
    synthesise(swap(path, endpoint), out)
    assert len(rows(out)) == 20 and len(endpoint.seen) == 20


def test_sdg357_too_few_rows_are_an_error_that_says_why(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """InstructLab 357, synthetic-data-kit 26, DataDesigner 382: no empty set with exit status 0."""
    endpoint.answer = lambda body: "I'm sorry, but I cannot help with that."
    with pytest.raises(TooFewRows, match=r"0 of 4 rows kept, and min_kept is 1: refusal 4; see .*dropped\.jsonl"):
        synthesise(swap(prompts(4), endpoint), tmp_path / "out")
    assert (tmp_path / "out" / "index.html").exists()


def test_an_endpoint_that_is_down_is_an_error(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    endpoint.always = 500
    with pytest.raises(EndpointError, match="questions in a row failed"):
        synthesise(swap(prompts(9), endpoint, teacher={"attempts": 1}), tmp_path / "out")


def test_c408_a_changed_method_makes_the_rows_again_without_asking(
    endpoint: Any, prompts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """curator 408, oumi 1980: the method's code is in the fingerprint, and answers are keyed by what was sent."""
    recipe, out = swap(prompts(5), endpoint), tmp_path / "out"
    synthesise(recipe, out)
    monkeypatch.setattr(runner, "template_hash", lambda method: "another")
    synthesise(recipe, out)
    assert {row["lineage"]["template"] for row in rows(out)} == {"another"} and len(endpoint.seen) == 5
    monkeypatch.undo()
    hotter = {"make": {"kind": "teacher_swap", "sampling": {"temperature": 1.5}}}
    synthesise(swap(tmp_path / "prompts.jsonl", endpoint, **hotter), out)
    assert len(rows(out)) == 5 and len(endpoint.seen) == 10
    assert {body["temperature"] for body in endpoint.seen[5:]} == {1.5}


def test_again_asks_only_what_has_no_answer(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    endpoint.faults = [None, 418, None]
    recipe, out = swap(prompts(6), endpoint, teacher={"parallel": 1}), tmp_path / "out"
    assert synthesise(recipe, out)["rows"] == 5
    assert synthesise(recipe, out)["rows"] == 5
    assert synthesise(recipe, out, again=True)["rows"] == 6
    assert len(endpoint.seen) == 7


def test_d587_a_slow_and_a_failing_worker_shift_no_row(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """distilabel 587 and PR 1113: rows are joined by id, and the end comes when every id is accounted for."""
    plain = endpoint.answer

    def slow(body: dict[str, Any]) -> str:
        if "object 2," in body["messages"][-1]["content"]:
            time.sleep(0.4)
        return plain(body)

    endpoint.answer = slow
    endpoint.faults = [418]
    summary = synthesise(swap(prompts(40), endpoint), tmp_path / "out")
    assert summary["rows"] == 39 and summary["steps"][0]["items"] == 40
    for row in rows(tmp_path / "out"):
        question, answer = (turn["content"] for turn in row["messages"])
        assert answer.startswith(f"Answer {question.split()[5].rstrip(',')}:")


@pytest.mark.parametrize("count", [1, 2])
def test_d551_small_inputs_end(endpoint: Any, prompts: Any, tmp_path: Path, count: int) -> None:
    """distilabel 551, PR 531, 649."""
    assert synthesise(swap(prompts(count), endpoint), tmp_path / "out")["rows"] == count


def test_d551_no_input_is_an_error(endpoint: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match="has no rows"):
        synthesise(swap(tmp_path / "empty.jsonl", endpoint), tmp_path / "out")


def test_the_only_model_of_an_endpoint_need_not_be_named(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    recipe = swap(prompts(2), endpoint, teacher={"model": ""})
    with pytest.raises(EndpointError, match="does not list its models"):
        synthesise(recipe, tmp_path / "out")
