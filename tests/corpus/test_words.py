"""Words and lines of a batch, against the same said in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.kernels import split_tokens
from tutelage.corpus.kinds import kinds
from tutelage.corpus.words import (
    encode,
    lines_of,
    range_sums,
    split_lines,
    split_words,
    word_hashes,
    words_of,
)
from tutelage.records import Document

texts = st.lists(st.text(st.sampled_from("aB1.,!? \t\n\r-'…'é中😀\u2028{#"), max_size=60), max_size=6)


@given(texts)
@settings(max_examples=80, deadline=None)
def test_spaced_words_are_those_of_str_split(written: list[str]) -> None:
    words = split_words(encode(written), "spaces")
    for place, text in enumerate(written):
        own = slice(words.firsts[place], words.lasts[place])
        expected = text.split()
        assert words.lengths[own].tolist() == [len(word) for word in expected]
        assert words.letters[own].tolist() == [any(c.isalpha() for c in word) for word in expected]
        hashes = words.hashes[own].tolist()
        assert [hashes.index(one) for one in hashes] == [expected.index(one) for one in expected]


@given(texts)
@settings(max_examples=80, deadline=None)
def test_lines_are_those_of_splitlines_that_are_not_blank(written: list[str]) -> None:
    lines = split_lines(encode(written))
    for place, text in enumerate(written):
        own = slice(lines.firsts[place], lines.lasts[place])
        expected = [line.strip() for line in text.splitlines() if line.strip()]
        start = lines.characters.starts[place]
        spans = zip(lines.starts[own] - start, lines.stops[own] - start, strict=True)
        assert [text[begin:end] for begin, end in spans] == expected
        assert lines.words[own].tolist() == [len(line.split()) for line in expected]
        assert lines.longest[own].tolist() == [max(map(len, line.split())) for line in expected]
        assert lines.last(1)[own].tolist() == [ord(line[-1]) for line in expected]
        assert lines.end_in_dots[own].tolist() == [line.endswith("...") for line in expected]


@given(texts)
@settings(max_examples=40, deadline=None)
def test_raw_lines_are_all_between_line_feeds_that_is_not_empty(written: list[str]) -> None:
    lines = split_lines(encode(written), "raw")
    for place, text in enumerate(written):
        own = slice(lines.firsts[place], lines.lasts[place])
        assert lines.lengths[own].tolist() == [len(line) for line in text.split("\n") if line]


@given(texts)
@settings(max_examples=80, deadline=None)
def test_tokens_lose_nothing_but_white_space(written: list[str]) -> None:
    words = split_words(encode(written), "tokens")
    assert words.sum(words.lengths).tolist() == [len("".join(text.split())) for text in written]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr. Smith doesn't like half-baked ideas...", "Mr.|Smith|does|n't|like|half|-|baked|ideas|..."),
        ('He said: "No."', 'He|said|:|"|No|.|"'),
        ("See https://a.b/c-d, e.g. 3.14 and 1,000.", "See|https://a.b/c-d|,|e.g.|3.14|and|1,000|."),
        ("(we'll) 's U.S. law.End", "(|we|'ll|)|'s|U.S.|law|.|End"),
        ("a😀b <b>x</b> NASA.", "a|😀|b|<|b|>|x</b|>|NASA|."),
    ],
)
def test_tokens_of_english(text: str, expected: str) -> None:
    characters = encode([text])
    short = word_hashes(["Mr", "e.g"])
    starts, stops, *_ = split_tokens(characters.codes, kinds(), characters.starts, characters.stops, short)
    assert [text[start:stop] for start, stop in zip(starts, stops, strict=True)] == expected.split("|")


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("One. Two! Three?", 3),
        ("Mr. Smith met J. Doe, e.g. at 3.14 p.m. on Monday.", 1),
        ('He said "Yes." Then he left', 2),
        ("Well... perhaps. So it goes...", 2),
        ("No end", 1),
        ("? ! .", 0),
        ("一。二！", 1),
    ],
)
def test_sentences_of_a_line(line: str, sentences: int) -> None:
    assert split_lines(encode([line])).sentences.tolist() == [sentences]


def test_a_batch_is_split_once_and_follows_its_documents() -> None:
    batch = DocumentBatch([Document(text) for text in ("one two", "three", "a b c\nd")])
    assert words_of(batch, "spaces") is words_of(batch, "spaces")
    assert lines_of(batch).counts.tolist() == [1, 1, 2]
    batch.drop([1], "gone")
    assert words_of(batch, "spaces").counts.tolist() == [2, 4]
    assert lines_of(batch).counts.tolist() == [1, 2]
    batch.rewrite([None, "x"])
    assert words_of(batch, "spaces").counts.tolist() == [2, 1]


def test_sums_over_ranges_may_be_empty_and_leave_gaps() -> None:
    found = range_sums(np.array([1, 2, 3, 4]), np.array([0, 2, 3]), np.array([2, 2, 4]))
    assert found.tolist() == [3, 0, 4]


def test_an_empty_batch_and_broken_text_are_split() -> None:
    assert split_words(encode([]), "tokens").counts.tolist() == []
    assert split_lines(encode(["\ud800 x", ""])).counts.tolist() == [1, 0]
