"""Perplexity of texts by source, with intervals over texts.

A text opens as documents opened in training: with BOS where the checkpoint's tokenizer adds it, since a model that
never saw another beginning predicts next to nothing after one. A text longer than the context is scored in windows that
overlap by half, so that every token but those of the first window has half a context before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.evaluate.statistics import ratio_of_sums
from tutelage.evaluate.token_scores import token_scores
from tutelage.model.hub import Checkpoint


@dataclass(frozen=True)
class SourceText:
    """A text, its name and where it is from."""

    source: str
    id: str
    text: str


@dataclass(frozen=True)
class TextLoss:
    """The loss of a text in nats, over its tokens and UTF-8 bytes."""

    source: str
    id: str
    nats: float
    tokens: int
    bytes: int


def text_losses(checkpoint: Checkpoint, texts: Sequence[SourceText]) -> list[TextLoss]:
    """The loss of each text that has a token. The first token is scored too, where documents open with one before it.

    Raises:
        ValueError: no text has a token that can be scored.
    """
    opening, context = checkpoint.tokenizer.document_edges[0], checkpoint.model.config.context
    windows, starts, owners = [], [], []
    encoded = checkpoint.tokenizer.encode_batch([one.text for one in texts])
    for number, ids in enumerate(encoded):
        whole = np.concatenate([opening, ids])
        for begin, start, end in _windows(len(whole), max(1, len(opening)), context):
            windows.append(whole[begin:end])
            starts.append(start - begin)
            owners.append(number)
    if not windows:
        raise ValueError("no text has a token to predict; give longer texts")
    nats, tokens = np.zeros(len(texts)), np.zeros(len(texts), np.int64)
    for owner, scores in zip(owners, token_scores(checkpoint.model, windows, starts, "perplexity"), strict=True):
        nats[owner] -= scores.logprob_T.sum()
        tokens[owner] += len(scores.logprob_T)
    return [
        TextLoss(text.source, text.id, float(nats[number]), int(tokens[number]), len(text.text.encode()))
        for number, text in enumerate(texts)
        if tokens[number]
    ]


def _windows(length: int, first: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Windows of a text: where each begins, the first token that it scores, and its end."""
    start = first
    while start < length:
        begin = 0 if start == first else start - context // 2
        end = min(begin + context, length)
        yield begin, start, end
        start = end


def perplexity(losses: Sequence[TextLoss]) -> dict[str, Any]:
    """Nats per token, perplexity and bits per byte of each source, of all texts together (micro: every token counts
    alike) and as the mean over sources (macro), with 95% intervals from a bootstrap over texts. Perplexities of models
    with different tokenizers cannot be compared; bits per byte can."""
    by_source: dict[str, list[TextLoss]] = {}
    for loss in losses:
        by_source.setdefault(loss.source, []).append(loss)
    sources = {name: _figures(own) for name, own in by_source.items()}
    macro = float(np.mean([of["bits_per_byte"] for of in sources.values()]))
    return {"sources": sources, "micro": _figures(losses), "macro": {"bits_per_byte": macro}}


def _figures(losses: Sequence[TextLoss]) -> dict[str, Any]:
    nats, tokens, sizes = (
        np.array([getattr(one, name) for one in losses], float) for name in ("nats", "tokens", "bytes")
    )
    per_token, low, high = (value + 1 for value in ratio_of_sums(nats, tokens))
    return {
        "texts": len(losses),
        "tokens": int(tokens.sum()),
        "nats_per_token": per_token,
        "low": low,
        "high": high,
        "perplexity": math.exp(per_token),
        "bits_per_byte": float(nats.sum() / sizes.sum() / math.log(2)),
        "bytes_per_token": float(sizes.sum() / tokens.sum()),
    }


def perplexity_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines for the terminal."""
    rows = {**found["sources"], **({"all, per token (micro)": found["micro"]} if len(found["sources"]) > 1 else {})}
    width = max(map(len, rows))
    for name, of in rows.items():
        yield (
            f"{name:<{width}}  perplexity {of['perplexity']:.2f}, {of['nats_per_token']:.3f} nats per token "
            f"({of['low']:.3f} to {of['high']:.3f}), {of['bits_per_byte']:.3f} bits per byte; {of['texts']:,} texts, "
            f"{of['tokens']:,} tokens"
        )
    if len(found["sources"]) > 1:
        yield f"mean over sources (macro): {found['macro']['bits_per_byte']:.3f} bits per byte"
