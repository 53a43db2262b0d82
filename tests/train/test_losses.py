from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.batching.loader import WeightedStore, batches
from tutelage.batching.packing import collate
from tutelage.batching.store import Store, write_store
from tutelage.ledger import Ledger
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Batch, Example
from tutelage.train.hooks import named_by_dataset
from tutelage.train.losses import cross_entropy
from tutelage.train.metrics import Metrics

MODEL = initialise(Transformer(resolve(ModelSettings(depth=1, width=16, context=32), vocab=60)), 0)


def store(folder: Path, groups: int, first: int, last: int) -> Store:
    """Groups of one or two examples whose tokens lie from `first` to before `last`, so that they tell their source."""
    draw = np.random.default_rng(first)
    ledger = Ledger("test")
    ledger.read(groups)
    ledger.keep(groups)

    def example() -> Example:
        length = int(draw.integers(2, 20))
        weights = draw.choice(np.array([0, 0.5, 1], np.float32), length)
        weights[-1] = 1
        return Example(draw.integers(first, last, length).astype(np.int32), weights)

    return write_store(folder, (tuple(example() for _ in range(1 + i % 2)) for i in range(groups)), ledger)


def sources(folder: Path, count: int) -> dict[str, WeightedStore]:
    return {
        name: WeightedStore(store(folder / name, 30, 20 * i, 20 * i + 20), 1 + i)
        for i, name in enumerate("abc"[:count])
    }


def loss_of(batch: Batch, of: Callable[[int], bool]) -> tuple[float, float]:
    """The summed loss and weight at the positions whose token passes."""
    logprobs = MODEL(batch)
    trained = batch.weights_N != 0
    here = torch.tensor([of(token) for token in batch.tokens_N[trained].tolist()])
    weights = batch.weights_N[trained] * here
    return float(-(logprobs * weights).sum()), float(weights.sum())


@settings(max_examples=10)
@given(st.integers(2, 3), st.integers(40, 200), st.integers(40, 90), st.integers(1, 3))
@torch.no_grad()
def test_the_losses_of_the_sources_sum_to_the_loss(count: int, step: int, micro: int, ranks: int) -> None:
    with TemporaryDirectory() as folder:
        several = sources(Path(folder), count)
        for rank in range(ranks):  # where ranks outnumber micro-batches some get fillers, which belong to no source
            stream = batches(several, batch_tokens=step, micro_tokens=micro, seed=1, rank=rank, ranks=ranks)
            for micro_batches, _ in islice(stream, 2):
                for batch in micro_batches:
                    components, metrics = cross_entropy(MODEL, batch)
                    pairs = dict(metrics.pairs)
                    whole = pairs.pop("loss")
                    assert whole == (pytest.approx(float(components["loss"])), batch.count)
                    totals = tuple(sum(column) for column in zip((0.0, 0.0), *pairs.values(), strict=True))
                    assert totals == pytest.approx(whole, abs=1e-4)
                    for number in range(count):
                        expected = loss_of(batch, lambda token, number=number: token // 20 == number)  # type: ignore[misc]
                        assert pairs.get(f"loss.{number}", (0.0, 0.0)) == pytest.approx(expected, abs=1e-4)


def test_a_single_source_is_not_told_apart(tmp_path: Path) -> None:
    stream = batches(sources(tmp_path, 1), batch_tokens=100, micro_tokens=100, seed=1)
    batch = next(stream)[0][0]
    assert batch.scalars == {}
    assert list(cross_entropy(MODEL, batch)[1].pairs) == ["loss"]


def test_a_source_without_trained_tokens_in_a_batch_has_no_mean_there() -> None:
    first, second = (
        Example(np.arange(1, 5, dtype=np.int32), np.full(4, weight, np.float32), scalars={"dataset": source})
        for weight, source in ((1, 0.0), (0, 1.0))
    )
    metrics = cross_entropy(MODEL, collate([(first,), (second,)]))[1]
    assert set(metrics.means()) == {"loss", "loss.0"}


def test_means_over_micro_batches_are_named_by_the_sources(tmp_path: Path) -> None:
    """However a step is cut, and whichever source comes first in it."""
    several, found = sources(tmp_path, 3), []
    for micro_tokens in (40, 400):
        micro_batches, _ = next(batches(several, batch_tokens=400, micro_tokens=micro_tokens, seed=1))
        metrics = Metrics()
        for batch in micro_batches:
            metrics.add(cross_entropy(MODEL, batch)[1])
        found.append(named_by_dataset(metrics.means(), list(several)))
        assert list(found[-1]) == ["loss", "loss.a", "loss.b", "loss.c"]
    assert found[0] == pytest.approx(found[1])
    assert len(set(found[0].values())) == 4
