from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.evaluate.arena import arena, read_battles, warnings
from tutelage.ledger import Ledger


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_every_way_to_say_who_won_is_the_same(tmp_path: Path) -> None:
    rows = [
        {"prompt": 1, "first": "a", "second": "b", "winner": "first"},
        {"question_id": "1", "model_a": "a", "model_b": "b", "winner": "model_a"},
        {"id": "x", "first": "b", "second": "a", "winner": "a"},
        {"prompt": "p", "models": ["a", "b", "c"], "ranks": [1, 2, 2]},
        {"prompt": "p", "model_a": "a", "model_b": "b", "winner": "tie (bothbad)"},
    ]
    battles = read_battles(write(tmp_path / "battles.jsonl", rows), ledger := Ledger("battles"))
    ledger.check()
    assert battles.players == ("a", "b", "c")
    assert battles.won_N.tolist() == [1, 1, 0, 1, 1, 0.5, 0.5]
    assert battles.prompt_N.tolist() == [0, 0, 1, 2, 2, 2, 2]


def test_pain_e23_what_has_no_verdict_leaves_the_count_and_is_named(tmp_path: Path) -> None:
    rows = [
        {"prompt": 1, "first": "a", "second": "b", "winner": "second"},
        {"prompt": 2, "first": "a", "second": "b", "winner": None},
        {"prompt": 3, "first": "a", "second": "a", "winner": "first"},
        {"prompt": 4, "models": ["a", "b"], "ranks": [1]},
        {"prompt": 5, "first": "a", "winner": "first"},
    ]
    battles = read_battles(write(tmp_path / "battles.jsonl", rows), ledger := Ledger("battles"))
    ledger.check()
    assert len(battles.won_N) == 1
    assert {reason: dropped.rows for reason, dropped in ledger.dropped.items()} == {
        "no verdict": 1,
        "a model against itself": 1,
        "malformed ranking": 1,
        "no model": 1,
    }
    with pytest.raises(ValueError, match="has no battle with a verdict \\(1 x no verdict\\)"):
        read_battles(write(tmp_path / "none.jsonl", rows[1:2]), Ledger("battles"))


def rows_of(strong: int, weak: int) -> list[dict[str, Any]]:
    """Battles of 40 prompts, of which the strong one wins so many."""
    outcomes = ["first"] * strong + ["second"] * weak
    return [{"prompt": n, "first": "strong", "second": "weak", "winner": won} for n, won in enumerate(outcomes)]


def test_ratings_have_intervals_over_prompts(tmp_path: Path) -> None:
    battles = read_battles(write(tmp_path / "battles.jsonl", rows_of(30, 10)), Ledger("battles"))
    best, other = arena(battles, resamples=200)["players"]
    assert (best["name"], best["rating"] - other["rating"]) == ("strong", pytest.approx(190.85, abs=0.01))  # odds of 3
    assert best["low"] < best["rating"] < best["high"]
    assert best["low"] > other["high"]
    # The same battles four times over, of the same prompts, say no more.
    fourfold = read_battles(write(tmp_path / "fourfold.jsonl", rows_of(30, 10) * 4), Ledger("battles"))
    assert arena(fourfold, resamples=200)["players"][0]["low"] == pytest.approx(best["low"])
    assert arena(battles, anchor="weak", resamples=20)["players"][1]["rating"] == pytest.approx(1000)


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    rows = [*rows_of(3, 0), {"prompt": 9, "first": "x", "second": "y", "winner": "tie"}]
    result = arena(read_battles(write(tmp_path / "battles.jsonl", rows), Ledger("battles")), resamples=20)
    strong = next(player for player in result["players"] if player["name"] == "strong")
    assert strong["high"] is None and strong["low"] is not None
    assert [text.split(":")[0] for text in warnings(result)] == [
        "players of different groups never met, not even over others",
        "some players never lost to the others, so that no rating is high enough",
    ]


def test_impossible_wishes_are_refused(tmp_path: Path) -> None:
    battles = read_battles(write(tmp_path / "battles.jsonl", rows_of(3, 1)), Ledger("battles"))
    with pytest.raises(ValueError, match="the anchor 'nobody' did not play; players: strong, weak"):
        arena(battles, anchor="nobody")
    with pytest.raises(ValueError, match="style needs 'first_answer' and 'second_answer' in every row"):
        arena(battles, style=True)


def test_style_is_read_from_the_answers(tmp_path: Path) -> None:
    long, short = "# Title\n- one\n- **two**\n" * 3, "one"
    rows = [
        {**row, "first_answer": long if number % 3 else short, "second_answer": short if number % 3 else long}
        for number, row in enumerate(rows_of(30, 10))
    ]
    result = arena(read_battles(write(tmp_path / "battles.jsonl", rows), Ledger("battles")), style=True, resamples=20)
    assert [*result["style"]] == ["length", "headings", "list items", "bold"]
