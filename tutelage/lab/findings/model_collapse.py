"""Models that are trained on samples of models collapse, unless original text is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import continue_text
from tutelage.lab.base_recipe import BASE_LR, SEEDS
from tutelage.lab.effects import mean_effect, mean_estimate, unpaired_effect
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import RunCache
from tutelage.model.hub import load_model
from tutelage.scoring.extract import normalise
from tutelage.world.grading import FULL_NAME, values_named
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person
from tutelage.world.society import World, WorldSettings
from tutelage.world.values import ATTRIBUTES

GENERATIONS, STEPS, TEXTS = 4, 200, 400
SETTINGS = WorldSettings(people=20, versions=20, unknown=0.0, arithmetic=0.0, everyday=0.0)
ARMS = {"samples": 0.0, "kept": 0.5}  # the share of original texts in every generation after the first
LABELS = {"samples": "samples alone", "kept": "samples and originals"}


def recipe(stage: str, seed: int) -> str:
    """The recipe of a generation; all have the tokenizer of the original text."""
    return f"""\
name      = "lab"
model     = {{ depth = 2, width = 128, context = 256, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = 512, data = ["original"] }}

[data]
original = {{ kind = "documents", path = "ROWS/original.jsonl" }}
text     = {{ kind = "documents", path = "ROWS/text.jsonl" }}

[stages.{stage}]
kind         = "pretrain"
data         = {{ text = 1 }}
steps        = {STEPS}
batch_tokens = 2048
lr           = {BASE_LR}
seed         = {seed}
optimizer    = {{ kind = "muon" }}
"""


@cache
def originals() -> tuple[str, ...]:
    """Biographies in random order: TEXTS of them."""
    texts = [one.text for one in World(SETTINGS).documents() if (one.meta or {}).get("kind") == "biography"]
    return tuple(KeyedRandom("lab collapse").shuffled(texts)[:TEXTS])


@cache
def people() -> Mapping[str, Person]:
    """The people by their normalised names."""
    world = World(SETTINGS)
    return {normalise(person.name): person for split in ("train", "held_out") for person in world.people(split)}


def true_share(text: str) -> float:
    """The share of the seven facts of the first person whom a text names that it states right, and not wrong too."""
    named = FULL_NAME.search(normalise(text))
    person = people().get(named.group()) if named else None
    if person is None:
        return 0.0
    return float(np.mean([values_named(one, text) == {normalise(person.facts[one])} for one in ATTRIBUTES]))


def distinct(texts: list[str]) -> float:
    """The share of three words in a row that occur for the first time."""
    grams = [tuple(words[i : i + 3]) for words in map(str.split, texts) for i in range(len(words) - 2)]
    return len(set(grams)) / max(1, len(grams))


def generation(runs: RunCache, arm: str, number: int, seed: int, texts: list[str]) -> list[str]:
    """Train a generation on texts, and draw as many from it as there are originals."""
    stage = f"{arm}_{number}_{seed}" if number else f"first_{seed}"

    def rows(source: list[str]) -> Iterator[Mapping[str, object]]:
        return ({"text": text} for text in source)

    overrides = (*runs.overrides[:2], f"stages.{stage}.steps=2") if runs.overrides else ()
    here = RunCache(runs.cache, overrides, runs.finished)
    files = {"original": lambda: rows(list(originals())), "text": lambda: rows(texts)}
    run = here.run(recipe(stage, seed), f"collapse-{stage}", files).run
    count = 12 if runs.overrides else TEXTS
    settings = SamplingSettings(max_tokens=8 if runs.overrides else 160, temperature=1.0, seed=seed)
    return [
        one.text for one in continue_text(load_model(run.folder / stage), [""] * count, settings, f"texts of {stage}")
    ]


def measure(runs: RunCache) -> Conclusion:
    """True facts and distinct word triples of the samples of each generation, with and without original text."""
    first = [generation(runs, "", 0, seed, list(originals())) for seed in SEEDS]
    samples: dict[str, list[list[list[str]]]] = {}  # by arm: generations, seeds, texts
    for arm, share in ARMS.items():
        by_generation = [first]
        for number in range(1, GENERATIONS if not runs.overrides else 2):
            made = []
            for seed in SEEDS:
                before = by_generation[-1][seed]
                kept = list(originals())[: round(share * len(before))]
                made.append(generation(runs, arm, number, seed, [*kept, *before[len(kept) :]]))
            by_generation.append(made)
        samples[arm] = by_generation
    truths = {
        arm: [[np.array(list(map(true_share, texts))) for texts in seeds] for seeds in found]
        for arm, found in samples.items()
    }
    table: list[list[str | Estimate]] = []
    lines = []
    for arm, found in samples.items():
        for number, seeds in enumerate(found):
            triples = float(np.mean([distinct(texts) for texts in seeds]))
            table.append([LABELS[arm], str(number), mean_estimate(truths[arm][number]), f"{triples:.1%}"])
        curve = [mean_estimate(one) for one in truths[arm]]
        lines.append(Line(LABELS[arm], [float(number) for number in range(len(curve))], curve))
    last = {arm: found[-1] for arm, found in truths.items()}
    primary = [
        unpaired_effect(
            "true facts, first generation minus last, samples alone", truths["samples"][0], last["samples"]
        ),
        unpaired_effect(
            "true facts, last generation, originals kept minus samples alone", last["kept"], last["samples"]
        ),
    ]
    level = [np.full(len(one), 1 / 32) for one in truths["samples"][0]]
    control = mean_effect("true facts of the first generation above guessing", truths["samples"][0], level)
    plot = LinePlot("True facts in the samples of each generation", "generation", "of seven facts", lines)
    header = ["trained on", "generation", "facts stated right, of seven", "distinct word triples"]
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="N12",
    name="model-collapse",
    claim="Models that are trained on samples of models lose what the first one knew, unless original text is kept.",
    source="Dataset and SFT (lecture), after Shumailov et al. 2024, Nature 631:755",
    published="Text degenerates within nine generations; with a tenth of original text much less.",
    setup=f"A model (2 layers, width 128) is trained for {STEPS} steps of 2,048 tokens on {TEXTS} biographies of "
    f"{SETTINGS.people} people. {TEXTS} texts are drawn from it at temperature 1, which train the next one from random "
    f"weights, alone or with half of them replaced by originals, for {GENERATIONS} generations: equal steps and texts "
    f"({len(SEEDS)} seeds). Of each sample counts how many of the seven facts of the person whom it names it states "
    "right.",
    folder="collapse-first_0",
    recipe=recipe("first_0", 0),
    quick=("model.depth=1", "model.width=32", "stages.first_0.steps=2"),
    measure=measure,
    minutes=20,
)
