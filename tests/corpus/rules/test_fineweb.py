"""FineWeb's own rules, as the paper and as the code have them."""

from __future__ import annotations

import pytest

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.rules.fineweb import FineWebCodeSettings, FineWebPaperSettings, FineWebSettings, fineweb
from tutelage.records import Document

LINES = [f"This is the line number {number}, and it is long enough." for number in range(100)]
OPEN = [line[:-1] for line in LINES]


def reason(settings: FineWebSettings, text: str) -> str | None:
    batch = DocumentBatch([Document(text)])
    fineweb(settings)(batch)
    assert len(batch) + len(batch.dropped) == 1
    return batch.dropped[0].reason if batch.dropped else None


PAPER, CODE = FineWebPaperSettings(), FineWebCodeSettings()


@pytest.mark.parametrize(
    ("text", "by_paper", "by_code"),
    [
        ("\n".join(LINES), None, None),
        ("", "empty", "empty"),
        (" \n\n ", "empty", "empty"),
        ("\n".join(LINES[:11] + OPEN[11:]), *["lines without a sentence end"] * 2),
        ("\n".join(LINES[:13] + OPEN[13:]), None, None),
        ("\n".join(LINES[:30] + ["Short as it is."] * 1 + [f"Short {n}." for n in range(69)]), *["short lines"] * 2),
        ("\n".join(LINES + LINES[:5]), None, "text in repeated lines"),
        ("\n".join(LINES + LINES[:20]), *["text in repeated lines"] * 2),
        ("\n".join(LINES[:3]) + "\n\n\n" + "\n\n".join(f"{line[:27]} so." for line in LINES[:3]), None, None),
        ("\n".join(f"{n:<31}." for n in range(50)), None, "too many newlines"),
        ("\n".join(f"{line} " for line in LINES), None, "lines without a sentence end"),
    ],
)
def test_limits(text: str, by_paper: str | None, by_code: str | None) -> None:
    assert (reason(PAPER, text), reason(CODE, text)) == (by_paper, by_code)


def test_the_paper_drops_at_its_limits_and_the_code_above_them() -> None:
    at = "\n".join(LINES[:12] + OPEN[12:])
    assert (reason(PAPER, at), reason(CODE, at)) == ("lines without a sentence end", None)
    thirty = "\n".join([f"{n:0>29}." for n in range(67)] + LINES[:33])
    assert reason(PAPER, thirty) is None
    shorter = "\n".join([f"{n:0>28}." for n in range(67)] + LINES[:33])
    assert (reason(PAPER, shorter), reason(CODE, shorter)) == ("short lines", None)
