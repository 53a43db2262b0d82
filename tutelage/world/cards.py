"""Sums with a playing card, under a rule that the question states: how much the faces count. Another rule than the one
of training is out of distribution: who has learned the values of the cards, and not the rule, is wrong.

After GeneralPoints of arXiv 2501.17161, where J, Q and K count 10 in training, and 11, 12 and 13 in the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Literal, NamedTuple

from tutelage.records import Conversation, Split, Task, message
from tutelage.world import sums

CardRule = Literal["tens", "ranks"]
RULES: Mapping[CardRule, Mapping[str, int]] = {
    "tens": {"J": 10, "Q": 10, "K": 10},
    "ranks": {"J": 11, "Q": 12, "K": 13},
}


class CardSum(NamedTuple):
    """A face and a number, in this order or the other."""

    face: str
    number: int
    face_first: bool

    @property
    def id(self) -> str:
        return f"card {self.face} {self.number} {self.face_first}"

    @property
    def place(self) -> float:
        """Its place among all, from 0 to 1, by a hash; the last tenth is held out, as in `sums`."""
        return int.from_bytes(blake2b(self.id.encode(), digest_size=8).digest()) / 2**64


def card_sums(start: float, end: float) -> Iterator[CardSum]:
    """The sums whose place is from `start` to before `end`."""
    numbers = range(sums.LOWEST, sums.HIGHEST + 1)
    every = (CardSum(face, number, first) for number in numbers for face in RULES["tens"] for first in (True, False))
    return (one for one in every if start <= one.place < end)


def question(card_sum: CardSum, rule: CardRule) -> str:
    """The rule, and the sum: "J = 10, Q = 10, K = 10. K + 34?"."""
    faces = ", ".join(f"{face} = {value}" for face, value in RULES[rule].items())
    terms = (card_sum.face, str(card_sum.number))
    return f"{faces}. {' + '.join(terms if card_sum.face_first else terms[::-1])}?"


def terms(card_sum: CardSum, rule: CardRule) -> tuple[int, int]:
    """Both numbers, in order."""
    value = RULES[rule][card_sum.face]
    return (value, card_sum.number) if card_sum.face_first else (card_sum.number, value)


def answer(card_sum: CardSum, rule: CardRule) -> str:
    """The sum without the card, and its result: "10 + 34 = 44"."""
    left, right = terms(card_sum, rule)
    return f"{left} + {right} = {left + right}"


def conversations(share: float, rule: CardRule) -> Iterator[Conversation]:
    """The first `share` of the sums as questions and answers."""
    for card_sum in card_sums(0.0, share):
        turns = message("user", question(card_sum, rule)), message("assistant", answer(card_sum, rule))
        yield Conversation(turns, card_sum.id, split="train")


def tasks(start: float, rule: CardRule, held_out_rule: CardRule) -> Iterator[Task]:
    """The sums from place `start` on as prompts with gold answers; the last tenth, under a rule of its own, is held
    out."""
    for card_sum in card_sums(start, 1.0):
        split: Split = "train" if card_sum.place < sums.TRAINED else "held_out"
        own = rule if split == "train" else held_out_rule
        result = sum(terms(card_sum, own))
        yield Task((message("user", question(card_sum, own)),), f"{result}", f"{card_sum.id} {own}", split=split)
