from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.batching.loader import (
    Order,
    WeightedStore,
    batch_sizes,
    batches,
    count_steps,
    draw_steps,
    micro_batches,
    read_cursors,
    write_cursors,
)
from tutelage.batching.store import Store, write_store
from tutelage.ledger import Ledger
from tutelage.records import Batch, Example, ExampleGroup

# (tokens, trained tokens) of each group of a source
SIZES = st.integers(2, 30).flatmap(lambda tokens: st.tuples(st.just(tokens), st.integers(1, tokens - 1)))
UNITS = st.lists(SIZES, min_size=1, max_size=25)
SHARES = st.floats(0.05, 1)


def group(number: int, tokens: int, trained: int) -> ExampleGroup:
    """A group whose every token tells its number."""
    weights = np.zeros(tokens, np.float32)
    weights[tokens - trained :] = 1
    return (Example(np.full(tokens, number, np.int32), weights),)


def store(folder: Path, groups: list[tuple[int, int]], first: int = 0) -> Store:
    ledger = Ledger("test")
    ledger.read(len(groups))
    ledger.keep(len(groups))
    return write_store(folder, (group(first + i, *sizes) for i, sizes in enumerate(groups)), ledger)


def sources(
    folder: str, main: list[tuple[int, int]], other: list[tuple[int, int]], share: float
) -> dict[str, WeightedStore]:
    return {
        "main": WeightedStore(store(Path(folder) / "main", main), 1.0),
        "other": WeightedStore(store(Path(folder) / "other", other, first=1000), share),
    }


@given(UNITS, UNITS, SHARES, st.integers(1, 120), st.integers(0, 9), st.integers(1, 3))
def test_a_run_draws_every_unit_as_often_as_it_says(
    main: list[tuple[int, int]], other: list[tuple[int, int]], share: float, batch_tokens: int, seed: int, epochs: int
) -> None:
    with TemporaryDirectory() as folder:
        both = sources(folder, main, other, share)
        steps = [draw for draw, _ in draw_steps(both, batch_tokens, seed, epochs)]
        assert len(steps) == count_steps(both, batch_tokens, seed, epochs)
        drawn = Counter(pair for draw in steps for pair in draw)
        assert {drawn["main", number] for number in range(len(main))} == {epochs}
        replayed = [drawn["other", number] for number in range(len(other))]
        assert max(replayed) - min(replayed) <= 1  # whole passes, then a part of one
        tokens = {("main", i): n for i, (n, _) in enumerate(main)} | {("other", i): n for i, (n, _) in enumerate(other)}
        sizes = [sum(tokens[pair] for pair in draw) for draw in steps]
        assert all(size <= batch_tokens or len(draw) == 1 for size, draw in zip(sizes, steps, strict=True))
        assert all(steps)
        # A step ends only where the next group would not have fitted.
        for size, following in zip(sizes, steps[1:], strict=False):
            assert size + tokens[following[0]] > batch_tokens


@given(UNITS, UNITS, SHARES, st.integers(1, 120), st.integers(0, 9))
def test_shares_of_trained_tokens_hold_to_one_unit_in_every_prefix(
    main: list[tuple[int, int]], other: list[tuple[int, int]], share: float, batch_tokens: int, seed: int
) -> None:
    with TemporaryDirectory() as folder:
        both = sources(folder, main, other, share)
        trained = {"main": 0, "other": 0}
        largest = {"main": max(g for _, g in main), "other": max(g for _, g in other)}
        for draw, state in islice(draw_steps(both, batch_tokens, seed, 3), 40):
            for name, number in draw:
                trained[name] += (main if name == "main" else other)[number][1]
            wanted = {"main": 1 / (1 + share), "other": share / (1 + share)}
            for name in trained:
                assert abs(trained[name] - wanted[name] * sum(trained.values())) <= max(largest.values())
                assert state[name].trained_tokens == trained[name]


@given(UNITS, UNITS, SHARES, st.integers(1, 120), st.integers(0, 9))
def test_pain_12_the_state_of_every_step_resumes_the_very_rest(
    main: list[tuple[int, int]], other: list[tuple[int, int]], share: float, batch_tokens: int, seed: int
) -> None:
    with TemporaryDirectory() as folder:
        both = sources(folder, main, other, share)
        whole = list(draw_steps(both, batch_tokens, seed, 2))
        for done, (_, state) in enumerate(whole, start=1):
            taken_up = read_cursors(write_cursors(state))
            assert taken_up == state
            assert list(draw_steps(both, batch_tokens, seed, 2, taken_up)) == whole[done:]


