"""What can go wrong in training itself: rate, steps, passes, mask and data."""

from __future__ import annotations

from collections.abc import Callable

from tutelage.doctor.case import Case, Diagnosis, rate_words_of
from tutelage.doctor.symptoms import by_heart, forgetful, form_missing, unstable, words_broken
from tutelage.report.read import column, names_under

# Against the usual rate: above it comes near the base's own, and below it a run of the usual length moves little.
HIGH, LOW = 2.0, 0.1
HARDLY_FELL = 0.95  # of the first loss
FEW_PASSES, FEW_STEPS = 3, 100
STILL_FALLING = 0.95  # of the mean loss two tenths of the steps before
MANY_PASSES = 10
COPIED = 0.1  # of the answers to unseen prompts, letter for letter
CROWDED = 0.8
LOST_ROWS = 0.2
KEPT_ASIDE = ("in the held-out part", "in the training part")  # moved, not lost
# A model of letters alone, which knows how often each comes and hardly more, needs about 4 bits a byte for English.
WEAK_WORDS, WEAK_BITS = 0.8, 2.75
OVERFITTED, REPEATED, LOOKS_OF_A_CURVE = 1.03, 3, 3

Check = Callable[[Case], Diagnosis | None]


def rate_too_high(case: Case) -> Diagnosis | None:
    """Loss that jumps; in fine-tuning also words that fall apart or a base text that is lost, at such a rate."""
    jumped, words, lost = unstable(case), words_broken(case), forgetful(case)
    high = case.tuned and case.rate_against_usual() > HIGH
    if not (jumped and (high or not case.tuned or case.rate_against_usual() > 1)) and not (high and (words or lost)):
        return None
    seen = ["training falls apart"] * bool(jumped) + ["its words fall apart"] * bool(words)
    seen += ["the base's text is lost"] * bool(lost)
    rate = case.rate_evidence() if case.tuned else f"peak learning rate {case.stage.info.lr:g}"
    return Diagnosis(
        "rate-too-high",
        case.stage.name,
        ", ".join(seen),
        "the learning rate is too high: each step undoes more than it teaches",
        _other_rate(case, "lower lr to a third or a tenth"),
        (rate, *jumped, *words, *lost),
    )


def _other_rate(case: Case, by_hand: str) -> str:
    """The cure for a wrong rate, by how the rate was come by; only fine-tuning can have one found."""
    if not case.tuned:
        return by_hand
    if case.settings.get("find_lr"):
        return f"{by_hand} by hand (--lr): this one was found by find_lr (--find-lr)"
    return f"{by_hand}, or have one found: find_lr = true (--find-lr)"


def rate_too_low(case: Case) -> Diagnosis | None:
    """Form not learned, or a loss that hardly fell, at a small part of the usual rate."""
    info = case.stage.info
    if not case.tuned or case.rate_against_usual() >= LOW or unstable(case):
        return None
    signs = form_missing(case)
    if info.loss is not None and info.loss_start is not None and info.loss > HARDLY_FELL * info.loss_start:
        signs.append(f"training loss {info.loss_start:.3f} at step 1, {info.loss:.3f} at the end")
    if not signs:
        return None
    return Diagnosis(
        "rate-too-low",
        case.stage.name,
        "it still goes on with text and has hardly learned to answer",
        "the learning rate is too low for so many steps",
        _other_rate(case, "raise lr to the usual rate"),
        (case.rate_evidence(), *signs),
    )


def replay_crowds_out(case: Case) -> Diagnosis | None:
    """Form not learned, where nearly all that was trained is replayed text."""
    form = form_missing(case) if case.tuned else []
    if not form or case.replayed() <= CROWDED or case.rate_against_usual() < LOW or unstable(case):
        return None
    return Diagnosis(
        "replay-crowds-out",
        case.stage.name,
        "it still goes on with text and has hardly learned to answer",
        "nearly all it was trained on is replayed text",
        "lower replay to a half or less",
        (f"{case.replayed():.0%} of the trained tokens are replayed text", *form),
    )


def too_few_steps(case: Case) -> Diagnosis | None:
    """Form not learned at a usual rate, after few steps or passes, or while the loss was still falling."""
    form = form_missing(case) if case.tuned else []
    if not form or case.replayed() > CROWDED or unstable(case) or not LOW <= case.rate_against_usual() <= HIGH:
        return None
    info, (source, passes), curve = case.stage.info, case.passes(), case.curve()
    falling = len(curve) > 0 and curve[-1] < STILL_FALLING * curve[-3]
    if passes >= FEW_PASSES and info.steps >= FEW_STEPS and not falling:
        return None
    signs = [f"{info.steps:,} steps, {passes:.2g} passes over '{source}'", case.rate_evidence(), *form]
    if falling:
        signs.append(f"training loss was still falling: {curve[-3]:.3f}, {curve[-2]:.3f}, {curve[-1]:.3f} at the end")
    return Diagnosis(
        "too-few-steps",
        case.stage.name,
        "it still goes on with text and has hardly learned to answer",
        "it was trained too briefly",
        "train for more steps or epochs, until the loss on held-out rows no longer falls",
        tuple(signs),
    )


