"""How often our rules and datatrove's filters agree, rule by rule, over real documents.

    python benchmarks/peers/parity.py

Prints a table and, for each rule, the differences by reason. Exits with 1 if a rule agrees on less than 98% of the
documents. docs/curation-parity.md explains the differences.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.documents import documents
from peers.environment import run_on_documents

from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.rules.c4 import C4FineWebSettings, C4PaperSettings, c4
from tutelage.corpus.rules.fineweb import FineWebCodeSettings, fineweb
from tutelage.corpus.rules.gopher import (
    GopherQualitySettings,
    GopherRepetitionSettings,
    gopher_quality,
    gopher_repetition,
)
from tutelage.records import Document

REQUIRED_AGREEMENT = 0.98


def rules() -> dict[str, Step]:
    """Our rules, set to count as datatrove does; its C4 filter also accepts lines that end with '."""
    return {
        "gopher_repetition": gopher_repetition(
            GopherRepetitionSettings(words="tokens", counting="exclude_first_copy", line_kind="raw")
        ),
        "gopher_quality": gopher_quality(GopherQualitySettings(words="tokens")),
        "c4_paper": c4(C4PaperSettings(terminals=".?!\"'", longest=None)),
        "c4_fineweb": c4(C4FineWebSettings()),
        "fineweb_code": fineweb(FineWebCodeSettings()),
    }


def ours(step: Step, texts: list[str]) -> dict[int, str]:
    """The index and reason of every dropped text."""
    batch = DocumentBatch([Document(text, id=str(index)) for index, text in enumerate(texts)])
    step(batch)
    return {int(dropped.document.id): dropped.reason for dropped in batch.dropped}


def theirs(texts: list[str]) -> list[dict[str, str | None]]:
    """For each text, the reason per datatrove filter, or None where it keeps the text."""
    return [json.loads(line) for line in run_on_documents("datatrove_rules.py", "decide", texts=texts)]


def main() -> int:
    """Compare and print; the exit status."""
    texts = documents()
    their_reasons = theirs(texts)
    print(f"{len(texts)} documents\n\n{'rule':<20}{'agree':>8}{'both drop':>11}{'only ours':>11}{'only theirs':>13}")
    differences, below = [], 0
    for name, step in rules().items():
        our_reasons = ours(step, texts)
        pairs = [(our_reasons.get(index), row[name]) for index, row in enumerate(their_reasons)]
        both = sum(a is not None and b is not None for a, b in pairs)
        only_ours = sum(a is not None and b is None for a, b in pairs)
        only_theirs = sum(a is None and b is not None for a, b in pairs)
        agree = 1 - (only_ours + only_theirs) / len(texts)
        below += agree < REQUIRED_AGREEMENT
        print(f"{name:<20}{agree:>8.2%}{both:>11}{only_ours:>11}{only_theirs:>13}")
        disagreements = Counter(pair for pair in pairs if (pair[0] is None) != (pair[1] is None))
        differences += [
            f"{name}: {count} x ours {a or 'keeps'}, theirs {b or 'keeps'}" for (a, b), count in disagreements.items()
        ]
    print("\n" + "\n".join(differences))
    return int(below > 0)


if __name__ == "__main__":
    sys.exit(main())
