"""What can go wrong in training itself: learning rate, steps, epochs, loss mask and data."""

from __future__ import annotations

from collections.abc import Callable

from tutelage.doctor.case import Case, Diagnosis, rate_evidence
from tutelage.doctor.fixes import length_times, lr_times, override
from tutelage.doctor.symptoms import (
    diverged,
    forgot_base,
    format_not_learned,
    held_out_rows_worse,
    memorised,
    words_broken,
)
from tutelage.report.read import column, names_under

# Of the usual learning rate: above HIGH it comes near the base model's own, and below LOW a run of the usual length
# changes little.
HIGH, LOW = 2.0, 0.1
HARDLY_FELL = 0.95  # of the first loss
FEW_EPOCHS, FEW_STEPS = 3, 100
STILL_FALLING = 0.95  # of the mean loss two tenths of the steps before
MANY_EPOCHS, FEWER_EPOCHS = 10, 1 / 3
COPIED = 0.1  # of the answers to unseen prompts, verbatim
MAX_REPLAY = 0.8
LOST_ROWS = 0.2
# A unigram model of letters needs about 4 bits per byte for English.
WEAK_VOCABULARY, WEAK_BITS = 0.8, 2.75
OVERFITTED, REPEATED, EVALS_OF_A_CURVE = 1.03, 3, 3

Check = Callable[[Case], Diagnosis | None]

NOT_ANSWERING = "it still continues prompts as text and has hardly learned to answer"


def lr_too_high(case: Case) -> Diagnosis | None:
    """Training diverges; or, in fine-tuning at a high learning rate, words break or the base model's text is lost."""
    rising, words, forgotten = diverged(case), words_broken(case), forgot_base(case)
    high = case.is_fine_tuned and case.lr_ratio() > HIGH
    unstable = rising and (high or not case.is_fine_tuned or case.lr_ratio() > 1)
    if not unstable and not (high and (words or forgotten)):
        return None
    symptoms = ["training diverges"] * bool(rising) + ["its words are broken"] * bool(words)
    symptoms += ["it forgot the base model's text"] * bool(forgotten)
    lr = case.lr_evidence() if case.is_fine_tuned else f"peak learning rate {case.stage.info.lr:g}"
    return Diagnosis(
        "lr-too-high",
        case.stage.name,
        ", ".join(symptoms),
        "the learning rate is too high: each step undoes more than it teaches",
        _lr_fix(case, "lower lr to a third or a tenth"),
        (lr, *rising, *words, *forgotten),
        lr_times(case, 1 / 3),
    )


def _lr_fix(case: Case, by_hand: str) -> str:
    """The fix for a wrong learning rate, by how it was set; only fine-tuning has a range test."""
    if not case.is_fine_tuned:
        return by_hand
    if case.settings.get("find_lr"):
        return f"{by_hand} by hand (--lr): this one was found by find_lr (--find-lr)"
    return f"{by_hand}, or let a range test find it: find_lr = true (--find-lr)"


def lr_too_low(case: Case) -> Diagnosis | None:
    """Format not learned, or a loss that hardly fell, far below the usual learning rate."""
    info = case.stage.info
    if not case.is_fine_tuned or case.lr_ratio() >= LOW or diverged(case):
        return None
    evidence = format_not_learned(case)
    if info.loss is not None and info.loss_start is not None and info.loss > HARDLY_FELL * info.loss_start:
        evidence.append(f"training loss {info.loss_start:.3f} at step 1, {info.loss:.3f} at the end")
    if not evidence:
        return None
    return Diagnosis(
        "lr-too-low",
        case.stage.name,
        NOT_ANSWERING,
        "the learning rate is too low for so many steps",
        _lr_fix(case, "raise lr to the usual one"),
        (case.lr_evidence(), *evidence),
        lr_times(case, 1 / case.lr_ratio()),
    )


