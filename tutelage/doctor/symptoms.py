"""Symptoms of a stage: its figures against the least that a healthy stage shows, with their intervals.

A rate counts as bad only where its whole 95% interval does, so chance alone seldom makes a symptom.
"""

from __future__ import annotations

from tutelage.doctor.case import Case, forgetting_evidence, rate_evidence, row_loss_evidence
from tutelage.evaluate.suites.forgetting import FORGETTING_ALARM

FORMAT_LEARNED = 0.8  # of the answers; a model that has learned the format keeps it nearly always
# Answers are cut after 128 tokens, so where the answers of the data are longer it is unknown whether they would end:
# there only empty answers count.
LONGEST_JUDGED = 64
# How far the rate of in-vocabulary words may lie below the base model's; and a rate that is fine without comparing.
VOCABULARY_LOST, VOCABULARY_KEPT = 0.05, 0.85
# A mean over a tenth of the steps so far above the first loss, or the end so far above the best tenth.
JUMP, RISE, LEAST_RISE = 1.15, 1.2, 0.1


def format_not_learned(case: Case) -> list[str]:
    """Evidence that the chat format was not learned."""
    name, label = "format.compliant", "answers in the chat format"
    if case.trained_tokens_per_row() > LONGEST_JUDGED:
        name, label = "format.has_content", "answers that say something"
    rate, seen = case.rates.get(name), case.rates.get("format.prompts.seen")
    if rate is None or rate.high >= FORMAT_LEARNED or (seen is not None and seen.low > FORMAT_LEARNED):
        return []  # a model that keeps the format on prompts it was trained on has learned it
    return [rate_evidence(label, rate)]


def words_broken(case: Case) -> list[str]:
    """Evidence that it writes fewer in-vocabulary words than the base model."""
    words, base = case.rates.get("format.in_vocabulary"), case.rates.get("format.base_in_vocabulary")
    if words is None:
        return []
    floor = VOCABULARY_KEPT if base is None else min(base.low, base.rate - VOCABULARY_LOST)
    if words.high >= floor:
        return []
    before = [] if base is None else [rate_evidence("of the base model's words", base)]
    return [rate_evidence("of its words occur in its training text", words), *before]


def diverged(case: Case) -> list[str]:
    """Evidence that training diverged: the loss rose above the first one, or ended well above its lowest."""
    curve, start = case.curve(), case.stage.info.loss_start
    if not len(curve):
        return []
    best, last, top = float(curve.min()), float(curve[-1]), float(curve.max())
    if start is not None and top > JUMP * start:
        return [f"training loss: {start:.3f} at step 1, {top:.3f} over a tenth of the steps, {last:.3f} at the end"]
    if last > RISE * best and last - best > LEAST_RISE:
        return [f"training loss: {best:.3f} in its best tenth of the steps, {last:.3f} in the last"]
    return []


def forgot_base(case: Case) -> list[str]:
    """Evidence that the loss on the base model's text rose by more than the alarm."""
    worst = case.worst_forgetting()
    return [forgetting_evidence(*worst)] if worst is not None and worst[1].low > FORGETTING_ALARM else []


def memorised(case: Case) -> list[str]:
    """Evidence that it has memorised its rows: the training loss is below half of the held-out loss."""
    own, held_out = case.own_loss(), case.held_out_loss()
    if own is None or held_out is None or own > held_out / 2:
        return []
    return [f"loss on the rows it was trained on {own:.3f}, on held-out rows {held_out:.3f} nats per token"]


def held_out_rows_worse(case: Case) -> list[str]:
    """Evidence that the loss on held-out rows is higher than before training."""
    return [row_loss_evidence(name, losses) for name, losses in case.stage.row_losses.items() if losses.low > 0]
