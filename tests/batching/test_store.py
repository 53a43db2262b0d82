from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tutelage.batching.sources import open_or_write
from tutelage.batching.store import Store, loss_weight, write_store
from tutelage.ledger import Ledger
from tutelage.records import Example, ExampleGroup


def example(length: int, seed: int = 0, targets: bool = False) -> Example:
    random = np.random.default_rng((seed, length))
    return Example(
        random.integers(0, 1000, length).astype(np.int32),
        random.choice([0, 0.25, 1], length).astype(np.float32),
        targets=random.integers(0, 9, length).astype(np.int32) if targets else None,
        streams={"roles": random.integers(0, 5, length).astype(np.uint8), "advantage": random.normal(size=length)},
        scalars={"reward": float(np.float32(random.normal())), "label": 1.0},
    )


def kept(rows: int) -> Ledger:
    ledger = Ledger("test")
    ledger.read(rows)
    ledger.keep(rows)
    return ledger


def assert_same(found: Example, expected: Example) -> None:
    assert np.array_equal(found.tokens, expected.tokens)
    assert np.array_equal(found.weights, expected.weights)
    assert (found.targets is None) == (expected.targets is None)
    assert found.targets is None or np.array_equal(found.targets, expected.targets)
    assert found.streams.keys() == expected.streams.keys()
    for name, column in expected.streams.items():
        assert found.streams[name].dtype == column.dtype
        assert np.array_equal(found.streams[name], column)
    assert found.scalars == expected.scalars


@pytest.mark.parametrize("targets", [False, True])
def test_what_is_written_is_read_back(tmp_path: Path, targets: bool) -> None:
    groups = [
        (example(5, 1, targets),),
        (example(3, 2, targets), example(1, 3, targets), example(8, 4, targets)),
        (example(2, 5, targets),),
    ]
    write_store(tmp_path / "store", iter(groups), kept(3))
    store = Store(tmp_path / "store")
    assert len(store) == 3
    assert store.tokens_G.tolist() == [5, 12, 2]
    assert store.longest == 12
    assert store.weight_G.tolist() == pytest.approx([sum(map(loss_weight, group)) for group in groups])
    for index, group in enumerate(groups):
        assert len(store.group(index)) == len(group)
        for found, expected in zip(store.group(index), group, strict=True):
            assert_same(found, expected)


def test_no_weights_mean_all_ones(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [(Example(np.arange(4, dtype=np.int32)),)], kept(1))
    [found] = store.group(0)
    assert found.weights is not None
    assert found.weights.tolist() == [1, 1, 1, 1]
    assert store.weight_G.tolist() == [3]


def test_the_ledger_is_kept_with_the_store(tmp_path: Path) -> None:
    ledger = Ledger("documents")
    ledger.read(2, tokens=7)
    ledger.keep(1, tokens=5)
    ledger.drop("empty", tokens=2, where="row 9")
    write_store(tmp_path / "store", [(example(5),)], ledger)
    assert Store(tmp_path / "store").ledger == ledger


def test_a_ledger_that_does_not_add_up_leaves_no_store(tmp_path: Path) -> None:
    ledger = Ledger("documents")
    ledger.read(2)
    ledger.keep(1)
    with pytest.raises(AssertionError, match="does not add up"):
        write_store(tmp_path / "store", [(example(5),)], ledger)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_leaves_nothing_and_an_old_store_as_it_was(tmp_path: Path) -> None:
    def failing() -> Iterator[ExampleGroup]:
        yield (example(5),)
        raise ValueError("row 2 is broken")

    with pytest.raises(ValueError, match="row 2 is broken"):
        write_store(tmp_path / "store", failing(), kept(1))
    assert list(tmp_path.iterdir()) == []
    write_store(tmp_path / "store", [(example(7),)], kept(1))
    with pytest.raises(ValueError, match="row 2 is broken"):
        write_store(tmp_path / "store", failing(), kept(1))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert Store(tmp_path / "store").tokens_G.tolist() == [7]


def test_an_empty_store_can_be_opened(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [], Ledger("nothing"))
    assert (len(store), store.longest, store.tokens_G.tolist()) == (0, 0, [])


@pytest.mark.parametrize("second", [Example(np.zeros(3, np.int32)), Example(np.zeros(3, np.int32), scalars={"a": 1.0})])
def test_examples_of_unlike_kinds_are_our_own_mistake(tmp_path: Path, second: Example) -> None:
    with pytest.raises(AssertionError, match="examples carry unlike"):
        write_store(tmp_path / "store", [(example(3),), (second,)], kept(2))


def test_a_store_of_the_same_identity_is_opened_and_not_written_again(tmp_path: Path) -> None:
    asked = []

    def groups() -> Iterator[ExampleGroup]:
        asked.append(1)
        yield (Example(np.arange(4, dtype=np.int32)),)

    first = open_or_write(tmp_path, ["tokens", 4], groups(), kept(1))
    again = open_or_write(tmp_path, ["tokens", 4], groups(), Ledger("test"))
    assert asked == [1]
    assert again.folder == first.folder
    assert again.ledger.rows_kept == 1
    other = open_or_write(tmp_path, ["tokens", 5], groups(), kept(1))
    assert asked == [1, 1]
    assert other.folder != first.folder