def replay_share_too_high(case: Case) -> Diagnosis | None:
    """Format not learned, where nearly all trained tokens are replayed text."""
    evidence = format_not_learned(case) if case.is_fine_tuned else []
    if not evidence or case.replay_share() <= MAX_REPLAY or case.lr_ratio() < LOW or diverged(case):
        return None
    return Diagnosis(
        "replay-share-too-high",
        case.stage.name,
        NOT_ANSWERING,
        "nearly all trained tokens are replayed text",
        "lower replay to a half or less",
        (f"{case.replay_share():.0%} of the trained tokens are replayed text", *evidence),
        (override(case, "replay", 0.5),),
    )


def too_few_steps(case: Case) -> Diagnosis | None:
    """Format not learned at a usual learning rate, after few steps or epochs, or while the loss was still falling."""
    missing = format_not_learned(case) if case.is_fine_tuned else []
    if not missing or case.replay_share() > MAX_REPLAY or diverged(case) or not LOW <= case.lr_ratio() <= HIGH:
        return None
    info, (dataset, epochs), curve = case.stage.info, case.most_epochs(), case.curve()
    falling = len(curve) > 0 and curve[-1] < STILL_FALLING * curve[-3]
    if epochs >= FEW_EPOCHS and info.steps >= FEW_STEPS and not falling:
        return None
    evidence = [f"{info.steps:,} steps, {epochs:.2g} epochs of '{dataset}'", case.lr_evidence(), *missing]
    if falling:
        evidence.append(
            f"training loss was still falling: {curve[-3]:.3f}, {curve[-2]:.3f}, {curve[-1]:.3f} at the end"
        )
    return Diagnosis(
        "too-few-steps",
        case.stage.name,
        NOT_ANSWERING,
        "it was trained too briefly",
        "train for more steps or epochs, until the loss on held-out rows no longer falls",
        tuple(evidence),
        length_times(case, 3),
    )


def too_many_epochs(case: Case) -> Diagnosis | None:
    """Memorised rows, and a higher loss on held-out rows than before training; or, after many epochs, copied answers or
    broken words."""
    if not case.is_fine_tuned or case.lr_ratio() > HIGH:
        return None
    (dataset, epochs), overfit, words = case.most_epochs(), memorised(case), words_broken(case)
    verbatim = case.rates.get("format.verbatim")
    copies = verbatim is not None and verbatim.low > COPIED
    rows = held_out_rows_worse(case) if epochs > 1 else []
    if not overfit or not (rows or (epochs > MANY_EPOCHS and (copies or words))):
        return None
    evidence = [f"{epochs:,.0f} epochs of '{dataset}' with {case.stage.info.ledgers[dataset].rows_out:,} rows"]
    evidence += [*overfit, *rows]
    symptom = "its loss on rows like yours rose" if rows else "its words are broken"
    if verbatim is not None and copies:
        symptom = "it answers unseen prompts with answers it was trained on"
        evidence.append(rate_evidence("answers to unseen prompts copied verbatim from training", verbatim))
    return Diagnosis(
        "too-many-epochs",
        case.stage.name,
        symptom,
        "overfit: too many epochs on too few rows",
        "train for fewer epochs, or on more rows",
        (*evidence, *words),
        length_times(case, min(MANY_EPOCHS / 2 / epochs, FEWER_EPOCHS)),
    )


def user_tokens_trained(case: Case) -> Diagnosis | None:
    """The loss is not masked: it is trained to write the user's turns too."""
    if case.settings.get("train_on") != "all_tokens":
        return None
    leakage = case.rates.get("format.no_role_leakage")
    evidence = [f"{case.trained_share():.0%} of the tokens of its conversations are trained"]
    return Diagnosis(
        "user-tokens-trained",
        case.stage.name,
        "it is trained to write the user's turns",
        "the loss is not masked (train_on = all_tokens)",
        "train_on = assistant: only the assistant's tokens are trained",
        (*evidence, *([rate_evidence("answers that never write another role's turn", leakage)] if leakage else [])),
        (override(case, "train_on", "assistant"),),
    )


