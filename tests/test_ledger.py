from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tutelage.ledger import EXAMPLES_PER_REASON, Ledger

# What can happen to one row of some tokens: kept, dropped for a reason, split into rows, or kept with its tail cut off.
fates = st.tuples(
    st.sampled_from(["keep", "drop", "split", "cut"]),
    st.integers(1, 1000),
    st.integers(1, 5),
    st.sampled_from(["too long", "duplicate", "empty"]),
)


def account(rows: list[tuple[str, int, int, str]]) -> Ledger:
    ledger = Ledger("clean")
    for number, (fate, tokens, pieces, reason) in enumerate(rows):
        ledger.read(tokens=tokens)
        if fate == "keep":
            ledger.keep(tokens=tokens)
        elif fate == "drop":
            ledger.drop(reason, tokens=tokens, where=f"row {number}")
        elif fate == "split":
            ledger.split(pieces, tokens=tokens, tokens_out=tokens + pieces)
        else:
            ledger.keep(tokens=tokens - 1)
            ledger.drop(reason, rows=0, tokens=1)
    return ledger


@given(st.lists(fates), st.lists(fates))
def test_read_is_kept_plus_dropped_and_merging_is_counting_on(
    first: list[tuple[str, int, int, str]], second: list[tuple[str, int, int, str]]
) -> None:
    ledger = account(first)
    ledger.check()
    assert ledger.rows_read == len(first) == ledger.rows_kept + ledger.rows_dropped
    assert ledger.tokens_read == sum(row[1] for row in first) == ledger.tokens_kept + ledger.tokens_dropped

    ledger.merge(account(second))
    ledger.check()
    both = account(first + second)
    counts = [(reason, entry.rows, entry.tokens) for reason, entry in ledger.dropped.items()]
    assert counts == [(reason, entry.rows, entry.tokens) for reason, entry in both.dropped.items()]
    assert (ledger.rows_read, ledger.rows_out, ledger.tokens_out) == (both.rows_read, both.rows_out, both.tokens_out)


@given(st.lists(fates))
def test_a_ledger_survives_json(rows: list[tuple[str, int, int, str]]) -> None:
    ledger = account(rows)
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger


def test_a_row_that_vanished_is_a_sentence() -> None:
    ledger = Ledger("dedup")
    ledger.read(rows=3, tokens=30)
    ledger.keep(rows=1, tokens=10)
    ledger.drop("duplicate", tokens=10)
    with pytest.raises(AssertionError) as error:
        ledger.check()
    assert str(error.value) == (
        "the ledger of dedup does not add up: 3 rows were read, but 1 kept and 1 dropped make 2"
    )
    ledger.drop("duplicate")  # the row is found, its tokens are not
    with pytest.raises(AssertionError, match="30 tokens were read, but 10 kept and 10 dropped make 20"):
        ledger.check()


def test_rows_that_are_joined_count_each_in_and_once_out() -> None:
    ledger = Ledger("read")
    ledger.read(4)
    ledger.join(3)
    ledger.drop("empty")
    ledger.check()
    assert (ledger.rows_kept, ledger.rows_out) == (3, 1)


def test_a_place_whose_name_is_no_utf8_can_be_written() -> None:
    ledger = Ledger("read")
    ledger.note("odd", where="caf\udce9.txt:7")
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()).encode())).noted["odd"].examples == ["caf?.txt:7"]


def test_a_split_row_counts_once_in_and_many_times_out() -> None:
    ledger = Ledger("pack")
    ledger.read(rows=2, tokens=100)
    ledger.split(3, tokens=90)
    ledger.keep(tokens=10)
    ledger.check()
    assert (ledger.rows_kept, ledger.rows_out, ledger.tokens_out) == (2, 4, 100)


def test_only_the_first_few_places_are_remembered() -> None:
    ledger = Ledger("read")
    for row in range(10):
        ledger.drop("empty", where=f"a.jsonl:{row}")
    assert ledger.dropped["empty"].examples == [f"a.jsonl:{row}" for row in range(EXAMPLES_PER_REASON)]
    other = Ledger("read")
    other.drop("empty", where="b.jsonl:1")
    other.merge(ledger)
    assert other.dropped["empty"].examples[0] == "b.jsonl:1"
    assert len(other.dropped["empty"].examples) == EXAMPLES_PER_REASON


def test_what_was_changed_in_kept_rows_is_noted_beside_the_law() -> None:
    ledger, other = Ledger("read"), Ledger("read")
    for row in range(5):
        ledger.read()
        ledger.keep()
        ledger.note("cut off", where=f"a.jsonl:{row}")
    other.note("cut off", rows=2)
    other.note("joined", where="b.jsonl:1")
    ledger.merge(other)
    ledger.check()
    assert {what: note.rows for what, note in ledger.noted.items()} == {"cut off": 7, "joined": 1}
    assert ledger.noted["cut off"].examples == [f"a.jsonl:{row}" for row in range(EXAMPLES_PER_REASON)]
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger
    console = Console(width=100, force_terminal=False, markup=False)
    with console.capture() as capture:
        console.print(ledger.table())
    line = next(line for line in capture.get().splitlines() if "noted: joined" in line)
    assert line.replace("│", " ").split() == ["noted:", "joined", "1", "b.jsonl:1"]


def test_ledgers_of_different_steps_are_not_merged() -> None:
    with pytest.raises(AssertionError, match="cannot add the counts of pack to those of read"):
        Ledger("read").merge(Ledger("pack"))


def test_a_merged_ledger_shares_nothing_with_the_other() -> None:
    ledger, other = Ledger("read"), Ledger("read")
    other.drop("empty")
    ledger.merge(other)
    ledger.drop("empty")
    assert (ledger.dropped["empty"].rows, other.dropped["empty"].rows) == (2, 1)


def test_a_foreign_dict_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="step"):
        Ledger.from_dict({"rows_read": 1})


def test_the_table_shows_every_reason_with_its_share() -> None:
    ledger = Ledger("clean [all]")
    ledger.read(rows=4, tokens=4000)
    ledger.keep(rows=3, tokens=3000)
    ledger.drop("no [INST] end", tokens=1000, where="a.jsonl:7")
    console = Console(width=100, force_terminal=False, markup=False)
    with console.capture() as capture:
        console.print(ledger.table())
    text = capture.get()
    # Square brackets in a reason are text and not markup for the screen.
    line = next(line for line in text.splitlines() if "no [INST] end" in line)
    assert ["25.0%" in line, "1,000" in line, "a.jsonl:7" in line] == [True] * 3
    assert "clean [all]" in text
    assert "out, after splitting" not in text
