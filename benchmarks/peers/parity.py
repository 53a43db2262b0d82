"""How often our rules decide as datatrove's filters do, rule by rule, over real documents.

    python benchmarks/peers/parity.py

Prints a table and, for each rule, the ways in which the two differ. The exit status is 1 where a rule agrees on fewer
than 98% of the documents. docs/curation-parity.md explains the differences.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.documents import documents
from peers.environment import datatrove

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

ENOUGH = 0.98


def rules() -> dict[str, Step]:
    """Our rules with the settings that count as datatrove does; its C4 filter takes a line that ends with ' too."""
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
    """Place -> reason of every text dropped."""
    batch = DocumentBatch([Document(text, id=str(place)) for place, text in enumerate(texts)])
    step(batch)
    return {int(one.document.id): one.reason for one in batch.dropped}


def theirs(texts: list[str]) -> list[dict[str, str | None]]:
    """For each text, filter by filter, why datatrove drops it."""
    peer = Path(__file__).with_name("datatrove_rules.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.jsonl"
        path.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
        done = subprocess.run([datatrove(), str(peer), "decide", str(path)], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> int:
    """Compares; the exit status."""
    texts = documents()
    decided = theirs(texts)
    print(f"{len(texts)} documents\n\n{'rule':<20}{'agree':>8}{'both drop':>11}{'only ours':>11}{'only theirs':>13}")
    differences, poor = [], 0
    for name, step in rules().items():
        mine = ours(step, texts)
        pairs = [(mine.get(place), row[name]) for place, row in enumerate(decided)]
        both = sum(a is not None and b is not None for a, b in pairs)
        only_ours = sum(a is not None and b is None for a, b in pairs)
        only_theirs = sum(a is None and b is not None for a, b in pairs)
        agree = 1 - (only_ours + only_theirs) / len(texts)
        poor += agree < ENOUGH
        print(f"{name:<20}{agree:>8.2%}{both:>11}{only_ours:>11}{only_theirs:>13}")
        apart = Counter(pair for pair in pairs if (pair[0] is None) != (pair[1] is None))
        differences += [
            f"{name}: {count} x ours {a or 'keeps'}, theirs {b or 'keeps'}" for (a, b), count in apart.items()
        ]
    print("\n" + "\n".join(differences))
    return int(poor > 0)


if __name__ == "__main__":
    sys.exit(main())
