from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.batching.datasets import (
    SplitLedgers,
    TooLong,
    conversation_groups,
    document_groups,
    falls_in,
    split_by_turns,
)
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Document, Example, Message, message
from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings, train

# One character, one token: lengths can be counted by eye.
TOKENIZER = train(["abcdefghijklmnopqrstuvwxyz "], TokenizerSettings(kind="char")).extend(TEMPLATE_TOKENS)
RENDERER = NativeRenderer(TOKENIZER)
WORDS = st.text("abcdef ", min_size=1, max_size=30).filter(str.strip)


def document_pieces(texts: Sequence[str], context: int, held_out: float = 0.0, part: str = "train") -> tuple:
    ledgers = SplitLedgers.of("documents")
    rows = [Document(text, str(number)) for number, text in enumerate(texts)]
    groups = list(document_groups(rows, TOKENIZER, context, held_out, ledgers))
    ledgers.train.check()
    ledgers.held_out.check()
    return [group[0] for split, group in groups if split == part], getattr(ledgers, part)


def chat(*texts: str, system: str = "", name: str = "c") -> Conversation:
    opening = (message("system", system),) if system else ()
    turns = [message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]
    return Conversation((*opening, *turns), id=name)


def chat_pieces(
    rows: Sequence[Conversation], context: int, too_long: TooLong, held_out: float = 0.0, part: str = "train"
) -> tuple[list[Example], Ledger]:
    ledgers = SplitLedgers.of("conversations")
    groups = list(conversation_groups(rows, RENDERER, context, held_out, "assistant", too_long, 0.0, ledgers))
    ledgers.train.check()
    ledgers.held_out.check()
    return [group[0] for split, group in groups if split == part], getattr(ledgers, part)


@given(st.lists(st.text("abc ", max_size=60), max_size=8), st.integers(2, 20))
def test_pain_11_every_token_but_the_first_is_trained_once_however_long_the_document(
    texts: list[str], context: int
) -> None:
    pieces, ledger = document_pieces(texts, context)
    assert all(2 <= len(piece.tokens) <= context for piece in pieces)
    trained: list[int] = []
    for piece in pieces:
        weights = piece.weights
        assert weights is not None
        # A piece's first token is read only, whatever its weight: nothing before it is in the segment.
        trained += piece.tokens[1:][weights[1:] == 1].tolist()
    end = TOKENIZER.special(END_OF_TEXT)
    assert trained == [token for text in texts for token in [*TOKENIZER.encode(text).tolist(), end]]
    assert ledger.rows_kept == len(texts)
    assert ledger.rows_out == len(pieces)
    assert ledger.tokens_out == sum(len(piece.tokens) for piece in pieces)


def test_a_later_piece_opens_with_the_last_token_of_the_one_before() -> None:
    pieces, _ = document_pieces(["abcdefgh"], 4)
    assert [TOKENIZER.decode(piece.tokens) for piece in pieces] == [f"{END_OF_TEXT}abc", "cdef", f"fgh{END_OF_TEXT}"]


@given(st.lists(WORDS, max_size=30), st.floats(0, 1))
def test_training_and_held_out_are_disjoint_and_together_everything(texts: list[str], share: float) -> None:
    training, ledger = document_pieces(texts, 64, share, "train")
    held_out, other = document_pieces(texts, 64, share, "held_out")
    together = sorted(TOKENIZER.decode(piece.tokens) for piece in training + held_out)
    assert together == sorted(f"{END_OF_TEXT}{text}{END_OF_TEXT}" for text in texts)
    assert len(training) == ledger.rows_kept
    assert len(held_out) == other.rows_kept == other.rows_read == ledger.rows_held_out
    assert ledger.rows_read == len(texts)
    assert ledger.tokens_held_out == other.tokens_read


def test_a_share_of_the_rows_falls_in_and_a_larger_share_holds_the_smaller() -> None:
    names = [f"row {number}" for number in range(2000)]
    tenth, fifth = ({name for name in names if falls_in(name, share)} for share in (0.1, 0.2))
    assert 150 < len(tenth) < 250
    assert tenth < fifth
    assert not any(falls_in(name, 0.0) for name in names)


def test_pain_15_a_document_with_nothing_to_predict_is_counted() -> None:
    bare = train(["abc"], TokenizerSettings(kind="char"), special_tokens=())
    ledgers = SplitLedgers.of("documents")
    rows = [Document("abc", "one"), Document("", "two"), Document("a", "three")]
    groups = list(document_groups(rows, bare, 8, 0.0, ledgers))
    ledger = ledgers.train
    ledger.check()
    assert len(groups) == 1
    assert ledger.dropped["empty document"].rows == 2
    assert ledger.dropped["empty document"].examples == ["two", "three"]


def test_a_conversation_that_is_too_long_is_an_error_by_name() -> None:
    with pytest.raises(ValueError, match="^conversation") as error:
        chat_pieces([chat("ab", "cd"), chat("a" * 20, "b" * 20, name="train.jsonl row 7")], 20, "error")
    assert str(error.value) == (
        "conversation train.jsonl row 7 has 44 tokens, but the context holds 20; set "
        'too_long (--too-long) to "split" to cut it between turns, or to "drop" to leave it out, or '
        "lengthen the context"
    )


