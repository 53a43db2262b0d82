"""The C4 filter: cuts lines that are not prose, drops pages that are code or placeholder text.

Raffel et al. 2020, arXiv 1910.10683, section 2.2. Details that the paper leaves open follow the code of TensorFlow
Datasets, `c4_utils`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.columns import characters_of, lines_of
from tutelage.corpus.fetch import local_file
from tutelage.corpus.rules.checks import above, drop_broken
from tutelage.text.characters import MARKS
from tutelage.text.ngrams import ngrams, text_hashes
from tutelage.text.words import Lines, hash_words, range_sums

_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_SHOWN = 80  # characters of a line in the detail of a drop


class C4Settings(Settings, frozen=True, kw_only=True):
    """First, marks such as "[12]", "[edit]" and "[citation needed]" are deleted. Then lines are cut, in this order:
    with a word of more than `longest_word` characters; without a final character of `terminals`, or ending in "..."
    (unless `terminals` is empty); with fewer than `line_words` words; with "javascript"; notices of terms and cookies.
    A document is dropped for "lorem ipsum" or "{" in a remaining line, for fewer than `sentences` sentences in the
    remaining lines, for more than `longest` characters, or for a bad word.

    bad_words: a file of words and phrases, one per line; default: none. C4 used the English list of LDNOOBW.
    """

    longest_word: int = 1000
    terminals: str
    line_words: int
    sentences: int
    longest: int | None
    bad_words: str | None = None


class C4PaperSettings(C4Settings, tag="c4_paper", tag_field="kind", frozen=True, kw_only=True):
    """The thresholds of the paper and its code."""

    terminals: str = '.?!"'
    line_words: int = 5
    sentences: int = 3
    longest: int | None = 190_000


class C4FineWebSettings(C4Settings, tag="c4_fineweb", tag_field="kind", frozen=True, kw_only=True):
    """The thresholds of FineWeb's code: 5 sentences and 3 words, which swaps the numbers of the paper, and any line end
    (Penedo et al. 2024, arXiv 2406.17557)."""

    terminals: str = ""
    line_words: int = 3
    sentences: int = 5
    longest: int | None = None


def c4(settings: C4Settings) -> Step:
    """Apply the C4 filter (Raffel et al. 2020, section 2.2). Raises ValueError if the file of bad words is
    unreadable."""
    bad = None if settings.bad_words is None else _read_phrases(local_file(settings.bad_words))

    def step(batch: DocumentBatch) -> None:
        drop_broken(batch, [above("too long", characters_of(batch).lengths, settings.longest)])
        batch.rewrite([_CITATION.sub("", text) if "[" in text else None for text in batch.texts], "citation marks cut")
        lines = lines_of(batch)
        kept, cut = _cut_by_shape(lines, settings)
        reasons = _cut_by_words(batch.texts, lines, kept, cut)
        sentences = lines.sum(np.where(kept, lines.sentences, 0))
        for place in np.flatnonzero(sentences < settings.sentences).tolist():
            reasons.setdefault(place, ("too few sentences", str(int(sentences[place]))))
        if bad is not None:
            for place in np.flatnonzero(_has_phrase(batch.texts, bad)).tolist():
                reasons.setdefault(place, ("bad word", ""))
        texts = [None if i in reasons else _joined(lines, kept, i, text) for i, text in enumerate(batch.texts)]
        batch.rewrite(texts, "lines cut")
        gone = sorted(reasons)
        for what, found in cut.items():
            found[gone] = False
            batch.note(what, int(found.sum()))
        batch.drop(gone, [reasons[i][0] for i in gone], [reasons[i][1] for i in gone])

    return step


def _cut_by_shape(lines: Lines, settings: C4Settings) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Which lines pass the rules on words and line ends, bool[L]; and per rule, which texts had a line cut, bool[N]."""
    cuts = [("lines with a very long word cut", lines.longest > settings.longest_word)]
    if settings.terminals:
        cuts.append(("lines without a sentence end cut", ~_closed(lines, settings.terminals)))
    cuts.append(("short lines cut", lines.words < settings.line_words))
    kept = np.ones(len(lines.starts), bool)
    affected = {}
    for what, cut in cuts:
        affected[what] = lines.sum(cut & kept) > 0
        kept &= ~cut
    return kept, affected


def _cut_by_words(
    texts: list[str], lines: Lines, kept: np.ndarray, affected: dict[str, np.ndarray]
) -> dict[int, tuple[str, str]]:
    """Remove lines from `kept` by their words, and record in `affected` which texts had a line cut. Returns the texts
    to drop because of a line: place -> (reason, detail)."""
    dropped: dict[int, tuple[str, str]] = {}
    script, policy = np.zeros(len(texts), bool), np.zeros(len(texts), bool)
    affected |= {"javascript lines cut": script, "terms and cookie lines cut": policy}
    for place, text in enumerate(texts):
        lowered = text.lower()
        if not ("{" in text or any(phrase in lowered for phrase in ("javascript", "lorem ipsum", *_POLICIES))):
            continue
        for number in range(int(lines.firsts[place]), int(lines.lasts[place])):
            if not kept[number]:
                continue
            line = _line(lines, number, place, text)
            low = line.lower()
            if "lorem ipsum" in low:
                dropped[place] = ("lorem ipsum", "")
                break
            if "javascript" in low:
                kept[number], script[place] = False, True
            elif "{" in line:
                dropped[place] = ("curly bracket", line[:_SHOWN])
                break
            elif any(phrase in low for phrase in _POLICIES):
                kept[number], policy[place] = False, True
    return dropped


def _line(lines: Lines, number: int, place: int, text: str) -> str:
    start = lines.characters.starts[place]
    return text[lines.starts[number] - start : lines.stops[number] - start]


def _joined(lines: Lines, kept: np.ndarray, place: int, text: str) -> str:
    """The kept lines of a text."""
    first, last = int(lines.firsts[place]), int(lines.lasts[place])
    left = first + np.flatnonzero(kept[first:last])
    begin = lines.characters.starts[place]
    starts, stops = (lines.starts[left] - begin).tolist(), (lines.stops[left] - begin).tolist()
    return "\n".join([text[start:stop] for start, stop in zip(starts, stops, strict=True)])


def _closed(lines: Lines, terminals: str) -> np.ndarray:
    """Whether each line ends in one of these characters, but not in three dots: bool[L]."""
    marks = np.array([ord(character) for character in terminals], np.uint32)
    return np.isin(lines.last(1), marks) & ~lines.end_in_dots


def _read_phrases(path: Path) -> dict[int, np.ndarray]:
    """The phrases of a file by their number of words: hashes, uint64."""
    try:
        phrases = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"bad_words: {path} cannot be read as a list of words, one per line ({error})") from error
    if not phrases:
        raise ValueError(f"bad_words: {path} is empty; it must have one word or phrase per line")
    tokens = hash_words(phrases, MARKS)
    lengths = np.diff(tokens.bounds)
    hashes = text_hashes(tokens)
    return {int(width): np.unique(hashes[lengths == width]) for width in np.unique(lengths[lengths > 0])}


def _has_phrase(texts: list[str], phrases: dict[int, np.ndarray]) -> np.ndarray:
    """Which texts contain one of the phrases as whole words, ignoring case: bool[N]."""
    tokens = hash_words(texts, MARKS)
    found = np.zeros(len(texts), bool)
    for width, hashes in phrases.items():
        runs = ngrams(tokens, width)
        found |= range_sums(np.isin(runs.values, hashes), runs.bounds[:-1], runs.bounds[1:]) > 0
    return found
