"""The tokens of a laid-out text with what is known about each, and the proof that the right ones are graded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tutelage.chat.render.encoding import Encoded, TemplateEncoder
from tutelage.chat.render.layout import Layout, VerificationError
from tutelage.chat.render.native import Rendered
from tutelage.records import Conversation, ToolCall


def assembled(layout: Layout, encoded: Encoded, everything: bool, conversation: Conversation | None) -> Rendered:
    """A layout's tokens with what is known about each: a token is of the stretch in which it begins."""
    ids, cuts = encoded.ids, encoded.places(layout.cuts_C)
    kinds = layout.kinds_C4[np.searchsorted(cuts, encoded.begins, side="right") - 1]
    weights = np.ones(len(ids), np.float32) if everything else kinds[:, 1].astype(np.float32)
    if len(ids):
        weights[encoded.firsts(layout.rows_R)] = 0  # nothing stands before a first token that could predict it
    spans = None if conversation is None else _spans(layout, kinds, encoded.character_spans(), conversation)
    return Rendered(ids, weights, kinds[:, 0].astype(np.uint8), spans)


def _spans(layout: Layout, kinds: np.ndarray, offsets: np.ndarray, conversation: Conversation) -> np.ndarray:
    """Where in the conversation's own texts each token comes from, int32[T, 4]; see `Rendered.spans`."""
    spans = np.full((len(offsets), 4), -1, np.int32)
    begins = {
        (int(m), int(p)): int(c) for c, (_, _, m, p) in zip(layout.cuts_C, layout.kinds_C4, strict=True) if m >= 0
    }
    for (number, place), begin in begins.items():
        part = conversation.messages[number].content[place]
        assert not isinstance(part, ToolCall)
        own = (kinds[:, 2] == number) & (kinds[:, 3] == place)
        # A template that trims a text leaves out what it begins with.
        skipped = max(0, part.text.find(layout.text[begin : begin + 20].split("\n")[0])) if part.text else 0
        spans[own, 0], spans[own, 1] = number, place
        spans[own, 2:] = np.clip(offsets[own] - begin + skipped, 0, len(part.text))
    return spans


def prove(
    rendered: Rendered, layout: Layout, encoded: Encoded, encoder: TemplateEncoder, stop_ids: frozenset[int]
) -> None:
    """Proves a rendering: its tokens spell the template's text, its special tokens are those that the template writes,
    and graded are exactly those that spell what the assistant writes, each turn up to and with a token that generation
    stops at.

    Where tokens spell bytes, their places are counted from these, and not taken from the library.
    VerificationError where anything differs.
    """
    ids, text = rendered.ids, layout.text
    begins, ends = encoded.begins, encoded.ends
    if encoded.in_bytes and ids is not encoded.ids:
        lengths = encoder.lengths(ids)
        ends = np.cumsum(lengths)
        begins = ends - lengths
    prove_tokens(ids, begins, layout, encoded, encoder)
    starts_K, stops_K = encoded.places(layout.turns_K3[:, 1:]).T
    firsts_K, lasts_K = np.searchsorted(begins, starts_K), np.searchsorted(ends, stops_K)
    within = np.minimum(lasts_K, len(ids) - 1)
    ended_K = (lasts_K < len(ids)) & (ends[within] == stops_K) & np.isin(ids[within], list(stop_ids))
    if not ended_K.all():
        answer = int(np.argmin(ended_K))
        raise VerificationError("wrong rendering", f"answer {answer} does not end with a token that ends turns", text)
    if encoded.in_bytes:
        spelled_K = begins[firsts_K] == starts_K
    else:
        turns = zip(firsts_K.tolist(), lasts_K.tolist(), starts_K.tolist(), stops_K.tolist(), strict=True)
        spelled_K = np.array([encoder.decodes(ids[f : last + 1], text[a:z]) for f, last, a, z in turns], bool)
    if not spelled_K.all():
        raise VerificationError(
            "wrong rendering", f"the tokens of answer {int(np.argmin(spelled_K))} do not spell it", text
        )
    edges = np.zeros(len(ids) + 1, np.int32)
    np.add.at(edges, firsts_K, 1)
    np.add.at(edges, lasts_K + 1, -1)
    graded = np.cumsum(edges[:-1]) > 0
    wrong = np.flatnonzero(rendered.weights != graded)
    if len(wrong):
        token = int(wrong[0])
        shown = encoder.tokenizer.token_text(int(ids[token]))
        raise VerificationError(
            "wrong rendering", f"token {token} ({shown!r}) has weight {rendered.weights[token]:g}", text
        )


def prove_tokens(
    ids: np.ndarray, begins: np.ndarray, layout: Layout, encoded: Encoded, encoder: TemplateEncoder
) -> None:
    """Check the token ids of a text of one or more conversations.

    Raises:
        VerificationError: a token runs over the end of its conversation, texts form a special token, or the tokens do
            not spell the text.
    """
    specials = np.flatnonzero(encoder.is_special[ids])
    rows = np.zeros(len(specials), np.int64)
    if len(layout.rows_R) > 1:
        places_R = encoded.places(layout.rows_R)
        rows = np.searchsorted(places_R, begins[specials], side="right") - 1
        if not np.isin(places_R, begins).all():
            raise VerificationError("wrong rendering", "a token runs over the end of its conversation", layout.text)
    if not np.array_equal(np.bincount(rows, minlength=len(layout.rows_R)), layout.specials_R):
        raise VerificationError("wrong rendering", "texts run together into a special token", layout.text)
    if not encoder.spells(ids, encoded):
        raise VerificationError("wrong rendering", "its tokens do not spell its text", layout.text)


def responses(rendered: Rendered, layout: Layout, encoded: Encoded) -> list[Rendered]:
    """Each answer under its header alone, without what it answers."""
    firsts_K, lasts_K = (encoded.firsts(layout.turns_K3[:, column]) for column in (0, 2))
    found = [rendered.part(first, last) for first, last in zip(firsts_K.tolist(), lasts_K.tolist(), strict=True)]
    return [replace(one, weights=np.concatenate([[np.float32(0)], one.weights[1:]])) for one in found]