def overtrained(case: Case) -> Diagnosis | None:
    """The last weights were selected, and the dev eval of an earlier step was better beyond its interval."""
    selected = case.stage.info.selected
    evals = [eval_step for eval_step in case.stage.evals if eval_step.score is not None]
    if selected is None or selected.by != "last" or len(evals) < 2:
        return None
    best, last = max(evals, key=lambda eval_step: eval_step.score or 0.0), evals[-1]
    ended = last.dev_eval
    worse = [name for name, rate in best.dev_eval.items() if name in ended and ended[name].high < rate.low]
    if not worse:
        return None
    evidence = [
        rate_evidence(f"{name.replace('_', ' ')} at step {eval_step.step:,}", eval_step.dev_eval[name])
        for name in worse
        for eval_step in (best, last)
    ]
    return Diagnosis(
        "overtrained",
        case.stage.name,
        "it answered better before the end of training",
        "training continued after the best dev eval, and the last weights were selected",
        'keep = "best_eval", with evaluate_every set, or fewer steps',
        tuple(evidence),
        (override(case, "keep", "best_eval"),),
    )


def data_repetition_overfitting(case: Case) -> Diagnosis | None:
    """Pre-training whose held-out loss rises again after several epochs."""
    if case.is_fine_tuned:
        return None
    (_, epochs) = case.most_epochs()
    for name in names_under(case.stage.log, "held_out."):
        steps, losses = column(case.stage.log, f"held_out.{name}")
        if len(losses) < EVALS_OF_A_CURVE or epochs <= REPEATED or not losses[-1] > OVERFITTED * losses.min():
            continue
        best = int(losses.argmin())
        return Diagnosis(
            "data-repetition-overfitting",
            case.stage.name,
            "the loss on held-out text rises again",
            "overfit: the same text was repeated too often",
            "fewer epochs, or more text",
            (
                f"held-out loss on '{name}': {losses[best]:.3f} at step {steps[best]:,}, {losses[-1]:.3f} at the end",
                f"training loss at the end {case.stage.info.loss or float('nan'):.3f}",
                f"{epochs:.1f} epochs",
            ),
            length_times(case, 1 / 2),
        )
    return None


def rows_lost(case: Case) -> Diagnosis | None:
    """Much of a dataset was left out of training."""
    evidence = []
    for name in case.own_datasets():
        ledger = case.stage.info.ledgers[name]
        lost = {reason: dropped.rows for reason, dropped in ledger.dropped.items() if dropped.rows}
        if ledger.rows_read and sum(lost.values()) > LOST_ROWS * ledger.rows_read:
            by_rows = sorted(lost.items(), key=lambda item: -item[1])
            reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in by_rows)
            evidence.append(f"'{name}': {sum(lost.values()):,} of {ledger.rows_read:,} rows are lost: {reasons}")
    if not evidence:
        return None
    return Diagnosis(
        "rows-lost",
        case.stage.name,
        "much of the data was not trained on",
        "rows were left out: they are too long, broken, or fail verification",
        'too long: too_long = "split", or a longer context; otherwise fix the rows (`tutelage audit`)',
        tuple(evidence),
        (override(case, "too_long", "split"),) if case.settings.get("too_long") == "drop" else (),
    )


def base_too_weak(case: Case) -> Diagnosis | None:
    """The base model does not write whole words yet."""
    words = case.rates.get("format.base_in_vocabulary")
    evidence = []
    if words is not None and words.high < WEAK_VOCABULARY:
        evidence.append(rate_evidence("of the base model's words occur in its training text", words))
    before = min(((lost.before, text) for text, lost in case.stage.forgetting.items()), default=(0.0, ""))
    if before[0] > WEAK_BITS:
        evidence.append(f"the base model needs {before[0]:.2f} bits per byte on held-out text '{before[1]}'")
    if not evidence:
        return None
    return Diagnosis(
        "base-too-weak",
        case.stage.name,
        "its base model does not write whole words yet",
        "the base model was trained too briefly, at a wrong learning rate, or is too small",
        "train the base model longer, or start from a better one, before changing anything else",
        tuple(evidence),
    )


TRAINING: tuple[Check, ...] = (
    lr_too_high,
    base_too_weak,
    lr_too_low,
    replay_share_too_high,
    too_few_steps,
    overtrained,
    too_many_epochs,
    user_tokens_trained,
    data_repetition_overfitting,
    rows_lost,
)
