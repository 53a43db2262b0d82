"""The quality and repetition filters of Gopher's MassiveText (Rae et al. 2021, arXiv 2112.11446, A.1 and table A1)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.columns import characters_of, lines_of, words_of
from tutelage.corpus.rules.checks import Check, above, below, drop_broken, shares
from tutelage.corpus.rules.counting import repeats, repetition
from tutelage.text.hashing import GOLDEN
from tutelage.text.words import LineMode, Lines, WordKind, Words, range_sums, word_hashes

# "all_copies": every copy of a repeated run counts, each word once (DCLM reads the paper so).
# "exclude_first_copy": the first copy does not count (datatrove, which made FineWeb).
Counting = Literal["all_copies", "exclude_first_copy"]


class GopherQualitySettings(Settings, tag="gopher_quality", tag_field="kind", frozen=True, kw_only=True):
    """Drops documents that are not prose. Defaults are those of Rae et al. 2021, A.1; None disables a limit.

    words:          "spaces" splits at white space as in the paper; "tokens" as datatrove counts.
    min_words, max_words: number of words, without those of punctuation and symbols only.
    min_length, max_length: mean length of those words, in characters; not in scripts without spaces, where each letter
                    counts as a word.
    hashes:         maximum number of "#" per word.
    ellipses:       maximum number of "..." and "…" per word.
    bullet_lines:   maximum fraction of non-blank lines that start with one of `bullets`.
    ellipsis_lines: maximum fraction of non-blank lines that end with an ellipsis.
    letters:        minimum fraction of words with a letter.
    stop_words, min_stop_words: minimum number of distinct stop words (case-sensitive).
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
    """Apply the Gopher quality filter (Rae et al. 2021, arXiv 2112.11446, A.1)."""
    wanted = word_hashes(settings.stop_words)
    bullets = np.array([ord(character) for character in settings.bullets], np.uint32)

    def step(batch: DocumentBatch) -> None:
        words, lines, texts = words_of(batch, settings.words), lines_of(batch), batch.texts
        content = ~words.symbols
        spaced = content & ~words.unspaced
        count, spaced_count = words.sum(content), words.sum(spaced)
        length = shares(words.sum(np.where(spaced, words.lengths, 0)), spaced_count)
        measured = (2 * spaced_count > count) | (count == 0)
        hashes = np.array([text.count("#") for text in texts], np.int64)
        ellipses = np.array([text.count("...") + text.count("…") for text in texts], np.int64)
        bulleted = np.isin(lines.characters.codes[lines.starts], bullets)
        cut_short = lines.end_in_dots | (lines.last(1) == ord("…"))
        drop_broken(
            batch,
            [
                below("too few words", count, settings.min_words),
                above("too many words", count, settings.max_words),
                _only(measured, below("words too short", length, settings.min_length)),
                _only(measured, above("words too long", length, settings.max_length)),
                above("too many hashes", shares(hashes, words.counts), settings.hashes),
                above("too many ellipses", shares(ellipses, words.counts), settings.ellipses),
                above("mostly bullet points", shares(lines.sum(bulleted), lines.counts), settings.bullet_lines),
                above(
                    "lines ending in an ellipsis",
                    shares(lines.sum(cut_short), lines.counts),
                    settings.ellipsis_lines,
                ),
                below("too few words with letters", shares(words.sum(words.letters), words.counts), settings.letters),
                below("too few stop words", _distinct(words, wanted), settings.min_stop_words),
            ],
        )

    return step


def _only(where: np.ndarray, check: Check) -> Check:
    """The check for the documents in the mask; others pass it."""
    return check._replace(broken=check.broken & where)


def _distinct(words: Words, wanted: np.ndarray) -> np.ndarray:
    """The number of distinct wanted words in each text, int64[N]."""
    counts = np.zeros(len(words.firsts), np.int64)
    for word in wanted:
        counts += words.sum(words.hashes == word) > 0
    return counts


