"""Documents to tokens: text to continue, without a template."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tutelage.chat.render.renderer import Rendered
from tutelage.records import ROLES
from tutelage.tokenizer import Tokenizer

_DOCUMENT = ROLES.index("document")


def render_documents(texts: Sequence[str], tokenizer: Tokenizer, spans: bool = False) -> list[Rendered]:
    """Each text between the tokens that open and end a document (`Tokenizer.document_edges`).

    All tokens but the first are trained. Spans name message 0, part 0.
    """
    opening, closing = tokenizer.document_edges
    offsets: list[np.ndarray | None] = [None] * len(texts)
    if spans:
        encoded, offsets = [], []
        for ids, characters in tokenizer.encode_batch_with_offsets(texts):
            encoded.append(ids)
            offsets.append(characters)
    else:
        encoded = tokenizer.encode_batch(texts)
    rows = [np.concatenate([opening, ids, closing]) for ids in encoded]
    return [_document(row, len(opening), o) for row, o in zip(rows, offsets, strict=True)]


def _document(ids: np.ndarray, opening: int, offsets: np.ndarray | None) -> Rendered:
    """`opening`: how many tokens stand before the text."""
    weights = np.ones(len(ids), np.float32)
    weights[:1] = 0  # nothing comes before a first token that could predict it
    spans = None
    if offsets is not None:
        spans = np.full((len(ids), 4), -1, np.int32)
        text = spans[opening : opening + len(offsets)]
        text[:, :2], text[:, 2:] = 0, offsets
    return Rendered(ids, weights, np.full(len(ids), _DOCUMENT, np.uint8), spans)


def render_document(text: str, tokenizer: Tokenizer, spans: bool = False) -> Rendered:
    """`render_documents` of one."""
    return render_documents([text], tokenizer, spans)[0]
