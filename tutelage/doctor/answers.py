"""What can be wrong with what a trained model can do: how far it generalises, what it knows, what it forgot."""

from __future__ import annotations

from collections import Counter

from tutelage.doctor.case import Case, Diagnosis, rate_words_of
from tutelage.doctor.symptoms import forgetful
from tutelage.doctor.training import HIGH, MANY_PASSES, Check
from tutelage.evaluate.statistics import rate
from tutelage.report.abilities import FORM, NO_SET
from tutelage.report.words import set_words

FAR = "format.out_of_domain"  # prompts that no one would expect it to answer
ONE_ANSWER, ENOUGH_SAMPLES = 0.5, 16
KNOWN, UNKNOWN = 0.4, 0.5  # of what was asked in training; and of that, the share for people it only read of


def base_forgotten(case: Case) -> Diagnosis | None:
    """The base's own text has become much harder for it, at a usual rate."""
    lost = forgetful(case)
    if not lost or case.rate_against_usual() > HIGH:
        return None
    source, passes = case.passes()
    cause, cure = "nothing of the base's text was replayed", "replay = 0.5 (--replay)"
    if case.replayed() > 0:
        cause, cure = "too little of the base's text was replayed for so much training", "a larger replay"
    if passes > MANY_PASSES:
        cause, cure = f"{cause}, over many passes", f"{cure}, or fewer epochs"
    return Diagnosis(
        "base-forgotten",
        case.stage.name,
        "the base's text got worse",
        cause,
        f"{cure}; LoRA and a lower rate help too",
        (*lost, f"{case.replayed():.0%} of the trained tokens replayed", f"{passes:.3g} passes over '{source}'"),
    )


def too_few_kinds_of_prompts(case: Case) -> Diagnosis | None:
    """Form kept on prompts of training, and not on others near them."""
    seen = case.rates.get("format.seen")
    others = {
        name: of for name, of in case.rates.items() if name.startswith("format.") and name not in FORM | NO_SET | {FAR}
    }
    if seen is None or not others:
        return None
    name, worst = min(others.items(), key=lambda item: item[1].high)
    if seen.low <= worst.high:
        return None
    unseen = set_words(name.removeprefix("format.")).lower()
    return Diagnosis(
        "too-few-kinds-of-prompts",
        case.stage.name,
        "it answers prompts it was trained on, and not others",
        "its prompts are too few or too much alike to generalise from",
        "more kinds of prompts rather than more of the same (`tutelage audit` shows how they cluster)",
        (rate_words_of("form kept on prompts it was trained on", seen), rate_words_of(f"on {unseen}", worst)),
    )


def one_answer_for_all(case: Case) -> Diagnosis | None:
    """Most unlike prompts get the same answer, in form and one of those it was trained on. A model that babbles often
    says the same everywhere too, and its data is not to blame."""
    answers = {sample.prompt: sample.after.strip() if sample.complies else "" for sample in case.stage.samples}
    said = Counter(answer for answer in answers.values() if answer)
    if len(answers) < ENOUGH_SAMPLES or not said:
        return None
    ((answer, count),) = said.most_common(1)
    share, learned = rate(count, len(answers)), case.rates.get("format.verbatim")
    if share.low <= ONE_ANSWER or (learned is not None and learned.high < share.low):
        return None
    shown = answer if len(answer) <= 80 else f"{answer[:77]}..."
    return Diagnosis(
        "one-answer-for-all",
        case.stage.name,
        "it gives the same answer to nearly everything",
        "one answer outweighs all others in its data",
        "fewer rows with that answer (`tutelage audit` counts them)",
        (rate_words_of(f"sampled prompts answered with '{shown}'", share),),
    )


def facts_not_extractable(case: Case) -> Diagnosis | None:
    """It answers about people it was asked of in training, and not about those it only read of."""
    trained, held_out = (case.rates.get(f"knowledge.{name}") for name in ("trained", "held_out"))
    if trained is None or held_out is None or trained.low <= KNOWN or held_out.high >= UNKNOWN * trained.low:
        return None
    signs = [rate_words_of("about people it was asked of in training", trained)]
    signs.append(rate_words_of("about people it only read of", held_out))
    cloze = case.rates.get("knowledge.cloze.held_out")
    if cloze is not None:
        signs.append(rate_words_of("unfinished sentences about the same people, finished right", cloze))
    return Diagnosis(
        "facts-not-extractable",
        case.stage.name,
        "it has learned its answers, and cannot answer from what it read",
        "each fact was read in too few wordings to be asked for (arXiv 2309.14316)",
        "tell each fact in more wordings in pre-training; more questions do not help",
        tuple(signs),
    )


ANSWERS: tuple[Check, ...] = (
    too_few_kinds_of_prompts,
    one_answer_for_all,
    facts_not_extractable,
    base_forgotten,
)