class GopherRepetitionSettings(Settings, tag="gopher_repetition", tag_field="kind", frozen=True, kw_only=True):
    """Drops repetitive documents. Defaults are those of Rae et al. 2021, table A1; None disables a limit.

    words:     "spaces" splits at white space as in the paper; "tokens" as datatrove counts.
    line_kind: "trimmed", or "raw" as datatrove splits lines.
    counting:  "all_copies": every copy counts; fractions are of the characters of all words.
               "exclude_first_copy": first copies do not count; fractions are of all characters, with white space.
    lines, paragraphs: maximum fraction of repeated lines, or paragraphs.
    line_characters, paragraph_characters: maximum fraction of characters in them.
    top_runs:  n -> maximum fraction of characters in the most frequent n-gram of words.
    runs:      n -> maximum fraction of characters in repeated n-grams of words.
    """

    words: WordKind = "spaces"
    line_kind: LineMode = "trimmed"
    counting: Counting = "all_copies"
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
            raise SettingsError("the n-grams of top_runs must be shorter than those of runs, and at least one word")


def gopher_repetition(settings: GopherRepetitionSettings) -> Step:
    """Apply the Gopher repetition filter (Rae et al. 2021, arXiv 2112.11446, table A1)."""
    exclude_first = settings.counting == "exclude_first_copy"
    tops, runs = _table(settings.top_runs), _table(settings.runs)
    reasons = [f"most frequent {n}-gram" for n in sorted(settings.top_runs)]
    reasons += [f"repeated {n}-grams" for n in sorted(settings.runs)]

    def step(batch: DocumentBatch) -> None:
        lines = lines_of(batch, settings.line_kind)
        hashes, lengths, firsts, lasts = paragraphs(lines)
        again, characters = repeats(hashes, lengths, firsts, lasts, exclude_first)
        line_again, line_characters = repeats(lines.hashes, lines.lengths, lines.firsts, lines.lasts, exclude_first)
        wholes = characters_of(batch).lengths if exclude_first else lines.sum(lines.lengths)
        drop_broken(
            batch,
            [
                above("repeated paragraphs", shares(again, lasts - firsts), settings.paragraphs),
                above("text in repeated paragraphs", shares(characters, wholes), settings.paragraph_characters),
                above("repeated lines", shares(line_again, lines.counts), settings.lines),
                above("text in repeated lines", shares(line_characters, wholes), settings.line_characters),
            ],
        )
        _drop_repeated_runs(batch, settings.words, tops, runs, exclude_first, reasons)

    return step


def _drop_repeated_runs(
    batch: DocumentBatch, kind: WordKind, tops: np.ndarray, runs: np.ndarray, exclude_first: bool, reasons: list[str]
) -> None:
    words = words_of(batch, kind)
    wholes = characters_of(batch).lengths if exclude_first else words.sum(words.lengths)
    broken, share = repetition(
        words.hashes, words.lengths, words.firsts, words.lasts, wholes, tops, runs, exclude_first
    )  # fmt: skip
    gone = np.flatnonzero(broken >= 0)
    batch.drop(gone, [reasons[i] for i in broken[gone].tolist()], [f"{figure:.4g}" for figure in share[gone].tolist()])


def paragraphs(lines: Lines) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Join lines without a blank line between them. Returns hashes uint64[P], characters int64[P], and the range of
    each text's paragraphs: first and last, int64[N] each."""
    begins = np.flatnonzero(lines.apart)
    ends = np.append(begins[1:], len(lines.apart))
    # A polynomial over the line hashes, so that the order of the lines matters.
    place = np.arange(len(lines.apart)) - np.repeat(begins, ends - begins)
    powers = np.full(int(place.max(initial=0)) + 1, GOLDEN)
    powers[0] = 1
    terms = lines.hashes * np.cumprod(powers, dtype=np.uint64)[place]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
    characters = range_sums(lines.lengths, begins, ends) + (ends - begins - 1)
    before = np.concatenate([[0], np.cumsum(lines.apart)])
    return sums[ends] - sums[begins], characters, before[lines.firsts], before[lines.lasts]


def _table(limits: dict[int, float]) -> np.ndarray:
    return np.array(sorted(limits.items()), np.float64).reshape(-1, 2)
