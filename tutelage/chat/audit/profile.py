"""Figures about a whole file of conversations, for the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.chat.audit.check import AuditedFile
from tutelage.text.language import languages

_OPENINGS_SHOWN = 5


def profile(file: AuditedFile) -> dict[str, Any]:
    """Figures under plain dotted names: rows, sizes, prompts, languages and, with a model, tokens."""
    features, notes, ledger = file.scan.features, file.scan.notes, file.ledger
    count = len(features)
    context_chars, answer_chars = int(features["context_chars"].sum()), int(features["assistant_chars"].sum())
    figures: dict[str, Any] = {
        "rows.read": ledger.rows_read,
        "rows.kept": ledger.rows_kept,
        "rows.dropped": {reason: entry.rows for reason, entry in ledger.dropped.items()},
        "rows.noted": {note: entry.rows for note, entry in ledger.noted.items()},
        "conversations": count,
        "answers": notes.answers,
        "characters.context": context_chars,
        "characters.answers": answer_chars,
        "characters.answers_share": answer_chars / max(1, context_chars + answer_chars),
    }
    if count:
        lengths = np.quantile(features["assistant_chars"], (0.5, 0.9, 0.99, 1.0), method="higher")
        names = ("median", "p90", "p99", "longest")
        figures |= {f"answers.characters.{name}": int(length) for name, length in zip(names, lengths, strict=True)}
        figures |= {
            "prompts.distinct": file.diversity.distinct,
            "prompts.clusters": file.diversity.clusters,
            "prompts.effective_clusters": file.diversity.effective_clusters,
            "prompts.largest_cluster_share": len(file.diversity.largest) / count,
            "prompts.openings": {
                words: times / count for words, times in notes.openings.most_common(_OPENINGS_SHOWN) if times > 1
            },
        }
        figures["languages"], figures["languages.detected_by"] = languages(notes.sample)
        figures["languages.sample"] = len(notes.sample)
    return figures | (file.tokens.profile() if file.tokens else {})
