"""Rows that a model's template refuses, and rows that are longer than its context."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tutelage.chat.audit.check import AuditedFile, Check, Hit, Level


def _unverifiable(file: AuditedFile) -> Iterator[Hit]:
    """Conversations that fail verification, a hit for each reason."""
    if file.tokens is None:
        return
    tokens = file.tokens
    refused = sum(map(len, tokens.refused.values()))
    level: Level = "error" if refused > file.limits.max_refused * len(tokens.longest) else "warning"
    for reason, rows in tokens.refused.items():
        yield Hit(np.array(rows, np.int64), tokens.examples[reason], reason, level)


def _too_long(file: AuditedFile) -> Iterator[Hit]:
    """Conversations longer than the context, and what each policy for them loses."""
    if file.tokens is None or file.tokens.context is None:
        return
    tokens, policy = file.tokens, file.limits.too_long
    rows = tokens.too_long()
    stops = policy == "error" or (policy == "split" and tokens.unsplittable)
    lost = sum(tokens.trained[row] for row in rows)
    detail = (
        f"context {tokens.context:,}; error: training stops; drop: {lost:,} trained tokens are lost; split: nothing is "
        f"lost, but {len(tokens.unsplittable):,} cannot be split"
    )
    yield Hit(np.array(rows, np.int64), detail=detail, level="error" if stops else "warning")


UNVERIFIABLE = Check(
    "unverifiable",
    "error",
    "verification with this model's template fails",
    "See the reason and the tokens with `tutelage look FILE --model M`; correct them, leave them out with --fix, or "
    "allow a share of them with --max-refused.",
    _unverifiable,
    auto_fixable=True,
)
TOO_LONG = Check(
    "too long",
    "error",
    "longer than the model's context",
    "Train with --too-long split or drop, or use a longer context; nothing is truncated silently.",
    _too_long,
)
