"""Gopher's rules: each limit by itself, and the counting of repetition against the same said in plain Python."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.rules.c4 import C4PaperSettings, c4
from tutelage.corpus.rules.counting import repeats, repetition
from tutelage.corpus.rules.gopher import (
    GopherQualitySettings,
    GopherRepetitionSettings,
    gopher_quality,
    gopher_repetition,
    paragraphs,
)
from tutelage.records import Document
from tutelage.text.words import WordKind, encode, split_lines, split_words

PROSE = "the house that stood by the river was sold to a man of means and nobody knew why "


def reasons(step: Step, *texts: str) -> list[str | None]:
    """Why each text was dropped; None where it was kept."""
    batch = DocumentBatch([Document(text, id=str(place)) for place, text in enumerate(texts)])
    step(batch)
    found = {one.document.id: one.reason for one in batch.dropped}
    assert len(batch) + len(batch.dropped) == len(texts)
    return [found.get(str(place)) for place in range(len(texts))]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE * 4, None),
        (PROSE * 2, "too few words"),
        ("", "too few words"),
        ("--- *** " * 60, "too few words"),
        ("to of a " * 30, "words too short"),
        ("the to incomprehensibilities incomprehensibilities " * 30, "words too long"),
        ("# # # # # # # " + PROSE * 3, "too many hashes"),
        ("a… b... c… d... e… f... " * 2 + PROSE * 3, "too many ellipses"),
        ("\n".join(["- the house that stood by the river"] * 10), "mostly bullet points"),
        ("\n".join(["the house of a man and a dog with more…"] * 4 + [PROSE] * 6), "lines ending in an ellipsis"),
        ("1999 2000 2001 " * 20 + PROSE * 3, "too few words with letters"),
        ("houses stood near rivers " * 20, "too few stop words"),
        ("The houses stood near rivers with the men " * 20, None),
    ],
)
def test_quality_drops_for_the_first_limit_broken(text: str, reason: str | None) -> None:
    assert reasons(gopher_quality(GopherQualitySettings()), text) == [reason]


def test_quality_counts_exactly_at_its_limits() -> None:
    at = gopher_quality(GopherQualitySettings(min_words=4, min_stop_words=None, hashes=0.5, min_length=1))
    assert reasons(at, "four words are here", "only three words", "a# b# four five") == [None, "too few words", None]
    assert reasons(at, "a# b# c# five") == ["too many hashes"]


def test_a_drop_tells_the_figure() -> None:
    batch = DocumentBatch([Document("too few words")])
    gopher_quality(GopherQualitySettings())(batch)
    assert [one.detail for one in batch.dropped] == ["3"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" ".join(f"w{n}" for n in range(300)), None),
        ("\n\n".join(["same words here"] * 3 + ["and others there"]), "repeated paragraphs"),
        ("\n".join([*"abcdefghij", *["x"] * 5]), "repeated lines"),
        ("\n".join([*"abcdefghij", *["a long line that comes again"] * 2]), "text in repeated lines"),
        ("so on " * 4 + PROSE, "most frequent 2-gram"),
        ("", None),
    ],
)
def test_repetition_drops_for_the_first_limit_broken(text: str, reason: str | None) -> None:
    assert reasons(gopher_repetition(GopherRepetitionSettings()), text) == [reason]


def test_runs_of_words_have_limits_of_their_own() -> None:
    chapters = " ".join(f"{PROSE} w{n} x{n} y{n} z{n}" for n in range(6))
    longer = GopherRepetitionSettings(top_runs={})
    assert reasons(gopher_repetition(longer), chapters) == ["repeated 5-grams"]
    assert reasons(gopher_repetition(GopherRepetitionSettings(top_runs={}, runs={10: 0.1})), chapters) == [
        "repeated 10-grams"
    ]
    assert reasons(gopher_repetition(GopherRepetitionSettings(top_runs={}, runs={})), chapters) == [None]


def test_runs_must_grow() -> None:
    with pytest.raises(SettingsError, match="shorter than"):
        GopherRepetitionSettings(top_runs={6: 0.2})


documents = st.lists(st.lists(st.sampled_from(["a", "bb", "ccc", "dd"]), max_size=40).map(" ".join), max_size=5)


def figure(text: str, n: int, top: bool, exclude_first: bool) -> tuple[float, float]:
    """Repeated characters, and what they are a share of, counted as slowly as it is said."""
    words = text.split()
    runs = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
    if exclude_first and top:
        run, often = Counter(runs).most_common(1)[0]
        return len(" ".join(run)) * often, len(text)
    if exclude_first:
        seen, repeated, at = set(), 0, 0
        while at < len(runs):
            if runs[at] in seen:
                repeated += len("".join(runs[at]))
                at += n
            else:
                seen.add(runs[at])
                at += 1
        return repeated, len(text)
    counts = Counter(runs)
    wanted = {run for run, often in counts.items() if often > 1}
    if top:
        wanted &= {counts.most_common(1)[0][0]}
    covered = {at + place for at, run in enumerate(runs) if run in wanted for place in range(n)}
    return sum(len(words[at]) for at in covered), sum(map(len, words))


@given(documents, st.integers(1, 5), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_repeated_runs_are_those_counted_slowly(texts: list[str], n: int, top: bool, exclude_first: bool) -> None:
    characters = encode(texts)
    words = split_words(characters, "spaces")
    wholes = characters.lengths if exclude_first else words.sum(words.lengths)
    table, none = np.array([[n, -1.0]]), np.empty((0, 2))  # a limit that every text breaks
    limits = (table, none) if top else (none, table)
    broken, shares = repetition(
        words.hashes, words.lengths, words.firsts, words.lasts, wholes, *limits, exclude_first
    )  # fmt: skip
    for place, text in enumerate(texts):
        if len(text.split()) < n:
            assert broken[place] == -1
            continue
        repeated, whole = figure(text, n, top, exclude_first)
        assert shares[place] == pytest.approx(repeated / whole)


@given(documents, st.booleans())
@settings(max_examples=80, deadline=None)
def test_repeated_words_are_those_counted_slowly(texts: list[str], exclude_first: bool) -> None:
    words = split_words(encode(texts), "spaces")
    count, characters = repeats(words.hashes, words.lengths, words.firsts, words.lasts, exclude_first)
    for place, text in enumerate(texts):
        often = {word: n for word, n in Counter(text.split()).items() if n > 1}
        assert count[place] == sum(n - exclude_first for n in often.values())
        assert characters[place] == sum((n - exclude_first) * len(word) for word, n in often.items())


def test_paragraphs_are_lines_without_a_blank_line_between() -> None:
    texts = ["a\nb\n\na\nb\n\n\nb\na", "", "a\nb"]
    hashes, lengths, firsts, lasts = paragraphs(split_lines(encode(texts)))
    assert (firsts.tolist(), lasts.tolist()) == ([0, 3, 3], [3, 3, 4])
    assert lengths.tolist() == [3, 3, 3, 3]
    assert hashes[0] == hashes[1] == hashes[3] != hashes[2]


@given(st.lists(st.text(st.sampled_from("ab .\n…#-é"), max_size=50), max_size=8), st.sampled_from(["spaces", "tokens"]))
@settings(max_examples=60, deadline=None)
def test_every_document_is_kept_or_dropped(texts: list[str], words: Any) -> None:
    reasons(gopher_quality(GopherQualitySettings(words=words, min_words=3)), *texts)
    for counting in ("all_copies", "exclude_first_copy"):
        reasons(gopher_repetition(GopherRepetitionSettings(words=words, counting=counting, line_kind="raw")), *texts)


THAI = "ผู้ดูแลประภาคารตื่นแต่เช้าทุกวัน"
GOOD = (
    "灯塔的看守人每天早上很早就起床，一边看着大海一边工作。村里的人都认识他，因为他每个星期都会到集市上买面包和油。"
    "孩子们常常跑到塔上听他讲故事，听他说起远方的岛屿和风暴。"
)


@pytest.mark.parametrize("words", ["spaces", "tokens"])
def test_unspaced_scripts_are_judged_by_their_letters(words: WordKind) -> None:
    quality = gopher_quality(GopherQualitySettings(words=words, min_stop_words=0))
    assert reasons(quality, GOOD, GOOD[:40], THAI * 4) == [None, "too few words", None]
    repetition_step = gopher_repetition(GopherRepetitionSettings(words=words))
    again = "天气不好的日子，他也一直为过往的船只点亮灯光。"
    found = reasons(repetition_step, GOOD, again * 40, "これは本です。" * 30, THAI * 30)
    assert found[0] is None
    assert all(found[1:])


def test_unspaced_scripts_have_sentences_for_c4() -> None:
    step = c4(C4PaperSettings(terminals="。！？", line_words=1))
    long = "".join(f"第{n}天他起得很早。" for n in range(300))  # more characters in a line than a word may have
    assert reasons(step, GOOD, long, "天气好。") == [None, None, "too few sentences"]
