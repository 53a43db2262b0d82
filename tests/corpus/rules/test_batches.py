"""What a rule decides about a document hangs on that document alone: not on its batch, nor on the steps before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.rules.c4 import C4FineWebSettings, C4PaperSettings, c4
from tutelage.corpus.rules.fineweb import FineWebCodeSettings, FineWebPaperSettings, fineweb
from tutelage.corpus.rules.gopher import (
    GopherQualitySettings,
    GopherRepetitionSettings,
    gopher_quality,
    gopher_repetition,
)
from tutelage.corpus.rules.length import LengthSettings, length
from tutelage.records import Document

STEPS: dict[str, Callable[[], Step]] = {
    "quality": lambda: gopher_quality(GopherQualitySettings(min_words=2, min_stop_words=1)),
    "quality, tokens": lambda: gopher_quality(GopherQualitySettings(words="tokens", min_words=4, min_stop_words=None)),
    "repetition": lambda: gopher_repetition(GopherRepetitionSettings()),
    "repetition, raw": lambda: gopher_repetition(
        GopherRepetitionSettings(counting="exclude_first_copy", line_kind="raw")
    ),
    "c4_paper": lambda: c4(C4PaperSettings(sentences=1, line_words=2)),
    "c4_fineweb": lambda: c4(C4FineWebSettings(sentences=2, line_words=1)),
    "fineweb_paper": lambda: fineweb(FineWebPaperSettings(short_line=5)),
    "fineweb_code": lambda: fineweb(FineWebCodeSettings(short_line=5)),
    "length": lambda: length(LengthSettings(shortest=3, longest=40)),
}
LINES = [
    "the man and the dog.",
    "to be...",
    "{",
    "- a b",
    "x",
    "",
    " ",
    "JavaScript is on.",
    "[1] that was it!",
    "é ü…",
]
texts = st.lists(st.lists(st.sampled_from(LINES), max_size=6).map("\n".join), max_size=7)


def decide(step: Step, batch: DocumentBatch) -> dict[str, str]:
    """What each document became: its text, or why it went and with what figure."""
    step(batch)
    found = {document.id: f"kept {document.text}" for document in batch.documents}
    return found | {one.document.id: f"{one.reason}: {one.detail}" for one in batch.dropped}


def batch_of(written: list[str], first: int = 0) -> DocumentBatch:
    return DocumentBatch([Document(text, id=str(place)) for place, text in enumerate(written, first)])


@pytest.mark.parametrize("name", STEPS)
@given(written=texts)
@settings(max_examples=30)
def test_a_batch_is_judged_as_its_documents_are(name: str, written: list[str]) -> None:
    step = STEPS[name]()
    alone: dict[str, str] = {}
    for place, text in enumerate(written):
        alone |= decide(step, batch_of([text], place))
    assert decide(step, batch_of(written)) == alone


@pytest.mark.parametrize("name", STEPS)
@given(written=texts, before=st.sampled_from(sorted(STEPS)))
@settings(max_examples=30)
def test_columns_shared_with_the_step_before_are_those_of_the_texts(name: str, written: list[str], before: str) -> None:
    batch = batch_of(written)
    batch.enter("before")
    STEPS[before]()(batch)
    batch.enter("after")
    fresh = DocumentBatch(batch.documents)
    assert decide(STEPS[name](), batch) == decide(STEPS[name](), fresh)
