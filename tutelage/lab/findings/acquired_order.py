"""Grammar is learned before facts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tutelage.lab.base_recipe import BASE_LR, SEEDS
from tutelage.lab.draws import drawn_effect, over_items
from tutelage.lab.effects import mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import text_logprobs
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.model.hub import load_model
from tutelage.stages.kept import kept_models
from tutelage.world.biographies import SINGLE
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person, words
from tutelage.world.society import World, WorldSettings
from tutelage.world.values import ATTRIBUTES, VALUES

PEOPLE, STEPS, SAVED, PAIRS, SHARE = 100, 330, 15, 300, 0.9
SETTINGS = WorldSettings(people=PEOPLE, versions=20, wordings=6, unknown=0.0)
STAGES = [f"base_{seed}" for seed in SEEDS]
RECIPE = f"""\
name      = "lab"
model     = {{ depth = 4, width = 128, context = 256, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = 2048, data = ["world"] }}

[data]
world = {{ kind = "world", people = {PEOPLE}, versions = 20, wordings = 6, unknown = 0.0 }}

[stages]
""" + "\n".join(
    f'{name} = {{ kind = "pretrain", data = {{ world = 1 }}, steps = {STEPS}, batch_tokens = 4096, lr = {BASE_LR}, '
    f'seed = {seed}, save_every = {SAVED}, keep_checkpoints = {STEPS // SAVED}, optimizer = {{ kind = "muon" }} }}'
    for seed, name in enumerate(STAGES)
)


def grammar_pair(person: Person, rng: KeyedRandom) -> tuple[str, str, str]:
    """A sentence up to a verb, and the verb as it agrees with its subject and as it does not."""
    right, wrong = rng.choice((("is", "are"), ("was", "were"), ("has", "have")))
    if person.pronoun == "they":
        return "They", f" {wrong}", f" {right}"
    return person.name, f" {right}", f" {wrong}"


def fact_pair(person: Person, rng: KeyedRandom) -> tuple[str, str, str]:
    """A sentence up to a value, and the person's value and another one."""
    attribute = rng.choice(ATTRIBUTES)
    value = person.facts[attribute]
    other = rng.choice([one for one in VALUES[attribute] if one != value])
    slots = words(person, "full")
    wordings = [
        text for text in SINGLE[attribute] if f"{{{attribute}}}." in text and text.startswith(("{Who}", "{Whose}"))
    ]
    before = rng.choice(wordings).partition(f"{{{attribute}}}")[0].format_map(slots).rstrip()
    return before, f" {value}", f" {other}"


def pairs(count: int) -> Mapping[str, list[tuple[str, str, str]]]:
    """Minimal pairs of both kinds about the same people. Every second subject is plural, so that the more frequent verb
    is right in a half of them, as it is by chance."""
    world = World(SETTINGS)
    everyone = [world.person(number) for number in range(PEOPLE)]
    groups = [[one for one in everyone if (one.pronoun == "they") == plural] for plural in (False, True)]
    asked = [groups[number % 2][number // 2 % len(groups[number % 2])] for number in range(count)]
    return {
        name: [make(person, KeyedRandom("lab pair", name, number)) for number, person in enumerate(asked)]
        for name, make in (("grammar", grammar_pair), ("facts", fact_pair))
    }


def preferred(run: FinishedRun, stage: str, asked: Mapping[str, list[tuple[str, str, str]]]) -> dict[int, np.ndarray]:
    """Whether the right one of each pair is likelier after each kept step: float64 [kinds, pairs]."""
    found = {}
    for step, folder in kept_models(run.run.folder / stage).items():
        checkpoint, rows = load_model(folder), []
        for triples in asked.values():
            before, right, wrong = (list(column) for column in zip(*triples, strict=True))
            gap = text_logprobs(checkpoint, list(zip(before, right, strict=True)))
            gap -= text_logprobs(checkpoint, list(zip(before, wrong, strict=True)))
            rows.append((gap > 0).astype(np.float64))
        found[step] = np.array(rows)
    return found


def log_steps(steps: np.ndarray, rates: np.ndarray) -> float:
    """log2 of the step at which a curve of rates [steps] first has SHARE of what it gains over a half in the end."""
    level = 0.5 + SHARE * (rates[-1] - 0.5)
    place = int(np.argmax(rates >= level))
    if place == 0:
        return float(np.log2(steps[0]))
    low, high = rates[place - 1], rates[place]
    part = (level - low) / max(high - low, 1e-9)
    return float(np.log2(steps[place - 1] + part * (steps[place] - steps[place - 1])))


def measure(runs: RunCache) -> Conclusion:
    """Minimal pairs that are distinguished, by the steps of pre-training."""
    run = runs.run(RECIPE, "order")
    asked = pairs(8 if runs.overrides else PAIRS)
    by_seed = [preferred(run, stage, asked) for stage in STAGES]
    steps = np.array(sorted(by_seed[0]))
    curves = [np.array([one[step] for step in steps]) for one in by_seed]  # [steps, kinds, pairs]

    def later(arrays: list[np.ndarray]) -> float:
        rates = np.mean([one.mean(axis=-1) for one in arrays], axis=0)
        return log_steps(steps, rates[:, 1]) - log_steps(steps, rates[:, 0])

    primary = drawn_effect(f"doublings of the steps to {SHARE:.0%} of the gain, facts minus grammar",
                           *over_items(later, curves), least=0.5)  # fmt: skip
    last = [one[-1, 1] for one in curves]
    value, draws, seeds = over_items(lambda arrays: float(np.mean(arrays)) - 0.5, last)
    control = drawn_effect("facts distinguished in the end, above a half", value, draws, seeds, kind="points")
    table: list[list[str | Estimate]] = []
    lines = []
    for kind, name in enumerate(asked):
        curve = [mean_estimate([one[place, kind] for one in curves]) for place in range(len(steps))]
        reached = 2 ** log_steps(steps, np.array([one.value for one in curve]))
        tokens = reached * 4096
        table.append([name, curve[0], curve[-1], f"{reached:.0f}", f"{tokens:,.0f}"])
        lines.append(Line(name, [float(step) for step in steps], curve))
    plot = LinePlot("Minimal pairs along pre-training", "steps", "the right one is likelier", lines, log_x=True)
    header = [
        "pairs",
        f"right after {steps[0]} steps",
        "right in the end",
        f"steps to {SHARE:.0%} of the gain",
        "tokens",
    ]
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N15",
    name="acquired-order",
    claim="Linguistic knowledge is learned before knowledge of the world.",
    source="Training LLMs (lecture), after arXiv 2011.04946",
    published="Linguistic probes are at their level after 1 to 10M words; common sense still rises at 30B.",
    setup=f"The demo's model (4 layers, width 128) reads a world of {PEOPLE} people for {STEPS} steps of 4,096 tokens, "
    f"{len(SEEDS)} seeds; every {SAVED}th step is kept. {PAIRS} pairs of each kind, chance 50%: the verb after a "
    "subject, every second one plural, agrees with it or not; the value of a fact is the person's or another one. What "
    f"counts is when each first has {SHARE:.0%} of its own final gain over a half. Intervals are over pairs.",
    folder="order",
    recipe=RECIPE,
    quick=("model.depth=1", "model.width=32", "tokenizer.vocab=512", "data.world.people=20", "data.world.versions=2",
           *(f"stages.{name}.{change}" for name in STAGES for change in ("steps=4", "save_every=2"))),
    measure=measure,
    minutes=12,
)  # fmt: skip
