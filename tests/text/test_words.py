"""Words and lines of texts, against the same said in plain Python."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.text.characters import FOLDED, MARKS, PLAIN, UNSPACED, character_classes
from tutelage.text.hashing import GOLDEN, splitmix64
from tutelage.text.kernels import split_words as split
from tutelage.text.words import (
    encode,
    hash_words,
    normalized_line,
    normalized_text,
    normalized_words,
    range_sums,
    split_lines,
    split_words,
    word_hashes,
)

texts = st.lists(st.text(st.sampled_from("aB1.,!? \t\n\r-'…'é中😀\u2028{#"), max_size=60), max_size=6)


def without_unspaced(written: list[str]) -> list[str]:
    classes = character_classes()
    return ["".join(c for c in text if not classes[min(ord(c), len(classes) - 1)] & UNSPACED) for text in written]


@given(texts.map(without_unspaced))
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


@given(texts.map(without_unspaced))
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
    starts, stops, *_ = split(characters.codes, character_classes(), characters.starts, characters.stops, True, short)
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
        ("一。二！", 2),
    ],
)
def test_sentences_of_a_line(line: str, sentences: int) -> None:
    assert split_lines(encode([line])).sentences.tolist() == [sentences]


def test_sums_over_ranges_may_be_empty_and_leave_gaps() -> None:
    found = range_sums(np.array([1, 2, 3, 4]), np.array([0, 2, 3]), np.array([2, 2, 4]))
    assert found.tolist() == [3, 0, 4]


def test_an_empty_batch_and_broken_text_are_split() -> None:
    assert split_words(encode([]), "tokens").counts.tolist() == []
    assert split_lines(encode(["\ud800 x", ""])).counts.tolist() == [1, 0]


def test_normalized_words_have_no_case_and_no_punctuation() -> None:
    words = hash_words(["Don't STOP—é Ü1", "don t stop É ü1!", "日本 go"])
    assert words.bounds.tolist() == [0, 5, 10, 13]
    np.testing.assert_array_equal(words.values[:5], words.values[5:10])


def marked(text: str) -> list[int]:
    return hash_words([text], MARKS).values.tolist()


def test_with_marks_every_visible_mark_is_a_word() -> None:
    assert marked("Hello,  World") == marked("hello , world")
    assert marked("3+5") == marked("3 + 5") != marked("3 - 5")
    assert marked("ab") != marked("a b") != marked("b a")
    assert len(marked("日本語")) == 3  # no spaces part the words
    assert len(marked("한국어 हिन्दी")) == 2
    assert marked("") == marked(" \n\t") == []
    assert len(marked("\ud800 🙂")) == 2  # half of a pair is read too


@given(st.lists(st.text(st.characters(), max_size=30), max_size=5))
def test_words_with_marks_are_as_in_plain_python(texts: list[str]) -> None:
    def words(text: str) -> list[str]:
        found = [""]
        for character in text.lower():
            if character.isspace() or (unicodedata.category(character) in ("Cc", "Cf") and character < "\U00010000"):
                found.append("")
            elif (
                (character.isalnum() or unicodedata.category(character)[0] == "M")
                and character < "\U00010000"
                and not character_classes()[ord(character)] & UNSPACED
            ):
                found[-1] += character
            else:
                found += [character, ""]
        return [word for word in found if word]

    hashes = hash_words(texts, MARKS)
    assert np.diff(hashes.bounds).tolist() == [len(words(text)) for text in texts]
    base = int(GOLDEN)
    sums = [
        sum(ord(character) * base**place for place, character in enumerate(word)) + base
        for text in texts
        for word in words(text)
    ]
    assert hashes.values.tolist() == splitmix64(np.array([one % (1 << 64) for one in sums], np.uint64)).tolist()


@given(st.lists(st.text("aB é1٣,_\n中日😀\u0301", max_size=20), max_size=5), st.sampled_from([PLAIN, MARKS]))
def test_normalized_words_have_their_place_in_the_text(texts: list[str], form: int) -> None:
    words = normalized_words(encode(texts), form, placed=True)
    text = "".join(texts)
    shown = [text[start:stop] for start, stop in words.spans.tolist()]
    assert all(shown)
    assert hash_words(shown, form).values.tolist() == words.hashes.values.tolist()


def test_a_line_and_a_text_are_normalized() -> None:
    assert normalized_line(" It's 12:05, OK_? ") == "its 0000 ok"
    assert normalized_text(" It's 12:05,\n OK_? ") == "it s 12 05 ok"


@given(st.lists(st.text("aB é1٣,_\n中\u0301", max_size=20), max_size=5))
def test_folded_words_of_many_texts_are_those_of_each(texts: list[str]) -> None:
    together = hash_words(texts, FOLDED)
    apart = [hash_words([text], FOLDED).values.tolist() for text in texts]
    cut = [together.values[a:b].tolist() for a, b in zip(together.bounds[:-1], together.bounds[1:], strict=True)]
    assert cut == apart


CHINESE = "灯塔的看守人，每天早上3点起床。他看着sea！「好的。」他说？Yes.天气好"


def test_unspaced_scripts_have_a_word_for_each_letter() -> None:
    for kind, symbols in (("tokens", 8), ("spaces", 0)):
        characters = encode([CHINESE])
        words = split_words(characters, kind)
        texts = [CHINESE[start : start + length] for start, length in zip(words.starts, words.lengths, strict=True)]
        assert "".join(texts) == CHINESE
        letters = [text for text, letter in zip(texts, words.letters, strict=True) if letter]
        assert [text.strip("，。！「」？.") for text in letters] == [
            *"灯塔的看守人每天早上点起床他看着",
            "sea",
            *"好的他说",
            "Yes",
            *"天气好",
        ]
        assert sum(words.symbols.tolist()) == (symbols if kind == "tokens" else 0)
        assert words.unspaced.sum() == len(letters) - 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ที่นี่", 2),  # a mark belongs to the letter below it
        ("これはペンです", 7),
        ("한국어 단어", 2),
        ("two words", 2),
        ("東京2020大会", 5),
    ],
)
def test_unspaced_scripts_are_those_without_spaces_only(text: str, words: int) -> None:
    assert split_words(encode([text]), "spaces").counts.tolist() == [words]
    assert split_lines(encode([text])).words.tolist() == [words]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("天气好。他来了！真的？", 3),
        ("他说：「天气好。」她笑了。", 2),
        ("天气好。", 1),
        ("天气好！！！他来了", 2),
        ("好的!他来了.对", 3),
        ("版本3.5很好。", 1),
        ("これは本です。それも本です", 2),
        ("Visit a.b! Now", 2),
        ("No space here.Nor here!Nor", 1),
    ],
)
def test_unspaced_scripts_end_sentences_without_white_space(text: str, sentences: int) -> None:
    assert split_lines(encode([text])).sentences.tolist() == [sentences]
