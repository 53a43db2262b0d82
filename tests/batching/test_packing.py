from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.batching.packing import collate, pack, padding_batch, uncollate
from tutelage.records import Example, Schema, Stream

LENGTHS = st.lists(st.integers(1, 100), max_size=40)


@given(LENGTHS, st.integers(100, 300))
def test_packing_places_every_unit_once_within_the_capacity(lengths: list[int], capacity: int) -> None:
    rows = pack(lengths, capacity)
    assert sorted(group for row in rows for group in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[group] for group in row) <= capacity for row in rows)
    assert all(row == sorted(row) for row in rows)
    fewest = -(-sum(lengths) // capacity)
    assert len(rows) <= max(1, 2 * fewest)  # two rows of which both are half empty would have been one


def test_best_fit_fills_the_fullest_row_that_takes_a_unit() -> None:
    assert pack([6, 3, 5, 4, 2], 10) == [[0, 3], [1, 2, 4]]


def test_the_shift_by_one_happens_here() -> None:
    first = Example(
        np.array([1, 2, 3], np.int32),
        np.array([9, 0, 0.5], np.float32),
        streams={"advantage": np.array([-1, 5, 6], np.float32)},
        scalars={"reward": 2.0},
    )
    second = Example(np.array([4, 5], np.int32), streams={"advantage": np.array([7, 8], np.float32)})
    batch = collate([(first, second), (first,)])
    assert batch.tokens_N.tolist() == [1, 2, 3, 4, 5, 1, 2, 3]
    assert batch.labels_N.tolist() == [2, 3, 0, 5, 0, 2, 3, 0]
    assert batch.weights_N.tolist() == [0, 0.5, 0, 1, 0, 0, 0.5, 0]
    assert batch.streams["advantage"].tolist() == [5, 6, 0, 8, 0, 5, 6, 0]
    assert batch.positions_N.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert batch.lengths == (3, 2, 3)
    assert batch.groups_S.tolist() == [0, 0, 1]
    assert batch.scalars["reward"].tolist() == [2, 0, 2]
    assert batch.count == 2.0
    assert batch.tokens_N.dtype == batch.labels_N.dtype == batch.positions_N.dtype == torch.int64
    assert batch.weights_N.dtype == torch.float32


def test_own_targets_are_not_shifted() -> None:
    example = Example(
        np.array([1, 2, 3], np.int32),
        np.array([1, 0, 0.5], np.float32),
        targets=np.array([7, 8, 9], np.int32),
        streams={"tag": np.array([3, 4, 5], np.int64)},
    )
    batch = collate([(example,)])
    assert batch.labels_N.tolist() == [7, 8, 9]
    assert batch.weights_N.tolist() == [1, 0, 0.5]
    assert batch.streams["tag"].tolist() == [3, 4, 5]
    assert batch.streams["tag"].dtype == torch.int64
    assert batch.count == 1.5


def test_a_padding_batch_reads_one_token_trains_none_and_has_every_declared_stream() -> None:
    schema = Schema({"advantage": Stream("float32", -1.0)}, {"reward": 2.0})
    batch = padding_batch(schema)
    assert (batch.lengths, batch.count, batch.weights_N.tolist(), batch.padding) == ((1,), 0.0, [0.0], True)
    assert batch.streams["advantage"].tolist() == [-1.0]
    assert batch.scalars["reward"].tolist() == [2.0]


def test_what_an_example_lacks_has_the_declared_fill_value() -> None:
    schema = Schema({"advantage": Stream("float32", -1.0)}, {"reward": 2.0})
    tokens = np.array([1, 2, 3], np.int32)
    own = Example(tokens, streams={"advantage": np.array([7, 8, 9], np.float32)}, scalars={"reward": 5.0})
    batch = collate([(own,), (Example(tokens),)], schema)
    assert batch.streams["advantage"].tolist() == [8, 9, -1, -1, -1, -1]
    assert batch.scalars["reward"].tolist() == [5, 2]
    with pytest.raises(AssertionError, match="undeclared stream"):
        collate([(own,)], Schema(scalars={"reward": 0.0}))


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=6))
def test_uncollate_undoes_the_shift(sizes: list[tuple[int, bool]]) -> None:
    examples = []
    for length, targets in sizes:
        tokens = np.arange(100, 100 + length, dtype=np.int32)
        own = {"targets": tokens + 50} if targets else {}
        examples.append(Example(tokens, streams={"place": np.arange(length, dtype=np.float32)}, **own))
    batch = collate([(example,) for example in examples])
    columns = uncollate(batch, batch.streams["place"].numpy(), fill=-1)
    for example, column, (length, targets) in zip(examples, columns, sizes, strict=True):
        first = [] if targets else [-1.0]
        assert column.tolist() == [*first, *example.streams["place"][len(first) :].tolist()]
        assert len(column) == length


@given(st.lists(st.integers(1, 30), min_size=1, max_size=10), st.integers(0, 99))
def test_the_count_is_the_sum_of_the_weights(lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = [(Example(np.zeros(n, np.int32), random.random(n).astype(np.float32)),) for n in lengths]
    batch = collate(groups)
    assert batch.count == pytest.approx(float(batch.weights_N.double().sum()), rel=1e-12)
    assert batch.count == pytest.approx(sum(float(u[0].weights[1:].sum()) for u in groups), rel=1e-5, abs=1e-6)
