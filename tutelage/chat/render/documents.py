"""Documents to tokens: text to continue, without a template."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tutelage.chat.render.renderer import Rendered
from tutelage.records import ROLES
from tutelage.tokenizer import END_OF_TEXT, Tokenizer

_DOCUMENT = ROLES.index("document")


def render_documents(texts: Sequence[str], tokenizer: Tokenizer, spans: bool = False) -> list[Rendered]:
    """Each text as `<|endoftext|>` text `<|endoftext|>`, or the bare text where the tokenizer has no such token.

    All tokens but the first are trained. Spans name message 0, part 0.
    """
    boundary = tokenizer.special_tokens.get(END_OF_TEXT)
    edge = np.array([] if boundary is None else [boundary], np.int32)
    offsets: list[np.ndarray | None] = [None] * len(texts)
    if spans:
        encoded, offsets = [], []
        for ids, characters in tokenizer.encode_batch_with_offsets(texts):
            encoded.append(ids)
            offsets.append(characters)
    else:
        encoded = tokenizer.encode_batch(texts)
    return [_document(np.concatenate([edge, ids, edge]), len(edge), o) for ids, o in zip(encoded, offsets, strict=True)]


def _document(ids: np.ndarray, edge: int, offsets: np.ndarray | None) -> Rendered:
    """`edge`: how many boundary tokens are at each end."""
    weights = np.ones(len(ids), np.float32)
    weights[:1] = 0  # nothing comes before a first token that could predict it
    spans = None
    if offsets is not None:
        spans = np.full((len(ids), 4), -1, np.int32)
        text = spans[edge : len(ids) - edge]
        text[:, :2], text[:, 2:] = 0, offsets
    return Rendered(ids, weights, np.full(len(ids), _DOCUMENT, np.uint8), spans)


def render_document(text: str, tokenizer: Tokenizer, spans: bool = False) -> Rendered:
    """`render_documents` of one."""
    return render_documents([text], tokenizer, spans)[0]
