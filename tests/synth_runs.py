"""Syntheses for tests: recipes, a stub endpoint's answers, and what a run leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tutelage.config import convert
from tutelage.synth.recipe import SynthRecipe


def own_answer(body: dict[str, Any]) -> str:
    """An answer that is a function of the prompt, and unlike all others."""
    number = int("".join(character for character in body["messages"][-1]["content"] if character.isdigit()) or 0)
    words = " ".join(f"w{number * 7919 * (place + 1) % 99991}" for place in range(12))
    return f"Answer {number}: {words}."


def recipe(table: dict[str, Any]) -> SynthRecipe:
    """A recipe from plain data."""
    return convert({"name": "test", **table}, SynthRecipe, "recipe")


def swap(path: Path, endpoint: Any, **more: Any) -> SynthRecipe:
    """The simplest recipe: prompts answered by an endpoint."""
    teacher = {"kind": "endpoint", "url": endpoint.url, "model": "m", "backoff": 0.01, "parallel": 4, "timeout": 2.0}
    table = {"make": {"kind": "teacher_swap"}, "input": str(path), "teacher": {**teacher, **more.pop("teacher", {})}}
    return recipe({**table, **more})


def files(folder: Path) -> dict[str, bytes]:
    """The files that a run leaves, which must be the same however often it was stopped."""
    return {name: (folder / name).read_bytes() for name in ("data.jsonl", "dropped.jsonl", "commits.jsonl")}


def rows(folder: Path, name: str = "data.jsonl") -> list[dict[str, Any]]:
    """The rows of a file."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def balanced(summary: dict[str, Any]) -> bool:
    """Whether rows in = kept + dropped in every account of a synthesis."""
    ledgers = [ledger for step in summary["steps"] for ledger in step["ledgers"]]
    return all(
        ledger["rows_read"] == ledger["rows_kept"] + sum(entry["rows"] for entry in ledger["dropped"].values())
        for ledger in ledgers
    )
