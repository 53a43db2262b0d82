"""The mask is made here: a layout and its tokens to ids, loss weights, roles and spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tutelage.chat.render.encoding import Encoded
from tutelage.chat.render.layout import Layout
from tutelage.chat.render.renderer import Rendered, TrainOn
from tutelage.chat.render.template import part_text
from tutelage.records import Conversation, Part, Text


def assemble(
    layout: Layout, encoded: Encoded, train_on: TrainOn, conversations: Sequence[Conversation] | None = None
) -> Rendered:
    """The tokens of a layout with what is known about each: a token belongs to the segment in which it begins.

    conversations: those of the layout, where spans are wanted.
    """
    places_S = encoded.places(layout.starts_S)
    segments_T = np.searchsorted(places_S, encoded.begins, side="right") - 1
    roles_T, trained_T = layout.segments_S4[segments_T, :2].T
    if train_on == "all_tokens":
        weights = np.ones(len(encoded.ids), np.float32)
    else:
        weights = trained_T.astype(np.float32)
    if len(weights):
        weights[encoded.firsts(layout.rows_R)] = 0  # nothing comes before a first token that could predict it
    spans = None if conversations is None else _spans(layout, segments_T, encoded.character_spans(), conversations)
    return Rendered(encoded.ids, weights, roles_T.astype(np.uint8), spans)


def _spans(
    layout: Layout, segments_T: np.ndarray, characters_T2: np.ndarray, conversations: Sequence[Conversation]
) -> np.ndarray:
    """Where in the texts of its conversation each token comes from, int32[T, 4]; see `Rendered.spans`."""
    spans = np.full((len(segments_T), 4), -1, np.int32)
    ends_S = np.append(layout.starts_S[1:], len(layout.text))
    rows_S = np.searchsorted(layout.rows_R, layout.starts_S, side="right") - 1
    bounds = np.searchsorted(segments_T, np.arange(len(ends_S) + 1)).tolist()
    for segment in np.flatnonzero(layout.segments_S4[:, 2] >= 0).tolist():
        message, place = layout.segments_S4[segment, 2:].tolist()
        parts = conversations[rows_S[segment]].messages[message].content[place:]
        text, begin = part_text(parts[0]), int(layout.starts_S[segment])
        # A template that trims a text leaves out what it begins with.
        written = layout.text[begin : int(ends_S[segment])]
        skipped = max(0, text.find(written[:20].split("\n")[0]))
        tokens = slice(bounds[segment], bounds[segment + 1])
        spans[tokens, :2] = message, place
        spans[tokens, 2:] = np.clip(characters_T2[tokens] - begin + skipped, 0, _length(parts))
    return spans


def _length(parts: Sequence[Part]) -> int:
    """The characters of the first part, and of the Text parts that continue it."""
    length = len(part_text(parts[0]))
    for part in parts[1:] if isinstance(parts[0], Text) else ():
        if not isinstance(part, Text):
            break
        length += len(part.text)
    return length


def split_rows(rendered: Rendered, layout: Layout, encoded: Encoded) -> list[Rendered]:
    """The tokens of each conversation of a layout."""
    firsts = encoded.firsts(layout.rows_R).tolist()
    return [rendered.part(a, z) for a, z in zip(firsts, [*firsts[1:], len(rendered.ids)], strict=True)]


def examples(rendered: Rendered, layout: Layout, encoded: Encoded, train_on: TrainOn) -> list[list[Rendered]]:
    """The examples of each conversation of a layout: itself, or with "response_only" each of its turns under the
    header of that turn alone."""
    if train_on != "response_only":
        return [[row] for row in split_rows(rendered, layout, encoded)]
    rows: list[list[Rendered]] = [[] for _ in layout.rows_R]
    headers_K, stops_K = encoded.firsts(layout.turns_K3[:, 0]), encoded.firsts(layout.turns_K3[:, 2])
    rows_K = np.searchsorted(layout.rows_R, layout.turns_K3[:, 1], side="right") - 1
    for row, first, last in zip(rows_K.tolist(), headers_K.tolist(), stops_K.tolist(), strict=True):
        turn = rendered.part(first, last)
        rows[row].append(replace(turn, weights=np.concatenate([[np.float32(0)], turn.weights[1:]])))
    return rows
