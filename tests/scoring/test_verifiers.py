"""Making verifiers by name, those of the user among them, time limits, and tests of gold answers."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tutelage.scoring import VERIFIERS, Score, check_golds, make_verifier

MODULE = """
import time
time.sleep(0.6)  # an import that takes long
from tutelage.scoring import Score

def shorter(answer, gold):
    return len(answer) < len(gold)

def scored(answer, gold):
    return Score("abstained", answer[:2])

def slow(answer, gold):
    time.sleep(float(answer))
    return True

def hangs(answer, gold):
    while answer == "hang":
        pass
    return True

def broken(answer, gold):
    raise KeyError("missing")

def number(answer, gold):
    return 0.5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"verifiers_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_verifiers_by_name_and_with_options() -> None:
    assert list(VERIFIERS) == [
        "exact", "contains", "numeric", "choice", "regex", "expression", "constraints", "unit_tests", "function",
    ]  # fmt: skip
    assert make_verifier("numeric")("so 5", "5").outcome == "right"
    assert make_verifier({"kind": "numeric", "strict": True})("so 5", "5").outcome == "unparsable"
    assert make_verifier({"kind": "regex", "pattern": "a+"})("baa", "aa") == Score("right", "aa")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("number", "'number' is no verifier; use one of exact, contains, numeric"),
        ({}, "None is no verifier"),
        ({"kind": "numeric", "strickt": True}, "its options are: strict, tolerance"),
        ("regex", "missing a required argument: 'pattern'; its options are: pattern"),
        ({"kind": "exact", "a": 1}, "its options are: none"),
    ],
)
def test_a_wrong_spec_is_refused(spec: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_verifier(spec)  # type: ignore[arg-type]


def test_functions_of_the_user(module: str) -> None:
    assert make_verifier(f"{module}:shorter")("a", "ab") == Score("right", "a")
    assert make_verifier({"kind": "function", "name": f"{module}:shorter"})("abc", "ab").outcome == "wrong"
    assert make_verifier(f"{module}:scored")("abc", "ab") == Score("abstained", "ab")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("broken", KeyError, "missing"),
        ("number", ValueError, "returned 0.5; it must return a Score or a bool"),
        ("absent", ValueError, "cannot be imported"),
    ],
)
def test_a_broken_function_is_an_error_not_a_wrong_answer(
    module: str, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_verifier(f"{module}:{name}")("a", "b")
    with pytest.raises(ValueError, match="no_such_module"):
        make_verifier("no_such_module:f")("a", "b")


def test_one_answer_that_hangs_does_not_stop_the_run_verl_6673(module: str) -> None:
    verify = make_verifier(f"{module}:hangs", seconds=0.3)
    start = time.monotonic()
    assert [verify(answer, "").outcome for answer in ("hang", "", "hang", "")] == ["timed out", "right"] * 2
    assert time.monotonic() - start < 30


def test_a_pattern_that_hangs_times_out() -> None:
    verify = make_verifier({"kind": "regex", "pattern": r"(a+)+$"}, seconds=0.3)
    assert verify("aa", "aa").outcome == "right"
    assert verify("a" * 40 + "b", "aa").outcome == "timed out"
    assert verify("aa", "aa").outcome == "right"


def test_the_clock_starts_when_it_is_the_answers_turn_verifiers_831(module: str) -> None:
    verify = make_verifier(f"{module}:slow", seconds=0.5)
    with ThreadPoolExecutor(8) as pool:
        assert {score.outcome for score in pool.map(lambda _: verify("0.1", ""), range(10))} == {"right"}


def test_nothing_is_left_of_a_timed_verifier(module: str) -> None:
    before = threading.active_count()
    verify = make_verifier(f"{module}:shorter")
    verify("a", "ab")
    del verify
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_golds_are_tested_before_a_run_open_r1_566() -> None:
    check_golds(make_verifier("numeric"), ["5", "6", 7, ["1/2", 0.5]])
    check_golds(make_verifier({"kind": "numeric", "strict": True}), ["5", "6"], form="#### {}")
    check_golds(make_verifier("exact"), ["5"])
    check_golds(make_verifier("exact"), [])
    with pytest.raises(ValueError, match="'five' is no number"):
        check_golds(make_verifier("numeric"), ["5", "five"])
    with pytest.raises(ValueError, match="gold answer 1, 'b', is unparsable by its own verifier"):
        check_golds(make_verifier({"kind": "regex", "pattern": "a"}), ["a", "b"])
    with pytest.raises(ValueError, match="it tells nothing apart"):
        check_golds(lambda answer, gold: Score("right"), ["a", "b"])
