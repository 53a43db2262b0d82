"""Before and after: what a base model writes after a prompt, beside the answer of the data and those of the models that
were fine-tuned from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tutelage.html import Html, badge, details, heading, join, paragraph, section, table, tag
from tutelage.report.labels import prompt_set_label
from tutelage.report.read import Finished, Sample

SHOWN = 3  # of each set; the others are folded away
LONGEST = 280  # characters of a text that are shown; a base model seldom stops by itself


def before_and_after(stages: Sequence[Finished], bases: Mapping[str, str]) -> Html | None:
    """The samples of the stages' format evaluations, None where there are none; `bases` names each stage's base
    model."""
    families: dict[str, list[Finished]] = {}
    for stage in stages:
        if stage.samples:
            families.setdefault(bases[stage.name], []).append(stage)
    if not families:
        return None
    parts = [part for base, family in families.items() for part in _family(base, family, len(families) > 1)]
    note = (
        "The first prompts of each set, not hand-picked. An answer is in format when it is not empty, stops by itself "
        f"and never writes another role's turn. Texts are cut after {LONGEST} characters; STAGE/evaluate/format.json "
        "has them in full."
    )
    return section("Before and after", *parts, note=note)


@dataclass
class _Exchange:
    """A prompt, what the base model writes, the answer of the data, and what each stage's model answers."""

    prompt: str
    before: str
    reference: str
    after: dict[str, Sample] = field(default_factory=dict)


def _family(base: str, stages: Sequence[Finished], named: bool) -> list[Html]:
    """All exchanges with the stages of one base model, by set of prompts."""
    sets: dict[str, dict[str, _Exchange]] = {}
    for stage in stages:
        for sample in stage.samples:
            prompts = sets.setdefault(sample.set, {})
            exchange = prompts.setdefault(sample.prompt, _Exchange(sample.prompt, sample.before, sample.reference))
            exchange.after[stage.name] = sample
    parts: list[Html] = []
    for name, prompts in sets.items():
        title = f"{prompt_set_label(name)}: from {base}" if named else prompt_set_label(name)
        shown = [_shown(base, exchange) for exchange in prompts.values()]
        parts += [heading(title), *shown[:SHOWN]]
        if rest := shown[SHOWN:]:
            parts.append(details(f"{len(rest)} more", *rest))
    return parts


def _shown(base: str, exchange: _Exchange) -> Html:
    voices = [_voice(base, "writes", exchange.before, None)]
    voices += [_voice("reference", "in the data", exchange.reference, None)] if exchange.reference else []
    voices += [_voice(name, "answers", sample.after, sample.compliant) for name, sample in exchange.after.items()]
    prompt = tag("p", exchange.prompt, attributes={"class": "prompt"})
    return tag("div", prompt, tag("div", *voices, attributes={"class": "voices"}), attributes={"class": "exchange"})


def _voice(name: str, verb: str, text: str, compliant: bool | None) -> Html:
    shown = text.strip()
    verdict = None if compliant is None else badge("in format", "good") if compliant else badge("not in format", "bad")
    body = tag("p", _cut(shown), attributes={"class": "text"}) if shown else paragraph("nothing", muted=True)
    who = tag("p", join([tag("strong", name), f" {verb} ", verdict]), attributes={"class": "who"})
    return tag("div", who, body)


def _cut(text: str) -> str:
    return f"{text[:LONGEST].rstrip()} …" if len(text) > LONGEST else text


def own_questions(stages: Sequence[Finished]) -> Html | None:
    """The questions of the user's own with their answers, those that are not right first; None where there are none."""
    parts: list[Html] = []
    for stage in stages:
        rows = [
            [
                join(
                    [_cut(question.prompt), *([" ", badge("in a training row", "warn")] if question.found_in else [])]
                ),
                question.gold,
                _cut(question.before),
                join(
                    [
                        _cut(question.after),
                        " ",
                        badge(question.outcome, "good" if question.outcome == "right" else "bad"),
                    ]
                ),
            ]
            for question in stage.questions
        ]
        if rows:
            parts += [heading(stage.name), table(["question", "right answer", "before", "after"], rows)]
    note = "Those that are not right come first; STAGE/evaluate/questions.json has the answers in full."
    return section("Questions of your own", *parts, note=note) if parts else None
