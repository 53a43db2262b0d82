"""The step that joins lines with hard ends, as in plain texts that were wrapped at a width."""

from __future__ import annotations

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.hard_lines import join_lines
from tutelage.corpus.rules.code import is_source


class JoinLinesSettings(Settings, tag="join_lines", tag_field="kind", frozen=True, kw_only=True):
    """Joins the lines of paragraphs that were wrapped at a width, such as those of books in plain text: a line goes on
    if it is as long as the column and ends without a mark. Place it before steps that judge lines. Source code is kept
    unchanged; PDF needs no such step."""


def join_wrapped_lines(_settings: JoinLinesSettings) -> Step:
    """Join lines that go on into paragraphs."""

    def step(batch: DocumentBatch) -> None:
        texts = [None if is_source(document) else join_lines(document.text) for document in batch.documents]
        batch.rewrite(texts, "lines joined")

    return step
