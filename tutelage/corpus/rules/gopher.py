"""The rules of Gopher's MassiveText: quality and repetition (Rae et al. 2021, arXiv 2112.11446, A.1 and table A1)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.rules.checks import above, below, drop_broken, shares
from tutelage.corpus.words import (
    LineKind,
    Lines,
    WordKind,
    Words,
    characters_of,
    lines_of,
    range_sums,
    word_hashes,
    words_of,
)

# "every-copy": all that stands there more than once counts, each word once (DCLM reads the paper so).
# "first-free": the first copy does not count (datatrove, with which FineWeb was made).
Counting = Literal["every-copy", "first-free"]


class GopherQualitySettings(Settings, tag="gopher_quality", tag_field="kind", frozen=True, kw_only=True):
    """Documents that do not read like prose are dropped. All limits are those of Rae et al. 2021, A.1; None switches
    one off.

    words:        what a word is: "spaces" as in the paper, "tokens" as datatrove counts.
    min_words, max_words: in the document, without those that are punctuation and symbols only.
    min_length, max_length: the mean length of those words, in characters.
    hashes:       at most so many "#" a word.
    ellipses:     at most so many "..." and "…" a word.
    bullet_lines: at most this share of the lines that are not blank starts with one of `bullets`.
    ellipsis_lines: at most this share of them ends with an ellipsis.
    letters:      at least this share of the words has a letter.
    stop_words, min_stop_words: at least so many different ones of these words, as they are spelled.
    """

    words: WordKind = "spaces"
    min_words: int | None = 50
    max_words: int | None = 100_000
    min_length: float | None = 3
    max_length: float | None = 10
    hashes: float | None = 0.1
    ellipses: float | None = 0.1
    bullet_lines: float | None = 0.9
    ellipsis_lines: float | None = 0.3
    letters: float | None = 0.8
    bullets: str = "•-"
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    min_stop_words: int | None = 2


def gopher_quality(settings: GopherQualitySettings) -> Step:
    """The step of these settings."""
    wanted = word_hashes(settings.stop_words)
    bullets = np.array([ord(character) for character in settings.bullets], np.uint32)

    def step(batch: DocumentBatch) -> None:
        words, lines, texts = words_of(batch, settings.words), lines_of(batch), batch.texts
        content = ~words.symbols
        count, characters = words.sum(content), words.sum(np.where(content, words.lengths, 0))
        length = shares(characters, count)
        hashes = np.array([text.count("#") for text in texts], np.int64)
        ellipses = np.array([text.count("...") + text.count("…") for text in texts], np.int64)
        bulleted = np.isin(lines.characters.codes[lines.starts], bullets)
        cut_short = lines.end_in_dots | (lines.last(1) == ord("…"))
        drop_broken(
            batch,
            [
                below("too few words", count, settings.min_words),
                above("too many words", count, settings.max_words),
                below("words too short", length, settings.min_length),
                above("words too long", length, settings.max_length),
                above("too many hashes", shares(hashes, words.counts), settings.hashes),
                above("too many ellipses", shares(ellipses, words.counts), settings.ellipses),
                above("mostly bullet points", shares(lines.sum(bulleted), lines.counts), settings.bullet_lines),
                above(
                    "lines cut short",
                    shares(lines.sum(cut_short), lines.counts),
                    settings.ellipsis_lines,
                ),
                below("too few words with letters", shares(words.sum(words.letters), words.counts), settings.letters),
                below("too few stop words", _distinct(words, wanted), settings.min_stop_words),
            ],
        )

    return step


def _distinct(words: Words, wanted: np.ndarray) -> np.ndarray:
    """How many different ones of the wanted words each text has, int64[N]."""
    counts = np.zeros(len(words.firsts), np.int64)
    for one in wanted:
        counts += words.sum(words.hashes == one) > 0
    return counts


class GopherRepetitionSettings(Settings, tag="gopher_repetition", tag_field="kind", frozen=True, kw_only=True):
    """Documents that repeat themselves are dropped. All limits are those of Rae et al. 2021, table A1; None switches
    one off.

    words:    what a word is: "spaces" as in the paper, "tokens" as datatrove counts.
    line_kind: what a line is: "trimmed", or "raw" as datatrove takes it.
    counting: "every-copy": all that stands there twice counts, shares are of the characters of all words.
              "first-free": first copies do not count, shares are of all characters, white space too.
    lines, paragraphs: at most this share of the lines, or paragraphs, are repeated.
    line_characters, paragraph_characters: at most this share of the characters is in repeated ones.
    top_runs: n -> at most this share of the characters is in the most frequent run of n words.
    runs:     n -> at most this share of the characters is in repeated runs of n words.
    """

    words: WordKind = "spaces"
    line_kind: LineKind = "trimmed"
    counting: Counting = "every-copy"
    lines: float | None = 0.3
    paragraphs: float | None = 0.3
    line_characters: float | None = 0.2
    paragraph_characters: float | None = 0.2
    top_runs: dict[int, float] = msgspec.field(default_factory=lambda: {2: 0.2, 3: 0.18, 4: 0.16})
    runs: dict[int, float] = msgspec.field(
        default_factory=lambda: {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}
    )

    def __post_init__(self) -> None:
        widths = [*sorted(self.top_runs), *sorted(self.runs)]
        if widths != sorted(widths) or (widths and widths[0] < 1):
            raise SettingsError("the runs of top_runs must be shorter than those of runs, and all at least one word")


def gopher_repetition(settings: GopherRepetitionSettings) -> Step:
    """The step of these settings."""
    first_free = settings.counting == "first-free"
    tops, runs = _table(settings.top_runs), _table(settings.runs)
    reasons = [f"most frequent {n}-gram" for n in sorted(settings.top_runs)]
    reasons += [f"repeated {n}-grams" for n in sorted(settings.runs)]

    def step(batch: DocumentBatch) -> None:
        from tutelage.corpus.rules.counting import repeats

        lines = lines_of(batch, settings.line_kind)
        hashes, lengths, firsts, lasts = paragraphs(lines)
        again, characters = repeats(hashes, lengths, firsts, lasts, first_free)
        line_again, line_characters = repeats(lines.hashes, lines.lengths, lines.firsts, lines.lasts, first_free)
        wholes = characters_of(batch).lengths if first_free else lines.sum(lines.lengths)
        drop_broken(
            batch,
            [
                above("repeated paragraphs", shares(again, lasts - firsts), settings.paragraphs),
                above("text in repeated paragraphs", shares(characters, wholes), settings.paragraph_characters),
                above("repeated lines", shares(line_again, lines.counts), settings.lines),
                above("text in repeated lines", shares(line_characters, wholes), settings.line_characters),
            ],
        )
        _drop_repeated_runs(batch, settings.words, tops, runs, first_free, reasons)

    return step


def _drop_repeated_runs(
    batch: DocumentBatch, kind: WordKind, tops: np.ndarray, runs: np.ndarray, first_free: bool, reasons: list[str]
) -> None:
    from tutelage.corpus.rules.counting import repetition

    words = words_of(batch, kind)
    wholes = characters_of(batch).lengths if first_free else words.sum(words.lengths)
    broken, share = repetition(
        words.hashes, words.lengths, words.firsts, words.lasts, wholes, tops, runs, first_free
    )  # fmt: skip
    gone = np.flatnonzero(broken >= 0)
    batch.drop(gone, [reasons[i] for i in broken[gone].tolist()], [f"{figure:.4g}" for figure in share[gone].tolist()])


def paragraphs(lines: Lines) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lines without a blank line between them as one: hashes uint64[P], characters int64[P], the range of each text's
    paragraphs int64[N] twice."""
    begins = np.flatnonzero(lines.apart)
    ends = np.append(begins[1:], len(lines.apart))
    # A polynomial in the lines of each paragraph, so that their order counts.
    place = np.arange(len(lines.apart)) - np.repeat(begins, ends - begins)
    powers = np.full(int(place.max(initial=0)) + 1, 0x9E3779B97F4A7C15, np.uint64)
    powers[0] = 1
    terms = lines.hashes * np.cumprod(powers, dtype=np.uint64)[place]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
    characters = range_sums(lines.lengths, begins, ends) + (ends - begins - 1)
    before = np.concatenate([[0], np.cumsum(lines.apart)])
    return sums[ends] - sums[begins], characters, before[lines.firsts], before[lines.lasts]


def _table(limits: dict[int, float]) -> np.ndarray:
    return np.array(sorted(limits.items()), np.float64).reshape(-1, 2)