def too_many_passes(case: Case) -> Diagnosis | None:
    """Answers by heart or broken words after many passes over few rows."""
    if not case.tuned or case.rate_against_usual() > HIGH:
        return None
    (source, passes), learned, words = case.passes(), by_heart(case), words_broken(case)
    copied = case.rates.get("format.verbatim")
    copies = copied is not None and copied.low > COPIED
    if passes <= MANY_PASSES or not learned or not (copies or words):
        return None
    signs = [f"{passes:,.0f} passes over '{source}' of {case.stage.info.ledgers[source].rows_out:,} rows", *learned]
    if copied is not None and copies:
        signs.append(rate_words_of("answers to unseen prompts, copied from training letter for letter", copied))
    return Diagnosis(
        "too-many-passes",
        case.stage.name,
        "it answers unseen prompts with answers it was trained on" if copies else "its words fall apart",
        "it was trained for too many passes on too few rows, and has them by heart",
        "train for fewer epochs, or on more rows",
        (*signs, *words),
    )


def users_words_graded(case: Case) -> Diagnosis | None:
    """The mask was switched off: it is trained to write the user's turns too."""
    if case.settings.get("train_on") != "all_tokens":
        return None
    turns = case.rates.get("format.keeps_its_turn")
    signs = [f"{case.trained_share():.0%} of the tokens of its conversations are trained"]
    return Diagnosis(
        "users-words-trained",
        case.stage.name,
        "it is taught to write the user's words",
        "nothing of the conversations is masked (train_on = all_tokens)",
        "train_on = assistant: only the assistant's words are trained",
        (*signs, *([rate_words_of("answers that never speak for the user", turns)] if turns else [])),
    )


def trained_past_its_best(case: Case) -> Diagnosis | None:
    """The last weights were kept, and an earlier look was surely better."""
    chosen = case.stage.info.chosen
    looks = [look for look in case.stage.looks if look.score is not None]
    if chosen is None or chosen.by != "last" or len(looks) < 2:
        return None
    best, last = max(looks, key=lambda look: look.score or 0.0), looks[-1]
    ended = last.behaviour
    worse = [name for name, rate in best.behaviour.items() if name in ended and ended[name].high < rate.low]
    if not worse:
        return None
    signs = [
        rate_words_of(f"{name.replace('_', ' ')} at step {look.step:,}", look.behaviour[name])
        for name in worse
        for look in (best, last)
    ]
    return Diagnosis(
        "trained-past-its-best",
        case.stage.name,
        "it answered better before the end of training",
        "it was trained on after it behaved best, and the last weights were kept",
        'keep = "behaviour", with evaluate_every set, or fewer steps',
        tuple(signs),
    )


def text_repeated(case: Case) -> Diagnosis | None:
    """Pre-training whose held-out loss has turned, after several passes over its text."""
    if case.tuned:
        return None
    (_, passes) = case.passes()
    for name in names_under(case.stage.log, "held_out."):
        steps, losses = column(case.stage.log, f"held_out.{name}")
        if len(losses) < LOOKS_OF_A_CURVE or passes <= REPEATED or not losses[-1] > OVERFITTED * losses.min():
            continue
        best = int(losses.argmin())
        return Diagnosis(
            "text-repeated",
            case.stage.name,
            "the loss on held-out text has turned and rises",
            "the same text was passed too often, and is learned by heart",
            "fewer epochs, or more text",
            (
                f"held-out loss on '{name}': {losses[best]:.3f} at step {steps[best]:,}, {losses[-1]:.3f} at the end",
                f"training loss at the end {case.stage.info.loss or float('nan'):.3f}",
                f"{passes:.1f} passes over its text",
            ),
        )
    return None


def rows_lost(case: Case) -> Diagnosis | None:
    """Much of some data was left out of training."""
    signs = []
    for name in case.own():
        ledger = case.stage.info.ledgers[name]
        lost = {reason: one.rows for reason, one in ledger.dropped.items() if reason not in KEPT_ASIDE and one.rows}
        if ledger.rows_read and sum(lost.values()) > LOST_ROWS * ledger.rows_read:
            reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(lost.items(), key=lambda one: -one[1]))
            signs.append(f"'{name}': {sum(lost.values()):,} of {ledger.rows_read:,} rows are lost: {reasons}")
    if not signs:
        return None
    return Diagnosis(
        "rows-lost",
        case.stage.name,
        "much of the data was not trained on",
        "rows were left out: they are too long, broken, or cannot be proven",
        'too long: too_long = "split", or a longer context; otherwise mend the rows (`tutelage audit`)',
        tuple(signs),
    )


def base_too_weak(case: Case) -> Diagnosis | None:
    """The base model itself does not write words yet."""
    words = case.rates.get("format.base_words")
    signs = []
    if words is not None and words.high < WEAK_WORDS:
        signs.append(rate_words_of("of the base's words, those that stand in its text", words))
    before = min(((lost.before, text) for text, lost in case.stage.forgetting.items()), default=(0.0, ""))
    if before[0] > WEAK_BITS:
        signs.append(f"the base costs {before[0]:.2f} bits a byte on held-out text '{before[1]}'")
    if not signs:
        return None
    return Diagnosis(
        "base-too-weak",
        case.stage.name,
        "the model it was made from does not write whole words yet",
        "the base was trained too briefly, at a wrong rate, or is too small",
        "train the base longer, or start from a better one, before anything else is changed",
        tuple(signs),
    )


TRAINING: tuple[Check, ...] = (
    rate_too_high,
    base_too_weak,
    rate_too_low,
    replay_crowds_out,
    too_few_steps,
    trained_past_its_best,
    too_many_passes,
    users_words_graded,
    text_repeated,
    rows_lost,
)
