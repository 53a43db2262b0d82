"""Before and after: how a base model goes on with a prompt, beside what the models made from it answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tutelage.html import Html, badge, details, heading, join, paragraph, section, tag
from tutelage.report.read import Finished, Sample
from tutelage.report.words import set_words

SHOWN = 3  # of each set; the others are there for those who open them
LONGEST = 280  # characters of a text that are shown; a base model seldom stops by itself


def before_and_after(stages: Sequence[Finished], bases: Mapping[str, str]) -> Html | None:
    """The samples of the stages' format evaluations, None where there are none; `bases` names each stage's base."""
    families: dict[str, list[Finished]] = {}
    for stage in stages:
        if stage.samples:
            families.setdefault(bases[stage.name], []).append(stage)
    if not families:
        return None
    parts = [part for base, family in families.items() for part in _family(base, family, len(families) > 1)]
    note = (
        "The first prompts of each set, not chosen ones. An answer keeps the form when it says something, stops by "
        f"itself and never speaks for the user. Texts are cut after {LONGEST} characters; whole ones stand in "
        "STAGE/evaluate/format.json."
    )
    return section("Before and after", *parts, note=note)


@dataclass
class _Exchange:
    """A prompt, how the base model goes on with it, and what each stage's model answers."""

    prompt: str
    before: str
    after: dict[str, Sample] = field(default_factory=dict)


def _family(base: str, stages: Sequence[Finished], named: bool) -> list[Html]:
    """All exchanges with the stages that hang on one base model, by set of prompts."""
    sets: dict[str, dict[str, _Exchange]] = {}
    for stage in stages:
        for sample in stage.samples:
            prompts = sets.setdefault(sample.set, {})
            exchange = prompts.setdefault(sample.prompt, _Exchange(sample.prompt, sample.before))
            exchange.after[stage.name] = sample
    parts: list[Html] = []
    for name, prompts in sets.items():
        title = f"{set_words(name)}: from {base}" if named else set_words(name)
        shown = [_shown(base, exchange) for exchange in prompts.values()]
        parts += [heading(title), *shown[:SHOWN]]
        if rest := shown[SHOWN:]:
            parts.append(details(f"{len(rest)} more", *rest))
    return parts


def _shown(base: str, exchange: _Exchange) -> Html:
    voices = [_voice(base, "goes on with", exchange.before, None)]
    voices += [_voice(name, "answers", sample.after, sample.complies) for name, sample in exchange.after.items()]
    prompt = tag("p", exchange.prompt, attributes={"class": "prompt"})
    return tag("div", prompt, tag("div", *voices, attributes={"class": "voices"}), attributes={"class": "exchange"})


def _voice(name: str, does: str, text: str, complies: bool | None) -> Html:
    shown = text.strip()
    cut = f"{shown[:LONGEST].rstrip()} …" if len(shown) > LONGEST else shown
    verdict = None if complies is None else badge("in form", "good") if complies else badge("not in form", "bad")
    said = tag("p", cut, attributes={"class": "said"}) if shown else paragraph("nothing", muted=True)
    who = tag("p", join([tag("strong", name), f" {does} ", verdict]), attributes={"class": "who"})
    return tag("div", who, said)