@given(UNITS, st.integers(30, 120), st.integers(1, 4), st.integers(30, 60))
def test_ranks_share_a_step_and_compute_equally_many_micro_batches(
    groups: list[tuple[int, int]], batch_tokens: int, ranks: int, micro_tokens: int
) -> None:
    with TemporaryDirectory() as folder:
        one = {"main": WeightedStore(store(Path(folder) / "main", groups, first=1), 1.0)}

        def stream(rank: int, ranks: int) -> list[list[Batch]]:
            options = {"batch_tokens": batch_tokens, "micro_tokens": micro_tokens, "seed": 0, "epochs": 2}
            return [micro for micro, _ in batches(one, **options, rank=rank, ranks=ranks)]  # type: ignore[arg-type]

        def numbers(micro: list[Batch]) -> Counter[int]:
            """The groups of some micro-batches, by the number that their tokens tell; fillers tell 0."""
            starts = [batch.tokens_N[batch.positions_N == 0] for batch in micro]
            return Counter(int(token) for start in starts for token in start if int(token))

        whole = stream(0, 1)
        by_rank = [stream(rank, ranks) for rank in range(ranks)]
        assert {len(steps) for steps in by_rank} == {len(whole)}
        for step, alone in enumerate(whole):
            parts = [by_rank[rank][step] for rank in range(ranks)]
            assert len({len(part) for part in parts}) == 1
            together = [batch for part in parts for batch in part]
            assert numbers(together) == numbers(alone)
            assert sum(batch.count for batch in together) == sum(batch.count for batch in alone)
            assert all(len(batch.tokens_N) <= micro_tokens for batch in together)


def test_passes_are_other_permutations_and_seeds_other_orders(tmp_path: Path) -> None:
    one = {"main": WeightedStore(store(tmp_path / "main", [(2, 1)] * 50), 1.0)}

    def order(seed: int) -> list[int]:
        return [number for draw, _ in draw_steps(one, 10, seed, 2) for _, number in draw]

    first = order(0)
    assert sorted(first[:50]) == sorted(first[50:]) == list(range(50))
    assert first[:50] != first[50:]
    assert first == order(0)
    assert first != order(1)


def test_without_epochs_the_stream_goes_on(tmp_path: Path) -> None:
    one = {"main": WeightedStore(store(tmp_path / "main", [(2, 1)] * 3), 1.0)}
    drawn = Counter(number for draw, _ in islice(draw_steps(one, 4, 0, None), 300) for _, number in draw)
    assert drawn == {0: 200, 1: 200, 2: 200}


@settings(max_examples=20)
@given(UNITS, st.integers(30, 90))
def test_a_step_holds_the_same_units_however_it_is_cut(groups: list[tuple[int, int]], micro_tokens: int) -> None:
    made = [group(number + 1, *sizes) for number, sizes in enumerate(groups)]
    starts = [batch.tokens_N[batch.positions_N == 0].tolist() for batch in micro_batches(made, micro_tokens)]
    assert sorted(token for start in starts for token in start) == list(range(1, len(groups) + 1))


def test_a_pair_is_never_cut() -> None:
    """Packed one by one, these four examples would fill two rows of 50."""
    pair = (Example(np.ones(20, np.int32)), Example(np.full(25, 2, np.int32)))
    micro = micro_batches([pair, (Example(np.full(30, 3, np.int32)), Example(np.full(15, 4, np.int32)))], 50)
    assert sorted(batch.lengths for batch in micro) == [(20, 25), (30, 15)]
    assert all(batch.groups_S.tolist() == [0, 0] for batch in micro)


def test_a_unit_that_fits_no_micro_batch_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="^an example group") as error:
        micro_batches([group(0, 5, 1), group(1, 70, 1)], 64)
    assert str(error.value) == (
        "an example group of 70 tokens does not fit in a micro-batch of micro_tokens = 64; raise micro_tokens to at "
        "least 70"
    )


@given(UNITS, UNITS, SHARES, st.integers(1, 60), st.integers(0, 9))
def test_a_batch_that_grows_by_trained_tokens_resumes_the_very_rest(
    main: list[tuple[int, int]], other: list[tuple[int, int]], share: float, first: int, seed: int
) -> None:
    """Also from just before and after a change: the size of a step follows from the state alone."""

    def growing(trained: float) -> int:
        return first if trained < 40 else 2 * first if trained < 120 else 2 * first + 1

    with TemporaryDirectory() as folder:
        both = sources(folder, main, other, share)
        steps = list(draw_steps(both, growing, seed, 2))
        for number, (_, after) in enumerate(steps):
            state = read_cursors(json.loads(json.dumps(write_cursors(after))))
            assert list(draw_steps(both, growing, seed, 2, state)) == steps[number + 1 :]
        sizes = batch_sizes(both, growing, seed, 2, len(steps))
        assert len(sizes) == len(steps) == count_steps(both, growing, seed, 2)
        assert sizes == sorted(sizes)
        assert set(sizes) <= {first, 2 * first, 2 * first + 1}
        tokens = {("main", i): n for i, (n, _) in enumerate(main)} | {("other", i): n for i, (n, _) in enumerate(other)}
        for size, (draw, _) in zip(sizes, steps, strict=True):
            assert sum(tokens[pair] for pair in draw) <= size or len(draw) == 1


def test_groups_are_read_shuffled_by_length_or_as_written(tmp_path: Path) -> None:
    texts = store(tmp_path / "texts", [(5, 1), (3, 1), (9, 1), (3, 2), (2, 1)])

    def read(order: Order) -> list[int]:
        steps = draw_steps({"texts": WeightedStore(texts, 1.0, order)}, 1, seed=3, epochs=2)
        return [place for draw, _ in steps for _, place in draw]

    assert read("written") == [0, 1, 2, 3, 4] * 2
    assert read("length") == [4, 1, 3, 0, 2] * 2  # equal lengths as they were written
    shuffled = read("shuffled")
    assert sorted(shuffled[:5]) == sorted(shuffled[5:]) == [0, 1, 2, 3, 4] and shuffled[:5] != shuffled[5:]
