"""Two-digit additions as a task with a verifier: texts that work them out, questions with answers, prompts with gold.

A hash of a sum says which part it belongs to: the last tenth of all sums is held out, and nothing here ever shows it to
a model, so that an answer to one of them is worked out and not remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal

from tutelage.records import Conversation, Document, Split, Task, message
from tutelage.world.keyed_random import KeyedRandom

LOWEST, HIGHEST = 10, 99
TRAINED = 0.9  # the share of all sums that is never held out
Style = Literal["direct", "steps"]


def place(left: int, right: int) -> float:
    """The place of a sum among all, from 0 to 1, by its hash."""
    return int.from_bytes(blake2b(f"{left} + {right}".encode(), digest_size=8).digest()) / 2**64


def sums(start: float, end: float) -> Iterator[tuple[int, int]]:
    """The sums whose place is from `start` to before `end`."""
    for left in range(LOWEST, HIGHEST + 1):
        for right in range(LOWEST, HIGHEST + 1):
            if start <= place(left, right) < end:
                yield left, right


def question(left: int, right: int) -> str:
    """What is asked."""
    return f"{left} + {right}?"


def answer(left: int, right: int, style: Style) -> str:
    """The result alone, or worked out: tens, ones, both together."""
    if style == "direct":
        return f"{left + right}"
    tens, ones = left // 10 * 10 + right // 10 * 10, left % 10 + right % 10
    steps = f"{left // 10 * 10} + {right // 10 * 10} = {tens}, {left % 10} + {right % 10} = {ones}"
    return f"{steps}, {tens} + {ones} = {left + right}"


def documents(share: float) -> Iterator[Document]:
    """The first `share` of the sums, each worked out."""
    for left, right in sums(0.0, share):
        text = f"{question(left, right)} {answer(left, right, 'steps')}"
        yield Document(text, f"sum {left} + {right}", split="train")


def conversations(share: float, steps: float) -> Iterator[Conversation]:
    """The first `share` of the sums as questions; a share `steps` of the answers is worked out, the others are the
    result alone."""
    for left, right in sums(0.0, share):
        style: Style = "steps" if KeyedRandom("style", left, right).randbelow(1000) < 1000 * steps else "direct"
        turns = message("user", question(left, right)), message("assistant", answer(left, right, style))
        yield Conversation(turns, f"sum {left} + {right}", split="train")


def tasks(start: float) -> Iterator[Task]:
    """The sums from place `start` on as prompts with gold answers; the last tenth is held out."""
    for left, right in sums(start, 1.0):
        split: Split = "train" if place(left, right) < TRAINED else "held_out"
        yield Task((message("user", question(left, right)),), f"{left + right}", f"sum {left} + {right}", split=split)
