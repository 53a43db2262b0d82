"""Labelled rows to examples: every label at its token, every token of a passage in a window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.batching.datasets import SplitLedgers
from tutelage.batching.labelled import CANDIDATE, END, START, LabelEncoder, label_names, labelled_groups
from tutelage.records import TOKEN_TYPES, Labelled, Span, Word
from tutelage.tokenizer import Tokenizer, TokenizerSettings, train

BYTES = train(["one two three four 1 2 3"] * 3, TokenizerSettings(vocab=280))
CHARACTERS = train(["abcdefgh ?."], TokenizerSettings(kind="char")).extend(("<|endoftext|>",))
EDGE = BYTES.special("<|endoftext|>")


def encoder(task: str, labels: tuple[str, ...] = (), tokenizer: Tokenizer = BYTES, **changed: object) -> LabelEncoder:
    settings = {"context": 64, "causal": False, "typed": True, **changed}
    return LabelEncoder(task, labels, tokenizer, **settings)  # type: ignore[arg-type]


def test_a_pair_of_texts_has_the_special_tokens_and_types_of_bert() -> None:
    (one,) = encoder("sequence").encode(Labelled("one two", "three"))
    inner = [list(BYTES.encode(text)) for text in ("one two", "three")]
    assert one.ids.tolist() == [EDGE, *inner[0], EDGE, *inner[1], EDGE]
    assert one.types.tolist() == [0] * (len(inner[0]) + 2) + [1] * (len(inner[1]) + 1)


def test_a_class_is_read_at_the_first_token_or_by_a_causal_model_at_the_last() -> None:
    row = Labelled("one two", label="b")
    for causal, place in ((False, 0), (True, -1)):
        (example,) = encoder("sequence", ("a", "b"), causal=causal).examples(row)
        assert example.weights is not None and example.targets is not None
        assert example.weights.sum() == 1 and example.weights[place] == 1 and example.targets[place] == 1
        assert example.streams.keys() == {TOKEN_TYPES}


WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=6), min_size=1)


@settings(max_examples=200, deadline=None)
@given(WORDS, st.booleans())
def test_pain_37_every_word_has_its_tag_at_a_token_of_its_own(words: list[str], causal: bool) -> None:
    """Any Unicode: the token that carries a tag covers characters of that word."""
    text, places = " ".join(words), []
    for word in words:
        start = sum(len(before) + 1 for before in words[: len(places)])
        places.append(Word(start, start + len(word), f"B-{len(places) % 3}"))
    row = Labelled(text, words=tuple(places))
    own = encoder("token", ("B-0", "B-1", "B-2"), causal=causal, context=9999)
    (example,) = own.examples(row)
    (whole,) = own.encode(row)
    assert example.weights is not None and example.targets is not None
    labelled = np.flatnonzero(example.weights)
    assert len(labelled) == len(words)
    for number, place in enumerate(labelled):
        start, end = whole.offsets[place]
        assert start < places[number].end and end > places[number].start
        assert example.targets[place] == number % 3


@settings(max_examples=200, deadline=None)
@given(st.text("abcdefgh ", min_size=1, max_size=90), st.text("abc", min_size=1, max_size=9), st.data())
def test_pain_37_windows_cover_the_passage_and_an_answer_is_in_each_that_holds_all_of_it(
    passage: str, question: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(passage) - 1))
    end = data.draw(st.integers(start + 1, min(len(passage), start + 6)))
    row = Labelled(question, passage, answers=(Span(start, passage[start:end]),))
    own = encoder("span", (), CHARACTERS, context=30)
    windows, examples = own.encode(row), own.examples(row)
    covered: set[int] = set()
    for window, example in zip(windows, examples, strict=True):
        assert len(window.ids) <= 30
        inside = window.offsets[(window.types == 1) & (window.offsets[:, 0] >= 0)]
        characters = set(inside[:, 0].tolist())
        covered |= characters
        marks = {name: np.flatnonzero(example.streams[name]) for name in (START, END)}
        assert len(marks[START]) == len(marks[END]) == 1
        first, last = int(marks[START][0]), int(marks[END][0])
        assert example.streams[CANDIDATE][first] and example.streams[CANDIDATE][last]
        if set(range(start, end)) <= characters:
            assert (window.offsets[first, 0], window.offsets[last, 1]) == (start, end)
        else:
            assert (first, last) == (0, 0)
    assert covered == set(range(len(passage)))


@pytest.mark.parametrize(
    ("task", "row", "sentence"),
    [
        ("sequence", Labelled("one"), "it has no label"),
        ("sequence", Labelled("one", label="c"), "its label 'c' is none of the training rows' \\(a, b\\)"),
        ("token", Labelled("one"), "no tagged words"),
        ("token", Labelled("one", words=(Word(0, 1, "a"), Word(1, 3, "b"))), "two of its words share a token"),
        ("token", Labelled("one", words=(Word(3, 5, "a"),)), "has no token of its own"),
        ("span", Labelled("one", "two", answers=(Span(1, "two"),)), "is not at character 1 of the passage"),
    ],
)
def test_a_label_that_no_token_can_carry_is_refused_in_a_sentence(task: str, row: Labelled, sentence: str) -> None:
    ledgers = SplitLedgers.of("rows")
    with pytest.raises(ValueError, match=f"^row .*: .*{sentence}.*; correct or remove it$"):
        list(labelled_groups([row], encoder(task, ("a", "b")), 0.0, False, ledgers))


def test_rows_longer_than_the_context_are_an_error_or_counted() -> None:
    rows = [Labelled("one " * 80, label="a", id="1"), Labelled("two", label="b", id="2", split="held_out")]
    ledgers = SplitLedgers.of("rows")
    own = encoder("sequence", label_names(rows, "sequence"))
    with pytest.raises(ValueError, match="row 1 has .* tokens, but the context holds 64"):
        list(labelled_groups(rows, own, 0.0, False, ledgers))
    ledgers = SplitLedgers.of("rows")
    made = list(labelled_groups(rows, own, 0.0, True, ledgers))
    assert [split for split, _ in made] == ["held_out"]
    ledgers.train.check()
    ledgers.held_out.check()
    assert (ledgers.train.rows_read, ledgers.train.rows_dropped) == (2, 1)
