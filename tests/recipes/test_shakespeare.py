"""The texts of the Shakespeare experiment: our own words, in characters that the character model knows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = ROOT / "recipes" / "shakespeare"
# All that occurs in the tiny Shakespeare text; a character model trained on it knows these 65 characters and no other.
CHARACTERS = set("\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
RUN = 5


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (TEXTS / name).read_text(encoding="ascii").splitlines()]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower().replace("-", " "))


def runs(text: str) -> set[tuple[str, ...]]:
    said = words(text)
    return {tuple(said[start : start + RUN]) for start in range(len(said) - RUN + 1)}


@pytest.fixture
def shakespeare(data: Callable[[str], Path]) -> str:
    return data("tinyshakespeare/input.txt").read_text(encoding="ascii")


def test_there_are_40_distinct_pairs_of_fitting_length() -> None:
    pairs = rows("chat.jsonl")
    assert len(pairs) == 40
    assert all(list(pair) == ["prompt", "completion"] for pair in pairs)
    assert len({tuple(words(pair["prompt"])) for pair in pairs}) == 40
    assert len({tuple(words(pair["completion"])) for pair in pairs}) == 40
    assert all(8 <= len(pair["prompt"]) <= 30 for pair in pairs)
    assert all(30 <= len(pair["completion"]) <= 70 for pair in pairs)


def test_the_held_out_pairs_are_neither_trained_on_nor_reported_on() -> None:
    pairs = rows("held_out.jsonl")
    assert len(pairs) == 20
    asked = {tuple(words(pair["prompt"])) for pair in pairs}
    elsewhere = {tuple(words(row["prompt"])) for name in ("chat.jsonl", "prompts.jsonl") for row in rows(name)}
    assert len(asked) == 20
    assert not asked & elsewhere


def test_there_are_200_distinct_unseen_prompts_in_three_sets() -> None:
    prompts = rows("prompts.jsonl")
    assert all(list(row) == ["set", "prompt"] for row in prompts)
    assert Counter(row["set"] for row in prompts) == {"in_domain": 80, "near": 60, "out_of_domain": 60}
    assert all(8 <= len(row["prompt"]) <= 40 for row in prompts)
    asked = {tuple(words(row["prompt"])) for row in prompts}
    assert len(asked) == 200
    assert not asked & {tuple(words(pair["prompt"])) for pair in rows("chat.jsonl")}


@pytest.mark.parametrize("name", ["chat.jsonl", "prompts.jsonl"])
def test_only_known_characters_are_used(name: str) -> None:
    texts = [text for row in rows(name) for column, text in row.items() if column != "set"]
    assert [text for text in texts if not set(text) <= CHARACTERS or text != text.strip()] == []


def test_the_characters_are_those_of_the_text(shakespeare: str) -> None:
    assert len(CHARACTERS) == 65
    assert set(shakespeare) == CHARACTERS


def test_no_answer_is_borrowed(shakespeare: str) -> None:
    borrowed = runs(shakespeare)
    assert ("before", "we", "proceed", "any", "further") in borrowed
    assert [pair["completion"] for pair in rows("chat.jsonl") if runs(pair["completion"]) & borrowed] == []
