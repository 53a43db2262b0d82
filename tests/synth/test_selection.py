from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from synth_runs import rows

from tutelage.cli import main
from tutelage.cli.select import NAMES
from tutelage.records import Conversation, message
from tutelage.synth.select import WORSE, select_rows
from tutelage.synth.selection import SELECTIONS, lima
from tutelage.synth.selection.candidates import Candidates


def talk(number: int, answer: str) -> Conversation:
    return Conversation((message("user", f"Question {number}?"), message("assistant", answer)), f"file:{number}")


def of(values: list[float]) -> Callable[[], np.ndarray]:
    return lambda: np.array(values, float)


def test_every_selection_is_offered() -> None:
    assert sorted(SELECTIONS) == sorted(NAMES)


def test_longest_keeps_the_longest() -> None:
    found = SELECTIONS["longest"](Candidates([talk(n, "word " * n) for n in (3, 9, 1, 7)], 2))
    assert list(found.kept) == [1, 3]


def test_difficulty_is_never_the_hardest_alone() -> None:
    """Wrong rows have the highest losses of all."""
    found = SELECTIONS["difficulty"](Candidates([talk(n, "x") for n in range(100)], 10, losses=of([*range(100)])))
    assert sorted(found.kept) == list(range(85, 95))
    assert {found.dropped[row] for row in range(96, 100)} == {"hardest, often wrong"}
    assert found.dropped[3] == "easy"


def test_success_keeps_what_is_solved_sometimes() -> None:
    rates = of([0, 0.125, 1, 0.5, np.nan])
    found = SELECTIONS["success"](Candidates([talk(n, "x") for n in range(5)], 9, successes=rates))
    assert list(found.kept) == [1, 3]
    assert found.dropped == {0: "never solved", 2: "always solved", 4: "no score"}


def test_deita_skips_what_is_near_and_ranks_no_missing_score_in_the_middle() -> None:
    """deita scorer/base.py: a score that failed was 3.0 there."""
    vectors = np.array([[1, 0], [0.999, 0.04], [0, 1], [-1, 0]], np.float32)
    scores = {"complex": [6, 5, 4, np.nan], "good": [6, 6, 6, 6]}
    candidates = Candidates(
        [talk(n, "x") for n in range(4)],
        3,
        embeddings=lambda: vectors,
        scores=lambda criterion: np.array(scores["complex" if "complex" in criterion else "good"], float),
    )
    found = SELECTIONS["deita"](candidates)
    assert list(found.kept) == [0, 2] and found.kept[0] == 36
    assert found.dropped == {1: "near a better row", 3: "no score"}


def test_judged_difficulty_is_never_difficulty_alone() -> None:
    scores = {"complex": [6, 5, 2, 4, np.nan, 5], "good": [1, 6, 6, 4, 6, np.nan]}
    candidates = Candidates(
        [talk(n, "x") for n in range(6)],
        2,
        scores=lambda criterion: np.array(scores["complex" if "complex" in criterion else "good"], float),
    )
    found = SELECTIONS["judged"](candidates)
    assert list(found.kept) == [1, 3]
    assert found.dropped == {0: "poor answer", 2: "easy", 4: "no score", 5: "no score"}


def test_diversity_covers_the_clusters() -> None:
    centres = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
    vectors = np.repeat(centres, 5, axis=0) + np.random.default_rng(0).normal(0, 0.01, (20, 2)).astype(np.float32)
    found = SELECTIONS["diversity"](Candidates([talk(n, "x") for n in range(20)], 4, embeddings=lambda: vectors))
    assert sorted(row // 5 for row in found.kept) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Plain words. " * 120, ""),
        ("short", "too short"),
        ("x " * 3000, "too long"),
        ("I think so. " * 120, "first person"),
        ("It is as mentioned above. " * 60, "refers to other answers"),
        ("See https://example.org for it. " * 50, "links or images"),
    ],
)
def test_lima_rules(answer: str, reason: str) -> None:
    assert lima.fault(answer) == reason


def test_limo_likes_checking_and_s1_draws_sources_alike() -> None:
    plain, checked = talk(0, "It is so. " * 20), talk(1, "Therefore it might be so, so let me check it. " * 4)
    assert list(SELECTIONS["limo"](Candidates([plain, checked], 1)).kept) == [1]
    many = [talk(n, f"trace {'word ' * n}") for n in range(1, 41)]
    sources = ["big"] * 36 + ["small"] * 4
    drawn = SELECTIONS["s1"](Candidates(many, 8, sources=sources, successes=of([0.5] * 39 + [1])))
    assert len(drawn.kept) == 8 and sum(sources[row] == "small" for row in drawn.kept) >= 2
    assert drawn.dropped == {39: "always solved"}


def test_dedup_keeps_the_first_of_each_cluster() -> None:
    answer = "The harbour was built by monks who came over the mountain in the winter of a cold year, it is said."
    chats = [talk(1, answer), talk(1, answer), replace(talk(1, answer + " Yes."), id="c"), talk(2, "Something else.")]
    found = SELECTIONS["dedup"](Candidates(chats, 9))
    assert list(found.kept) == [0, 3] and set(found.dropped.values()) == {"duplicate", "near duplicate"}


def test_a_selection_of_a_file_accounts_for_every_row(tmp_path: Path) -> None:
    data, out = tmp_path / "chats.jsonl", tmp_path / "small.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"Q{n}?", "completion": "word " * n}) + "\n" for n in range(1, 11)))
    done = CliRunner().invoke(main, ["select", str(data), "--by", "longest", "--keep", "3", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert [row["id"] for row in rows(tmp_path, "small.jsonl")] == [f"chats.jsonl:{n}" for n in (8, 9, 10)]
    account = json.loads((tmp_path / "small.jsonl.ledger.json").read_text())["selection"]
    assert account["rows_kept"] == 3 and account["dropped"][WORSE]["rows"] == 7


def test_a_selection_without_its_model_says_so(tmp_path: Path) -> None:
    data = tmp_path / "chats.jsonl"
    data.write_text('{"prompt": "a?", "completion": "b"}\n')
    with pytest.raises(ValueError, match="needs a model: --model M"):
        select_rows(data, tmp_path / "out.jsonl", "difficulty", 1)
