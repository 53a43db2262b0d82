"""Sums of two three-digit numbers for findings: rows that answer, rows that work the answer out, unseen questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from tutelage.lab.base_recipe import rows_data

Style = Literal["answer", "steps", "steps shuffled"]
Row = dict[str, str]

LOWEST, HIGHEST = 100, 999
UNSEEN = 300

# A character model on the world's prose without sums, so that all it knows of sums is from fine-tuning.
BASE = """\
name      = "lab"
model     = { depth = 3, width = 128, context = 128 }
tokenizer = { kind = "char", data = ["prose", "steps"] }

[data]
prose = { kind = "world", people = 20, versions = 5, unknown = 0.0, arithmetic = 0.0 }

[stages.base]
kind         = "pretrain"
data         = { prose = 1 }
steps        = 200
batch_tokens = 4096
lr           = 3e-3
optimizer    = { kind = "muon" }

""" + rows_data("steps", "asked")
BASE_SETUP = (
    "A character model (3 layers, width 128, 0.6M parameters) is pre-trained on prose without sums (200 steps of 4,096 "
    "tokens). It is fine-tuned on sums of two three-digit numbers. "
)
QUICK = ("model.depth=1", "model.width=32", "stages.base.steps=2")


def pairs(count: int, seed: int) -> list[tuple[int, int]]:
    """`count` different pairs with left < right: swapped operands are the same sum."""
    rng, found = random.Random(seed), set[tuple[int, int]]()
    while len(found) < count + UNSEEN:
        left, right = sorted(rng.sample(range(LOWEST, HIGHEST + 1), 2))
        found.add((left, right))
    ordered = sorted(found)
    rng.shuffle(ordered)
    return ordered


def answer(left: int, right: int, style: Style) -> str:
    """The result; before it, if worked out, the sums of hundreds, tens and ones, and of these, in order or not."""
    parts = [(left // unit % 10 * unit, right // unit % 10 * unit) for unit in (100, 10, 1)]
    hundreds, tens, ones = map(sum, parts)
    parts += [(hundreds, tens), (hundreds + tens, ones)]
    steps = [f"{first} + {second} = {first + second}" for first, second in parts]
    if style == "steps shuffled":
        random.Random(f"{left} {right}").shuffle(steps)
    return f"{left + right}" if style == "answer" else f"{', '.join(steps)}: {left + right}"


def question(left: int, right: int) -> str:
    """What is asked."""
    return f"{left} + {right}?"


def rows(style: Style, count: int) -> Callable[[], Iterator[Row]]:
    """The first `count` pairs as prompts and completions."""

    def make() -> Iterator[Row]:
        for left, right in pairs(count, seed=0)[UNSEEN:]:
            yield {"prompt": question(left, right), "completion": answer(left, right, style)}

    return make


def unseen(count: int) -> Callable[[], Iterator[Mapping[str, object]]]:
    """Questions that are in none of `rows(style, count)`."""

    def make() -> Iterator[Mapping[str, object]]:
        for left, right in pairs(count, seed=0)[:UNSEEN]:
            yield {"id": f"{left}+{right}", "question": question(left, right), "answer": left + right}

    return make
