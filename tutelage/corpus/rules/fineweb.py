"""The filters that FineWeb added to those of Gopher and C4 (Penedo et al. 2024, arXiv 2406.17557, section 3.6)."""

from __future__ import annotations

import numpy as np

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.columns import lines_of, words_of
from tutelage.corpus.rules.checks import Check, above, below, drop_broken, shares
from tutelage.text.characters import LAST, TERMINAL, character_classes
from tutelage.text.words import LineMode, WordKind


class FineWebSettings(Settings, frozen=True, kw_only=True):
    """Drops lists, menus and fragments. Only non-blank lines count. None disables a limit.

    closed_lines:        minimum fraction of lines that end with sentence-final punctuation.
    repeated_characters: maximum fraction of characters in repeated lines.
    short_line:          a line of at most this many characters is short.
    short_lines:         maximum fraction of short lines.
    newlines:            maximum number of newlines per word.
    words:               "spaces" splits at white space; "tokens" as datatrove counts.
    line_kind:           "trimmed", or "raw" as datatrove splits lines.
    limits_drop:         whether a document exactly at a limit is dropped too.
    """

    closed_lines: float | None
    repeated_characters: float | None
    short_line: int
    short_lines: float | None
    newlines: float | None
    words: WordKind
    line_kind: LineMode
    limits_drop: bool


class FineWebPaperSettings(FineWebSettings, tag="fineweb_paper", tag_field="kind", frozen=True, kw_only=True):
    """The thresholds of the paper: drop at lines ending in punctuation <= 12%, characters in repeated lines >= 10%,
    lines shorter than 30 characters >= 67%."""

    closed_lines: float | None = 0.12
    repeated_characters: float | None = 0.1
    short_line: int = 29
    short_lines: float | None = 0.67
    newlines: float | None = None
    words: WordKind = "spaces"
    line_kind: LineMode = "trimmed"
    limits_drop: bool = True


class FineWebCodeSettings(FineWebSettings, tag="fineweb_code", tag_field="kind", frozen=True, kw_only=True):
    """The thresholds of the code that made FineWeb (datatrove, FineWebQualityFilter)."""

    closed_lines: float | None = 0.12
    repeated_characters: float | None = 0.01
    short_line: int = 30
    short_lines: float | None = 0.67
    newlines: float | None = 0.3
    words: WordKind = "tokens"
    line_kind: LineMode = "raw"
    limits_drop: bool = False


def fineweb(settings: FineWebSettings) -> Step:
    """Apply the FineWeb quality filter (arXiv 2406.17557, section 3.6; datatrove, FineWebQualityFilter)."""

    def over(reason: str, figures: np.ndarray, limit: float | None) -> Check:
        if limit is None or not settings.limits_drop:
            return above(reason, figures, limit)
        return Check(reason, figures >= limit, figures)

    def under(reason: str, figures: np.ndarray, limit: float | None) -> Check:
        if limit is None or not settings.limits_drop:
            return below(reason, figures, limit)
        return Check(reason, figures <= limit, figures)

    def step(batch: DocumentBatch) -> None:
        from tutelage.corpus.rules.counting import repeats

        lines, texts = lines_of(batch, settings.line_kind), batch.texts
        filled = lines.words > 0
        count = lines.sum(filled)
        closed = filled & ((character_classes()[np.minimum(lines.last(1), LAST)] & TERMINAL) != 0)
        short = filled & (lines.lengths <= settings.short_line)
        _, repeated = repeats(lines.hashes, lines.lengths * filled, lines.firsts, lines.lasts, True)
        newlines = np.array([text.count("\n") for text in texts], np.int64)
        share_repeated = shares(repeated, lines.characters.lengths - newlines)
        share_closed = shares(lines.sum(closed), count)
        checks = [
            Check("empty", count == 0, count),
            under("lines without a sentence end", share_closed, settings.closed_lines),
            over("short lines", shares(lines.sum(short), count), settings.short_lines),
            over("text in repeated lines", share_repeated, settings.repeated_characters),
        ]
        if settings.newlines is not None:
            checks.append(
                over("too many newlines", shares(newlines, words_of(batch, settings.words).counts), settings.newlines)
            )
        drop_broken(batch, checks)

    return step
