"""A rendered text, and which segments of it are trained: what both renderers produce and `assemble` and `verify` read.

Shape suffixes: K trained turns, S segments, R conversations (rows) end to end, C context parts; a digit is the size of
a fixed axis, so turns_K3 is int64[K, 3]. Places are in characters. With the native template, "Hi" answered by "Yo" is

    place     0        8  10      17            30 32
    text      <|user|> Hi <|end|> <|assistant|> Yo <|end|>      39 characters
    segment   0        1  2       3             4  5
    trained   no       no no      no            yes yes

    starts_S    [0, 8, 10, 17, 30, 32]
    segments_S4 [[user, 0, -1, -1], [user, 0, 0, 0], [user, 0, -1, -1],                        (role, trained,
                 [assistant, 0, -1, -1], [assistant, 1, 1, 0], [assistant, 1, -1, -1]]          message, part)
    turns_K3    [[17, 30, 39]]      where the header of the turn begins, where it is trained from, where it ends
    rows_R      [0]                 one conversation, which begins at 0
    specials_R  [4]                 the special tokens that the template writes in it
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from tutelage.chat.render.jinja import TemplateError
from tutelage.chat.render.outline import Outline, fill_sentinels, part_texts
from tutelage.chat.render.template import conversation_name
from tutelage.records import ROLES, Conversation


class VerificationError(ValueError):
    """A conversation that cannot be rendered in a verified way. `reason` is one of a few that a ledger counts by,
    `text` what the template made of the conversation, as far as it came."""

    def __init__(self, problem: str, detail: str = "", text: str = "", reason: str = "") -> None:
        super().__init__(f"{problem} ({detail})" if detail else problem)
        self.reason = reason or problem
        self.text = text


def with_name(error: ValueError, conversation: Conversation) -> ValueError:
    """The same error, saying which conversation it is about, and with the conversation's own texts."""
    name = conversation_name(conversation)
    if name in str(error):
        return error
    if isinstance(error, VerificationError):
        text = fill_sentinels(error.text, part_texts(conversation))
        return VerificationError(f"{name}: {error}", reason=error.reason, text=text)
    return ValueError(f"{name}: {error}")


class HistoryDependentTemplate(VerificationError):
    """A template that writes an answer differently once more turns follow: each turn must be trained by itself."""


@dataclass(frozen=True)
class Turn:
    """A trained turn of a rendering with sentinels: its message, where the header of its message begins, where its
    generation prompt ends and training starts, where the token that ends it ends; that token, and the rule that found
    it (end_token.py)."""

    message: int
    header: int
    start: int
    stop: int
    end_token: str
    end_rule: str


@dataclass(frozen=True, eq=False)
class RenderPlan:
    """How the conversations of one structure are laid out. Offsets are (literal of the outline, character of it).

    turns:           the trained turns.
    turn_offsets:    int64[K, 3, 2]: header, start and stop of each.
    segment_offsets: int64[S, 2]: where each segment begins; `segments_S4` as in `Layout`.
    specials:        how many special tokens the template writes.
    """

    outline: Outline
    turns: tuple[Turn, ...]
    turn_offsets: np.ndarray
    segment_offsets: np.ndarray
    segments_S4: np.ndarray
    specials: int


@dataclass(frozen=True, eq=False)
class Layout:
    """The text of a conversation, or those of several end to end; see the example above.

    context_C2: what the assistant did not write inside its own trained turns (results of tools it ran), half-open.
    """

    text: str
    rows_R: np.ndarray
    specials_R: np.ndarray
    turns_K3: np.ndarray
    starts_S: np.ndarray
    segments_S4: np.ndarray
    context_C2: np.ndarray

    def outline(self) -> str:
        """The text with "{0.1}" in place of the text of message 0, part 1: what the template writes by itself."""
        ends = [*self.starts_S[1:].tolist(), len(self.text)]
        rows = zip(self.starts_S.tolist(), ends, self.segments_S4[:, 2:].tolist(), strict=True)
        return "".join(
            self.text[start:end] if message < 0 else f"{{{message}.{part}}}" for start, end, (message, part) in rows
        )


_NO_CONTEXT = np.zeros((0, 2), np.int64)


def layout_of(text: str, plan: RenderPlan, literal_starts: Sequence[int]) -> Layout:
    """The layout of a text in which the literals of the plan's outline start at these places."""
    starts = np.array(literal_starts)
    turns_K3 = starts[plan.turn_offsets[..., 0]] + plan.turn_offsets[..., 1]
    starts_S = starts[plan.segment_offsets[:, 0]] + plan.segment_offsets[:, 1]
    row, specials = np.zeros(1, np.int64), np.array([plan.specials])
    return Layout(text, row, specials, turns_K3, starts_S, plan.segments_S4, _NO_CONTEXT)


def concatenate(layouts: Sequence[Layout]) -> Layout:
    """Layouts of one conversation each as one."""
    begins = [0, *accumulate(len(layout.text) for layout in layouts)][:-1]
    shifted = list(zip(layouts, begins, strict=True))
    return Layout(
        "".join(layout.text for layout in layouts),
        np.array(begins),
        np.concatenate([layout.specials_R for layout in layouts]),
        np.concatenate([layout.turns_K3 + begin for layout, begin in shifted]),
        np.concatenate([layout.starts_S + begin for layout, begin in shifted]),
        np.concatenate([layout.segments_S4 for layout in layouts]),
        np.concatenate([layout.context_C2 + begin for layout, begin in shifted]),
    )


def plan_of(
    outline: Outline,
    sentinels: Conversation,
    message_ends: tuple[int, ...],
    turns: Sequence[Turn],
    specials: int,
) -> RenderPlan:
    """The plan of a conversation of sentinels, whose messages end at these places of the outline's text.

    VerificationError where a turn or a message begins or ends inside a text.
    """
    starts, segments = _segments(outline, sentinels, message_ends, turns)
    try:
        turn_offsets = [[outline.offset(place) for place in (turn.header, turn.start, turn.stop)] for turn in turns]
        segment_offsets = [outline.offset(start) for start in starts]
    except TemplateError as error:
        raise VerificationError("the template changes a text", str(error), outline.text) from error
    return RenderPlan(
        outline,
        tuple(turns),
        np.array(turn_offsets, np.int64).reshape(-1, 3, 2),
        np.array(segment_offsets, np.int64).reshape(-1, 2),
        np.array(segments, np.int32).reshape(-1, 4),
        specials,
    )


def _segments(
    outline: Outline, sentinels: Conversation, message_ends: tuple[int, ...], turns: Sequence[Turn]
) -> tuple[list[int], list[tuple[int, bool, int, int]]]:
    """Where the segments begin, and the role, trained, message and part of each: the outline's literals and the
    sentinels between them, cut again where messages and trained turns end."""
    slots: dict[int, tuple[int, int]] = {}
    for literal, start in enumerate(outline.starts):
        slots[start] = (-1, -1)
        if literal < len(outline.slots):
            slots[start + len(outline.literals[literal])] = outline.slots[literal]
    edges = {*message_ends[:-1], *(edge for turn in turns for edge in (turn.start, turn.stop))}
    starts, segments, slot = sorted(edges | slots.keys()), [], (-1, -1)
    for start in starts:
        slot = slots.get(start, slot)
        message = slot[0] if slot[0] >= 0 else min(bisect_right(message_ends, start), len(message_ends) - 1)
        trained = any(turn.start <= start < turn.stop for turn in turns)
        segments.append((ROLES.index(sentinels.messages[message].role), trained, *slot))
    return starts, segments
