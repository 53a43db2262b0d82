"""What a stage can be seen to suffer from: figures against the least that a healthy stage shows, with their intervals.

A rate is called bad only where its whole 95% interval is, so that chance alone seldom makes a symptom.
"""

from __future__ import annotations

from tutelage.doctor.case import Case, lost_words, rate_words_of
from tutelage.evaluate.loss import FORGETTING_ALARM

FORM_LEARNED = 0.8  # of the answers; a model that has learned the form keeps it nearly always
# Answers are cut after 128 tokens, so of data whose answers are longer it cannot be told whether they would end: there
# it is only asked whether anything is said.
LONGEST_JUDGED = 64
# Of the words written, below the base model's own share; and where that is not known, a share that needs no comparing.
WORDS_LOST, WORDS_WHOLE = 0.05, 0.85
# A mean over a tenth of the steps so far above the first loss, or the end so far above the best tenth.
JUMP, RISE, LEAST_RISE = 1.15, 1.2, 0.1


def form_missing(case: Case) -> list[str]:
    """Evidence that the form of a conversation was not learned."""
    name, words = "format", "answers in the form of a conversation"
    if case.trained_tokens_per_row() > LONGEST_JUDGED:
        name, words = "format.has_content", "answers that say something"
    form, seen = case.rates.get(name), case.rates.get("format.seen")
    if form is None or form.high >= FORM_LEARNED or (seen is not None and seen.low > FORM_LEARNED):
        return []  # what it keeps on the prompts of its training, it has learned
    return [rate_words_of(words, form)]


def words_broken(case: Case) -> list[str]:
    """Evidence that it writes fewer real words than the model it was made from."""
    words, base = case.rates.get("format.real_words"), case.rates.get("format.base_words")
    if words is None:
        return []
    floor = WORDS_WHOLE if base is None else min(base.low, base.rate - WORDS_LOST)
    if words.high >= floor:
        return []
    before = [] if base is None else [rate_words_of("of its base's words", base)]
    return [rate_words_of("of its words stand in the text it was trained on", words), *before]


def unstable(case: Case) -> list[str]:
    """Evidence that training fell apart: the loss jumped above where it began, or ended well above its best."""
    curve, start = case.curve(), case.stage.info.loss_start
    if not len(curve):
        return []
    best, last, top = float(curve.min()), float(curve[-1]), float(curve.max())
    if start is not None and top > JUMP * start:
        return [f"training loss: {start:.3f} at step 1, {top:.3f} over a tenth of the steps, {last:.3f} at the end"]
    if last > RISE * best and last - best > LEAST_RISE:
        return [f"training loss: {best:.3f} in its best tenth of the steps, {last:.3f} in the last"]
    return []


def forgetful(case: Case) -> list[str]:
    """Evidence that the base's own text has become much harder for it."""
    worst = case.worst_lost()
    return [lost_words(*worst)] if worst is not None and worst[1].low > FORGETTING_ALARM else []


def by_heart(case: Case) -> list[str]:
    """Evidence that it knows its own rows far better than others of their kind."""
    own, held_out = case.own_loss(), case.held_out_loss()
    if own is None or held_out is None or own > held_out / 2:
        return []
    return [f"loss on the rows it was trained on {own:.3f}, on held-out ones {held_out:.3f} nats a token"]
