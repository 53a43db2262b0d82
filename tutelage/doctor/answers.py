"""What can be wrong with what a trained model can do: how far it generalises, what it knows, what it forgot."""

from __future__ import annotations

from collections import Counter

from tutelage.doctor.case import Case, Diagnosis, rate_evidence
from tutelage.doctor.fixes import length_times, lr_times, more_replay
from tutelage.doctor.symptoms import forgot_base
from tutelage.doctor.training import HIGH, MANY_EPOCHS, Check
from tutelage.evaluate.statistics import rate
from tutelage.report.labels import prompt_set_label

SEEN, FAR = "format.prompts.seen", "format.prompts.out_of_domain"  # FAR: no one would expect it to answer these
ONE_ANSWER, ENOUGH_SAMPLES = 0.5, 16
# The rate on questions about trained people; and the share of that rate reached on people it only read about.
KNOWN, UNKNOWN = 0.4, 0.5


def base_forgotten(case: Case) -> Diagnosis | None:
    """The loss on the base model's text rose, at a usual learning rate."""
    forgotten = forgot_base(case)
    if not forgotten or case.lr_ratio() > HIGH:
        return None
    dataset, epochs = case.most_epochs()
    cause, fix = "none of the base model's text was replayed", "replay half of the trained tokens (--replay 0.5)"
    if not case.knows_training_text():
        cause = "too much training on its own rows alone"
        fix = "fewer epochs, or replay a text like the base model's (--replay FILE=SHARE)"
    elif case.replay_share() > 0:
        cause, fix = "too little of the base model's text was replayed for so much training", "a larger replay"
    if epochs > MANY_EPOCHS and case.knows_training_text():
        cause, fix = f"{cause}, over many epochs", f"{fix}, or fewer epochs"
    gentler = (
        "a lower learning rate helps too" if case.settings.get("lora") else "LoRA and a lower learning rate help too"
    )
    settings = (
        more_replay(case) or length_times(case, 1 / 3 if epochs > MANY_EPOCHS else 1 / 2) or lr_times(case, 1 / 3)
    )
    return Diagnosis(
        "base-forgotten",
        case.stage.name,
        "it forgot the base model's text",
        cause,
        f"{fix}; {gentler}",
        (
            *forgotten,
            f"{case.replay_share():.0%} of the trained tokens are replayed text",
            f"{epochs:.3g} epochs of '{dataset}'",
        ),
        settings,
    )


def too_few_kinds_of_prompts(case: Case) -> Diagnosis | None:
    """The format is kept on prompts of training, and not on similar ones."""
    seen = case.rates.get(SEEN)
    others = {
        name: rate
        for name, rate in case.rates.items()
        if name.startswith("format.prompts.") and name not in (SEEN, FAR)
    }
    if seen is None or not others:
        return None
    name, worst = min(others.items(), key=lambda item: item[1].high)
    if seen.low <= worst.high:
        return None
    unseen = prompt_set_label(name.removeprefix("format.prompts.")).lower()
    return Diagnosis(
        "too-few-kinds-of-prompts",
        case.stage.name,
        "it answers prompts it was trained on, and not others",
        "its prompts are too few or too similar to generalise from",
        "more kinds of prompts rather than more of the same (`tutelage audit` shows how they cluster)",
        (rate_evidence("format kept on prompts it was trained on", seen), rate_evidence(f"on {unseen}", worst)),
    )


def one_answer_for_all(case: Case) -> Diagnosis | None:
    """Most different prompts get the same answer, in the chat format and one that was trained on. A model that writes
    nonsense often repeats itself too, and its data is not the cause."""
    answers = {sample.prompt: sample.after.strip() if sample.compliant else "" for sample in case.stage.samples}
    counts = Counter(answer for answer in answers.values() if answer)
    if len(answers) < ENOUGH_SAMPLES or not counts:
        return None
    ((answer, count),) = counts.most_common(1)
    share, verbatim = rate(count, len(answers)), case.rates.get("format.verbatim")
    if share.low <= ONE_ANSWER or (verbatim is not None and verbatim.high < share.low):
        return None
    shown = answer if len(answer) <= 80 else f"{answer[:77]}..."
    return Diagnosis(
        "one-answer-for-all",
        case.stage.name,
        "it gives the same answer to nearly every prompt",
        "one answer dominates its data",
        "fewer rows with that answer (`tutelage audit` counts them)",
        (rate_evidence(f"sampled prompts answered with '{shown}'", share),),
    )


def facts_not_extractable(case: Case) -> Diagnosis | None:
    """It answers about people it was asked about in training, and not about those it only read about."""
    trained, held_out = (case.rates.get(f"knowledge.{name}") for name in ("trained", "held_out"))
    if trained is None or held_out is None or trained.low <= KNOWN or held_out.high >= UNKNOWN * trained.low:
        return None
    evidence = [rate_evidence("right about people it was asked about in training", trained)]
    evidence.append(rate_evidence("right about people it only read about", held_out))
    cloze = case.rates.get("knowledge.cloze.held_out")
    if cloze is not None:
        evidence.append(rate_evidence("unfinished sentences about the same people, completed correctly", cloze))
    return Diagnosis(
        "facts-not-extractable",
        case.stage.name,
        "it has learned its answers, and cannot answer from what it read",
        "each fact occurs in too few wordings to be extracted (arXiv 2309.14316)",
        "write each fact in more wordings in pre-training; more questions do not help",
        tuple(evidence),
    )


ANSWERS: tuple[Check, ...] = (
    too_few_kinds_of_prompts,
    one_answer_for_all,
    facts_not_extractable,
    base_forgotten,
)
