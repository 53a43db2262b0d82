"""What a log of annotations holds, one event a line."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import msgspec

from tutelage.records import Role

VERSION = 1
AnnotationTask = Literal["rank", "write", "choose"]
Outcome = Literal["done", "all bad", "skipped"]
FLAGS = ("unsafe", "personal data", "wrong language", "broken text", "prompt unclear")


class PromptTurn(msgspec.Struct, frozen=True):
    """One message of a prompt."""

    role: Role
    content: str


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="settings"):
    """How items are handed out from here on; the last settings of a log count.

    overlap:    how many people get each item.
    repeat:     the share of a person's items that come again, to measure self-agreement.
    screen:     how many gold items everybody gets first; the others come one in ten.
    ties:       whether two answers may have one rank.
    guidelines: what annotators are told; each submission carries a hash of it.
    """

    task: AnnotationTask
    overlap: int = 1
    repeat: float = 0.0
    screen: int = 0
    ties: bool = True
    seed: int = 0
    guidelines: str = ""
    version: int = VERSION

    @property
    def guidelines_version(self) -> str:
        """A hash of the guidelines."""
        return blake2b(self.guidelines.encode(), digest_size=4).hexdigest()


class AnnotationItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="item"):
    """A prompt with the answers to rank; without answers, to write one.

    id:         a hash of prompt, answers and models, so that a changed item is another item.
    answers:    distinct texts.
    models:     for each answer the models that wrote it; none where that is not known.
    leaks:      for each answer whether it names a model, so that the vote is not blind.
    gold:       ranks that are known, to check annotators with.
    source:     where the prompt is from: "user", "labeller", a customer.
    suggestion: a model's answer that a writer may start from.
    """

    id: str
    prompt: tuple[PromptTurn, ...]
    answers: tuple[str, ...] = ()
    models: tuple[tuple[str, ...], ...] = ()
    leaks: tuple[bool, ...] = ()
    gold: tuple[int, ...] | None = None
    source: str = ""
    suggestion: str = ""


class Assignment(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="assigned"):
    """A person gets an item; `order` is the order in which this person sees its answers, `repeat` 1 for the second
    time."""

    item: str
    person: str
    order: tuple[int, ...] = ()
    repeat: int = 0
    time: float = 0.0


class Submission(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="submitted"):
    """What a person says of an item. The last revision counts.

    id:       made by the page; the same id is the same submission, however often it is sent.
    revision: from 1.
    ranks:    for each answer of the item, in its own order: 1 is the best, equal ranks are ties, None is not ranked.
    text:     what was written.
    suggested: the writer took over the suggestion.
    seconds:  spent on the item with the page in view.
    """

    id: str
    item: str
    person: str
    repeat: int = 0
    revision: int = 1
    outcome: Outcome = "done"
    ranks: tuple[int | None, ...] = ()
    text: str = ""
    suggested: bool = False
    flags: tuple[str, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    time: float = 0.0
    guidelines: str = ""


Event = LogSettings | AnnotationItem | Assignment | Submission


def item_id(prompt: tuple[PromptTurn, ...], answers: tuple[str, ...], models: tuple[tuple[str, ...], ...]) -> str:
    """The id of an item: a hash of its content."""
    return blake2b(msgspec.json.encode([prompt, answers, models]), digest_size=8).hexdigest()


def dense_ranks(ranks: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Ranks without gaps, from 1: (2, 2, 5) as (1, 1, 2)."""
    order = sorted({rank for rank in ranks if rank is not None})
    return tuple(None if rank is None else order.index(rank) + 1 for rank in ranks)
