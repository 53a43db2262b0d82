"""Held-out rows: did the model learn rows like those it was trained on? Their loss before and after training."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from tutelage.batching.store import Store
from tutelage.evaluate.held_out_loss import group_losses, mean_loss
from tutelage.evaluate.results import Results, Suite
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import ratio_of_sums
from tutelage.model.transformer import Transformer
from tutelage.progress import status


@dataclass(frozen=True)
class RowLosses:
    """Loss on held-out rows in nats per trained token, before and after a stage, and its relative change with the 95%
    interval over the rows. `pieces` has for each row its loss before and after, and its trained tokens."""

    before: float
    after: float
    change: float
    low: float
    high: float
    rows: int
    pieces: list[tuple[float, float, int]]


def row_losses(before: Transformer, after: Transformer, store: Store, micro_tokens: int) -> RowLosses:
    """Compare the model that a stage starts from with the one that it made."""
    before_G, after_G = (group_losses(model, store, micro_tokens) for model in (before, after))
    change, low, high = ratio_of_sums(after_G, before_G)
    tokens_G = np.asarray(store.weight_G).round().astype(int)
    pieces = list(zip(before_G.tolist(), after_G.tolist(), tokens_G.tolist(), strict=True))
    means = mean_loss(before_G, store), mean_loss(after_G, store)
    return RowLosses(*means, change, low, high, len(store), pieces)


def run(session: EvalSession) -> Results:
    """Every dataset with held-out rows; nothing where chance, or a refusal, has left none."""
    stores = {name: store for name, store in session.open_rows().items() if len(store)}
    if not stores:
        status(f"{session.name}: no row is held out; raise held_out, or name a file of held-out rows")
        return Results({}, figures={"by_data": {}})
    before, after = session.load_start().model, session.checkpoint("model").model
    by_data, outcomes = {}, {}
    for name, store in stores.items():
        figures = asdict(row_losses(before, after, store, session.batch_tokens))
        outcomes[name] = [(str(number), *piece) for number, piece in enumerate(figures.pop("pieces"))]
        by_data[name] = figures
    return Results({}, outcomes, figures={"by_data": by_data})


SUITE = Suite(name="held_out_rows", needs=frozenset({"rows"}), run=run, labels={}, groups=())
