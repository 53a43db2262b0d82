"""Forgetting: how much harder held-out pre-training text has become for the model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from tutelage.batching.datasets import text_bytes
from tutelage.batching.store import Store
from tutelage.evaluate.held_out_loss import group_losses
from tutelage.evaluate.results import Results, Suite
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import ratio_of_sums
from tutelage.model.transformer import Transformer
from tutelage.tokenizer import Tokenizer

FORGETTING_ALARM = 0.10  # the source documents' alarm: loss on the base's text up by a tenth


@dataclass(frozen=True)
class ForgettingResult:
    """Loss on held-out pre-training text, in bits per byte, before and after a stage, and its relative increase with
    the 95% interval.

    pieces: for each piece of the text its bits before and after, and its bytes.
    """

    before: float
    after: float
    increase: float
    low: float
    high: float
    alarm: bool
    pieces: list[tuple[float, float, int]]


def forgetting(
    before: Transformer, after: Transformer, store: Store, tokenizer: Tokenizer, micro_tokens: int
) -> ForgettingResult:
    """Compare two models on held-out text that neither was trained on."""
    losses_before, losses_after = (group_losses(model, store, micro_tokens) for model in (before, after))
    bytes_G = text_bytes(store, tokenizer)
    before_G, after_G = losses_before / math.log(2), losses_after / math.log(2)
    increase, low, high = ratio_of_sums(after_G, before_G)
    total = bytes_G.sum()
    return ForgettingResult(
        before=float(before_G.sum() / total),
        after=float(after_G.sum() / total),
        increase=increase,
        low=low,
        high=high,
        alarm=increase > FORGETTING_ALARM,
        pieces=list(zip(before_G.tolist(), after_G.tolist(), bytes_G.tolist(), strict=True)),
    )


def run(session: EvalSession) -> Results:
    """The model against its base on every held-out text; the text whose loss rose most stands for all.

    Raises:
        ValueError: none of the texts has a held-out part.
    """
    base, tuned = session.checkpoint("base"), session.checkpoint("model")
    by_data, outcomes = {}, {}
    for data, store in session.open_texts(base).items():
        if len(store):
            result = forgetting(base.model, tuned.model, store, base.tokenizer, session.batch_tokens)
            figures = asdict(result)
            outcomes[data] = [(str(number), *piece) for number, piece in enumerate(figures.pop("pieces"))]
            by_data[data] = figures
    if not by_data:
        raise ValueError(
            f"evaluate.{session.name}: 'forgetting' needs held-out text; set held_out of the base's stage above 0"
        )
    worst = max(by_data.values(), key=lambda figures: figures["increase"])
    return Results({}, outcomes, figures={**worst, "by_data": by_data})


SUITE = Suite(name="forgetting", needs=frozenset({"chat", "text"}), run=run, labels={}, groups=())
