"""The verification that every trained example passes, whichever template wrote it."""

from __future__ import annotations

import numpy as np

from tutelage.chat.render.encoding import Encoded, TokenTable
from tutelage.chat.render.layout import Layout, VerificationError
from tutelage.chat.render.renderer import Rendered, TrainOn

_FAILED = "verification failed"


def verify(
    rendered: Rendered,
    layout: Layout,
    encoded: Encoded,
    table: TokenTable,
    stop_ids: frozenset[int],
    train_on: TrainOn = "assistant",
) -> None:
    """Checks a rendering against its layout.

    The tokens spell the template's text, and its special tokens are those that the template writes. Trained are
    exactly the tokens that spell what the assistant writes, each turn up to and with a token that generation stops at;
    with "all_tokens" this is not asked.

    Places are counted from the bytes that the tokens spell, where they spell bytes, and not taken from the library.

    Raises:
        VerificationError: with the first token or turn that differs.
    """
    if not np.array_equal(rendered.ids, encoded.ids):
        raise VerificationError(_FAILED, "the tokens are not those of the text", layout.text)
    _verify_tokens(layout, encoded, table)
    if train_on != "all_tokens":
        _verify_weights(rendered.weights, layout, encoded, table, stop_ids)


def _verify_tokens(layout: Layout, encoded: Encoded, table: TokenTable) -> None:
    """The ids spell the text, and the special tokens of each conversation are those that the template writes."""
    begins = encoded.begins[table.is_special[encoded.ids]]
    rows_R = encoded.places(layout.rows_R)
    if len(rows_R) > 1 and not np.isin(rows_R, encoded.begins).all():
        raise VerificationError(_FAILED, "a token crosses the end of its conversation", layout.text)
    rows = np.searchsorted(rows_R, begins, side="right") - 1
    segments = np.searchsorted(encoded.places(layout.starts_S), begins, side="right") - 1
    counts_R = np.bincount(rows, minlength=len(rows_R))
    if not np.array_equal(counts_R, layout.specials_R) or (layout.segments_S4[segments, 2] >= 0).any():
        raise VerificationError(_FAILED, "texts run together into a special token", layout.text)
    if encoded.spelled is not None and table.spelled(encoded.ids) != encoded.spelled:
        raise VerificationError(_FAILED, "the tokens do not spell the text", layout.text)


def _verify_weights(
    weights: np.ndarray, layout: Layout, encoded: Encoded, table: TokenTable, stop_ids: frozenset[int]
) -> None:
    """Each trained turn is spelled by its tokens and ends with a stop token, and no other token is trained."""
    ids, begins, ends = encoded.ids, encoded.begins, encoded.ends
    starts_K, stops_K = encoded.places(layout.turns_K3[:, 1:]).T
    firsts_K, lasts_K = np.searchsorted(begins, starts_K), np.searchsorted(ends, stops_K)
    within = np.minimum(lasts_K, len(ids) - 1)
    ended_K = (lasts_K < len(ids)) & (ends[within] == stops_K) & np.isin(ids[within], list(stop_ids))
    if not ended_K.all():
        turn = int(np.argmin(ended_K))
        raise VerificationError(_FAILED, f"answer {turn} does not end with an end-of-turn token", layout.text)
    if encoded.in_bytes:
        spelled_K = begins[firsts_K] == starts_K
    else:
        turns = zip(firsts_K.tolist(), lasts_K.tolist(), layout.turns_K3[:, 1:].tolist(), strict=True)
        spelled_K = np.array([table.decodes(ids[f : last + 1], layout.text[a:z]) for f, last, (a, z) in turns], bool)
    if not spelled_K.all():
        turn = int(np.argmin(spelled_K))
        raise VerificationError(_FAILED, f"the tokens of answer {turn} do not spell it", layout.text)
    # +1 where a turn begins and -1 after it ends, summed up, is 1 inside turns: [0, 1, 0, 0, -1, 0] -> [0, 1, 1, 1, 0].
    edges = np.zeros(len(ids) + 1, np.int32)
    np.add.at(edges, firsts_K, 1)
    np.add.at(edges, lasts_K + 1, -1)
    context_C2 = np.searchsorted(begins, encoded.places(layout.context_C2))
    np.add.at(edges, context_C2[:, 0], -1)
    np.add.at(edges, context_C2[:, 1], 1)
    wrong = np.flatnonzero(weights != (np.cumsum(edges[:-1]) > 0))
    if len(wrong):
        token = int(wrong[0])
        shown = table.tokenizer.token_text(int(ids[token]))
        raise VerificationError(_FAILED, f"token {token} ({shown!r}) has weight {weights[token]:g}", layout.text)