def test_pain_15_dropped_conversations_are_counted_with_their_tokens_and_places() -> None:
    rows = [chat("ab", "cd", name="short"), chat("a" * 20, "b" * 20, name="long")]
    pieces, ledger = chat_pieces(rows, 20, "drop")
    assert len(pieces) == 1
    dropped = ledger.dropped["longer than the context of 20 tokens"]
    assert (dropped.rows, dropped.tokens, dropped.examples) == (1, 44, ["long"])
    assert (ledger.rows_read, ledger.rows_kept, ledger.tokens_read, ledger.tokens_kept) == (2, 1, 52, 8)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6), st.booleans(), st.integers(70, 160))
def test_pain_11_split_never_parts_an_answer_from_its_question(
    exchanges: list[tuple[str, str]], system: bool, context: int
) -> None:
    whole = chat(*[text for exchange in exchanges for text in exchange], system="be" if system else "")
    pieces, ledger = chat_pieces([whole], context, "split")
    assert all(len(piece.tokens) <= context for piece in pieces)
    opening = "<|system|>be<|end|>" if system else ""
    told = [f"<|user|>{question}<|end|><|assistant|>{answer}<|end|>" for question, answer in exchanges]
    read = [TOKENIZER.decode(piece.tokens) for piece in pieces]
    assert all(text.startswith(opening + "<|user|>") for text in read)
    assert "".join(text.removeprefix(opening) for text in read) == "".join(told)
    # What is trained is what would be trained uncut: nothing is lost and nothing twice.
    assert sum(float(piece.weights[1:].sum()) for piece in pieces if piece.weights is not None) == sum(
        len(answer) + 1 for _, answer in exchanges
    )
    assert (ledger.rows_read, ledger.rows_kept, ledger.rows_out) == (1, 1, len(pieces))
    assert ledger.tokens_out == sum(len(piece.tokens) for piece in pieces)


def test_split_makes_the_fewest_pieces_and_keeps_unanswered_turns_together() -> None:
    turns = (
        message("user", "aaaa"), message("user", "bbbb"), message("assistant", "cccc"),
        message("user", "dddd"), message("assistant", "eeee"), message("user", "ffff"),
    )  # fmt: skip
    conversation = Conversation(turns, id="c")
    assert len(split_by_turns(conversation, RENDERER, 100, "assistant")) == 1
    pieces = split_by_turns(conversation, RENDERER, 20, "assistant")
    assert [TOKENIZER.decode(piece.ids) for piece in pieces] == [
        "<|user|>aaaa<|end|><|user|>bbbb<|end|><|assistant|>cccc<|end|>",
        "<|user|>dddd<|end|><|assistant|>eeee<|end|><|user|>ffff<|end|>",
    ]


def test_an_exchange_too_long_by_itself_is_an_error_even_when_splitting() -> None:
    with pytest.raises(ValueError, match="^conversation") as error:
        chat_pieces([chat("a", "b", "a" * 20, "b" * 20)], 20, "split")
    assert str(error.value) == (
        "conversation c: one exchange alone has 44 tokens, but the context holds 20; shorten it, lengthen the context, "
        'or set too_long (--too-long) to "drop"'
    )


def test_a_conversation_at_the_very_length_of_the_context_is_kept_whole() -> None:
    for too_long in ("error", "drop", "split"):
        pieces, ledger = chat_pieces([chat("a" * 8, "b" * 8)], 20, too_long)
        assert [len(piece.tokens) for piece in pieces] == [20]
        assert ledger.rows_out == ledger.rows_kept == 1


@given(st.integers(1, 40), st.floats(0, 1))
def test_held_out_conversations_are_not_trained_on(count: int, share: float) -> None:
    rows = [chat("ab", "c" * (number % 5 + 1), name=f"row {number}") for number in range(count)]
    training, ledger = chat_pieces(rows, 64, "error", share, "train")
    held_out, _ = chat_pieces(rows, 64, "error", share, "held_out")
    assert len(training) + len(held_out) == count
    assert len(held_out) == sum(falls_in(row.id, share) for row in rows)
    assert ledger.rows_held_out == len(held_out)


def test_roles_travel_with_the_tokens() -> None:
    [piece], _ = chat_pieces([chat("ab", "c", system="d")], 64, "error")
    assert piece.streams["roles"].tolist() == [1] * 3 + [2] * 4 + [3] * 3
    assert np.flatnonzero(piece.weights).tolist() == [8, 9]


def test_pain_15_a_row_that_cannot_be_trained_on_is_named() -> None:
    rows = [chat("ab", "cd"), Conversation((message("user", "x"), Message("assistant", ())), id="row 2")]
    with pytest.raises(ValueError, match="^conversation row 2, message 1: the assistant answers nothing"):
        chat_pieces(rows, 64, "drop")
