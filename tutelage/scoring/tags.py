"""Entities in tagged words, scored as the CoNLL-2000 script does (and seqeval in its default mode): an entity is right
if its type, its first and its last word are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Entity(NamedTuple):
    """A stretch of words, half-open, of one type."""

    type: str
    start: int
    end: int


class EntityCounts(NamedTuple):
    """Right entities, entities that were predicted, and entities there are."""

    right: int
    predicted: int
    gold: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of one row of tags such as B-PER, I-PER, E-PER, S-PER and O. An I without a B begins one, as a
    change of type does."""
    found, start = [], 0
    before, type_before = "O", ""
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        type_here = "" if mark == "O" else name or "_"
        if _ends(before, mark, type_before, type_here):
            found.append(Entity(type_before, start, place))
        if _starts(before, mark, type_before, type_here):
            start = place
        before, type_before = mark, type_here
    return found


def _ends(before: str, mark: str, type_before: str, type_here: str) -> bool:
    return before in "ES" or (before in "BI" and mark in "BSO") or (before != "O" and type_before != type_here)


def _starts(before: str, mark: str, type_before: str, type_here: str) -> bool:
    return mark in "BS" or (before in "ESO" and mark in "EI") or (mark != "O" and type_before != type_here)


def count_entities(predicted: Sequence[str], gold: Sequence[str]) -> EntityCounts:
    """The counts of one row, from which precision, recall and F1 = 2 right / (predicted + gold) follow."""
    assert len(predicted) == len(gold), "a word has one tag"
    theirs, ours = set(entities(predicted)), set(entities(gold))
    return EntityCounts(len(theirs & ours), len(theirs), len(ours))
