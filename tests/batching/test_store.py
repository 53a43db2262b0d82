from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tutelage.batching.datasets import SplitGroups, SplitLedgers, open_or_write
from tutelage.batching.packing import collate, group_sum, segment_sum
from tutelage.batching.store import add_stream, loss_weight, open_store, write_store
from tutelage.ledger import Ledger
from tutelage.records import ROLE_STREAM, Batch, Example, ExampleGroup, Schema, Stream


def example(length: int, seed: int = 0, targets: bool = False) -> Example:
    random = np.random.default_rng((seed, length))
    return Example(
        random.integers(0, 1000, length).astype(np.int32),
        random.choice([0, 0.25, 1], length).astype(np.float32),
        targets=random.integers(0, 9, length).astype(np.int32) if targets else None,
        streams={"roles": random.integers(0, 5, length).astype(np.uint8), "advantage": random.normal(size=length)},
        scalars={"reward": float(np.float32(random.normal())), "label": 1.0},
    )


SCHEMA = Schema({"roles": Stream("uint8"), "advantage": Stream("float64", -1.0)}, {"reward": 0.0, "label": 0.0})


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
    write_store(tmp_path / "store", iter(groups), kept(3), SCHEMA)
    store = open_store(tmp_path / "store")
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
    write_store(tmp_path / "store", [(example(5),)], ledger, SCHEMA)
    assert open_store(tmp_path / "store").ledger == ledger


def test_a_ledger_that_does_not_add_up_leaves_no_store(tmp_path: Path) -> None:
    ledger = Ledger("documents")
    ledger.read(2)
    ledger.keep(1)
    with pytest.raises(AssertionError, match="does not add up"):
        write_store(tmp_path / "store", [(example(5),)], ledger, SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_leaves_nothing_and_an_old_store_as_it_was(tmp_path: Path) -> None:
    def failing() -> Iterator[ExampleGroup]:
        yield (example(5),)
        raise ValueError("row 2 is broken")

    with pytest.raises(ValueError, match="row 2 is broken"):
        write_store(tmp_path / "store", failing(), kept(1), SCHEMA)
    assert list(tmp_path.iterdir()) == []
    write_store(tmp_path / "store", [(example(7),)], kept(1), SCHEMA)
    with pytest.raises(ValueError, match="row 2 is broken"):
        write_store(tmp_path / "store", failing(), kept(1), SCHEMA)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert open_store(tmp_path / "store").tokens_G.tolist() == [7]


def test_an_empty_store_can_be_opened(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [], Ledger("nothing"))
    assert (len(store), store.longest, store.tokens_G.tolist()) == (0, 0, [])


@pytest.mark.parametrize("second", [Example(np.zeros(3, np.int32)), Example(np.zeros(3, np.int32), scalars={"a": 1.0})])
def test_examples_of_unlike_kinds_are_our_own_mistake(tmp_path: Path, second: Example) -> None:
    with pytest.raises(AssertionError, match="examples carry unlike"):
        write_store(tmp_path / "store", [(example(3),), (second,)], kept(2), SCHEMA)


def test_a_store_of_the_same_identity_is_opened_and_not_written_again(tmp_path: Path) -> None:
    asked = []

    def groups(ledgers: SplitLedgers) -> SplitGroups:
        asked.append(1)
        ledgers.read("train", 4).keep(tokens=4)
        roles = np.zeros(4, np.uint8)
        yield "train", (Example(np.arange(4, dtype=np.int32), streams={"roles": roles}),)

    def made(identity: int) -> Path:
        ledgers = SplitLedgers.of("test")
        split = open_or_write(tmp_path, ["tokens", identity], groups(ledgers), ledgers)
        assert (split.train.ledger.rows_kept, len(split.train), len(split.held_out)) == (1, 1, 0)
        assert split.train.schema == ROLE_STREAM
        return split.train.folder

    first = made(4)
    assert made(4) == first
    assert asked == [1]
    assert made(5) != first
    assert asked == [1, 1]


def test_prompts_whose_loss_weights_are_all_0_can_be_stored(tmp_path: Path) -> None:
    prompt = Example(np.arange(3, dtype=np.int32), np.zeros(3, np.float32))
    store = write_store(tmp_path / "store", [(prompt,), (prompt, prompt)], kept(2))
    assert store.weight_G.tolist() == [0, 0]
    assert store.tokens_G.tolist() == [3, 6]


def test_a_stream_is_added_aligned_with_its_tokens_and_computed_once(tmp_path: Path) -> None:
    groups = [tuple(example(length, seed) for length in lengths) for seed, lengths in enumerate([(5,), (3, 1), (8, 2)])]
    store = write_store(tmp_path / "store", groups, kept(3), SCHEMA)
    calls = []

    def labels(batch: Batch) -> np.ndarray:
        calls.append(1)
        return batch.labels_N.numpy().astype(np.float32)

    added = add_stream(store, "label_id", "some model", labels, micro_tokens=9)
    for index, group in enumerate(groups):
        for found, expected in zip(added.group(index), group, strict=True):
            # Each position's label is the next token: the stream holds it at the token it belongs to.
            assert found.streams["label_id"].tolist() == [0.0, *expected.tokens[1:].astype(float)]
    assert added.schema.streams["label_id"] == Stream("float32")
    count = len(calls)
    again = add_stream(open_store(store.folder), "label_id", "some model", labels, micro_tokens=9)
    assert len(calls) == count
    assert again.group(1)[0].streams["label_id"].tolist() == added.group(1)[0].streams["label_id"].tolist()
    add_stream(store, "label_id", "another model", labels, micro_tokens=9)
    assert len(calls) > count


def test_sums_over_segments_and_groups(tmp_path: Path) -> None:
    pair = (example(6, 1), example(4, 2))
    batch = collate([pair, (example(5, 3),)])
    values = batch.weights_N[batch.weights_N != 0]
    per_segment = segment_sum(values, batch)
    expected = [loss_weight(one) for one in (*pair, example(5, 3))]
    assert per_segment.tolist() == pytest.approx(expected)
    assert group_sum(per_segment, batch).tolist() == pytest.approx([expected[0] + expected[1], expected[2]])
