"""How a proven conversation is laid out: its graded turns, and the stretches of one kind that its text is made of."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from tutelage.chat.render.jinja import TemplateError
from tutelage.chat.render.outline import Skeleton
from tutelage.records import ROLES, Conversation


class VerificationError(ValueError):
    """A conversation that a template does not render in a way that can be proven. `reason` is one of a few that a
    ledger can count by, `text` what the template made of it, as far as it came."""

    def __init__(self, problem: str, detail: str = "", text: str = "", reason: str = "") -> None:
        super().__init__(f"{problem} ({detail})" if detail else problem)
        self.reason = reason or problem
        self.text = text


class HistoryDependentTemplate(VerificationError):
    """A template that writes an answer otherwise once more turns follow: each turn must be trained by itself."""


@dataclass(frozen=True)
class Turn:
    """A turn of the assistant that is graded: its message, the token that ends it, and, as places in the rendering with
    markers, where the header of its message begins, where the prompt for it ends, which is where it is graded from, and
    where the token that ends it does."""

    message: int
    end_token: str
    header: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Plan:
    """How the conversations of one shape are laid out.

    turns:    the graded turns; `turns_K32` are their header, start and stop as anchors.
    cuts_C2:  the anchors from which on the text is of another kind.
    kinds_C4: the role, whether it is graded, the message and the part of each such stretch.
    specials: how many special tokens the template writes.
    """

    skeleton: Skeleton
    turns: tuple[Turn, ...]
    turns_K32: np.ndarray
    cuts_C2: np.ndarray
    kinds_C4: np.ndarray
    specials: int


@dataclass(frozen=True, eq=False)
class Layout:
    """The text of a conversation, or those of several laid end to end; all places are in characters.

    rows_R:     where each conversation begins; `specials_R` is how many special tokens the template writes in it.
    turns_K3:   the header, start and stop of each graded turn.
    cuts_C:     where the stretches begin that the text is made of; `kinds_C4` as in `Plan`.
    """

    text: str
    rows_R: np.ndarray
    specials_R: np.ndarray
    turns_K3: np.ndarray
    cuts_C: np.ndarray
    kinds_C4: np.ndarray


def layout_of(text: str, plan: Plan, starts: Sequence[int]) -> Layout:
    """The layout of a text in which the plan's literals start at these places."""
    starts_L = np.array(starts)
    turns_K3 = starts_L[plan.turns_K32[..., 0]] + plan.turns_K32[..., 1]
    cuts_C = starts_L[plan.cuts_C2[:, 0]] + plan.cuts_C2[:, 1]
    return Layout(text, np.zeros(1, np.int64), np.array([plan.specials]), turns_K3, cuts_C, plan.kinds_C4)


def end_to_end(layouts: Sequence[Layout]) -> Layout:
    """Several layouts as one."""
    begins = [0, *accumulate(len(one.text) for one in layouts)]
    return Layout(
        "".join(one.text for one in layouts),
        np.array(begins[:-1]),
        np.concatenate([one.specials_R for one in layouts]),
        np.concatenate([one.turns_K3 + begin for one, begin in zip(layouts, begins, strict=False)]),
        np.concatenate([one.cuts_C + begin for one, begin in zip(layouts, begins, strict=False)]),
        np.concatenate([one.kinds_C4 for one in layouts]),
    )


def plan_of(
    skeleton: Skeleton,
    markers: Conversation,
    message_ends: tuple[int, ...],
    turns: Sequence[Turn],
    special_names: re.Pattern[str],
) -> Plan:
    """The plan of a conversation of markers, whose messages end at these places of its rendering."""
    cuts, kinds = _stretches(skeleton, markers, message_ends, turns)
    try:
        anchors = [[skeleton.anchor(place) for place in (turn.header, turn.start, turn.stop)] for turn in turns]
        cut_anchors = [skeleton.anchor(cut) for cut in cuts]
    except TemplateError as error:
        raise VerificationError("the template changes a text", str(error), skeleton.text) from error
    return Plan(
        skeleton,
        tuple(turns),
        np.array(anchors, np.int64).reshape(-1, 3, 2),
        np.array(cut_anchors, np.int64).reshape(-1, 2),
        np.array(kinds, np.int32).reshape(-1, 4),
        sum(1 for _ in special_names.finditer(skeleton.text)),
    )


def _stretches(
    skeleton: Skeleton, markers: Conversation, message_ends: tuple[int, ...], turns: Sequence[Turn]
) -> tuple[list[int], list[tuple[int, bool, int, int]]]:
    """Where in the rendering with markers the text becomes of another kind, and the role, graded, message and part of
    each stretch: the template's literals and the texts between them, cut again where messages and graded turns end."""
    begins: dict[int, tuple[int, int]] = {}
    for literal, start in enumerate(skeleton.starts):
        begins[start] = (-1, -1)
        if literal < len(skeleton.slots):
            begins[start + len(skeleton.literals[literal])] = skeleton.slots[literal]
    edges = {*message_ends[:-1], *(edge for turn in turns for edge in (turn.start, turn.stop))}
    cuts, kinds, slot = sorted(edges | begins.keys()), [], (-1, -1)
    for cut in cuts:
        slot = begins.get(cut, slot)
        owner = slot[0] if slot[0] >= 0 else min(bisect_right(message_ends, cut), len(message_ends) - 1)
        graded = any(turn.start <= cut < turn.stop for turn in turns)
        kinds.append((ROLES.index(markers.messages[owner].role), graded, *slot))
    return cuts, kinds
