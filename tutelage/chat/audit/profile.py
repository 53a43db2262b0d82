"""Figures about a whole file of conversations, for the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.chat.audit.language import languages
from tutelage.chat.audit.likeness import Diversity
from tutelage.chat.audit.scan import Scanned
from tutelage.chat.audit.tokens import Tokens
from tutelage.ledger import Ledger

_OPENINGS_SHOWN = 5


def profile(scanned: Scanned, prompts: Diversity, ledger: Ledger, tokens: Tokens | None) -> dict[str, Any]:
    """Figures under plain dotted names: rows, sizes, prompts, languages and, with a model, tokens."""
    facts, notes = scanned.facts, scanned.notes
    count = len(facts)
    read, said = int(facts["read"].sum()), int(facts["said"].sum())
    found: dict[str, Any] = {
        "rows.read": ledger.rows_read,
        "rows.kept": ledger.rows_kept,
        "rows.dropped": {reason: entry.rows for reason, entry in ledger.dropped.items()},
        "rows.noted": {what: note.rows for what, note in ledger.noted.items()},
        "conversations": count,
        "answers": notes.answers,
        "characters.read": read,
        "characters.answers": said,
        "characters.answers_share": said / max(1, read + said),
    }
    if count:
        places = np.quantile(facts["said"], (0.5, 0.9, 0.99, 1.0), method="higher")
        names = ("median", "p90", "p99", "longest")
        found |= {f"answers.characters.{name}": int(at) for name, at in zip(names, places, strict=True)}
        found |= {
            "prompts.distinct": prompts.distinct,
            "prompts.kinds": prompts.kinds,
            "prompts.effective": prompts.effective,
            "prompts.largest_share": len(prompts.largest) / count,
            "prompts.openings": {
                words: times / count for words, times in notes.openings.most_common(_OPENINGS_SHOWN) if times > 1
            },
        }
        found["languages"], found["languages.told_by"] = languages(notes.sample)
        found["languages.sample"] = len(notes.sample)
    return found | (tokens.profile() if tokens else {})
