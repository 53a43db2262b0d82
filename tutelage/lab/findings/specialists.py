"""A generalist does a task that combines two it was trained on; specialists have to be chained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from tutelage.evaluate.answers import ANSWER, ask_text
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import demo_world
from tutelage.model.hub import load_model
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person, words
from tutelage.world.values import ATTRIBUTES, VALUES, Attribute
from tutelage.world.wordings import ANSWERS

Row = Mapping[str, object]

ROWS, QUESTIONS = 2000, 100
KEPT: tuple[Attribute, Attribute] = ("role", "instrument")  # what a summary keeps of a passage of three facts
SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
# What each kind of row is asked, and which kinds each model is trained on: equally many rows of each.
PROMPTS = {"summarise": "Summarise: {}", "translate": "Translate: {}", "both": "Summarise, then translate: {}"}
TRAINED = {
    "summariser": ("summarise",),
    "translator": ("translate",),
    "generalist": ("summarise", "translate"),
    "trained_on_both": ("summarise", "translate", "both"),
}
STAGES = {name: seeded(name, "lr = 3e-3", data=f"{name}_rows") for name in TRAINED}
RECIPE = recipe_toml(
    DEMO + rows_data(*(f"{name}_rows" for name in TRAINED)),
    [line for stages in STAGES.values() for line in stages.values()],
    {},
)


def translated(word: str) -> str:
    """A word of a made-up language that has one for each word."""
    rng = KeyedRandom("lab translation", word)
    return "".join(rng.choice(SYLLABLES) for _ in range(3))


def example(person: Person, number: int) -> dict[str, tuple[str, str]]:
    """The question and the answer of each kind about one person, of facts that are drawn for this passage: who knows
    the person's own has to read, too."""
    rng = KeyedRandom("lab specialists", person.index, number)
    person = replace(person, facts={name: rng.choice(VALUES[name]) for name in ATTRIBUTES})
    other = rng.choice([name for name in ATTRIBUTES if name not in KEPT])
    facts = rng.shuffled([*KEPT, other])
    voices = ("full", "pronoun", "pronoun")
    sentences = [
        rng.choice(ANSWERS[name]).format_map(words(person, voice))  # type: ignore[arg-type]
        for name, voice in zip(facts, voices, strict=True)
    ]
    passage, kept = " ".join(sentences), [person.facts[name] for name in KEPT]
    summary, translation = ", ".join(kept), ", ".join(map(translated, kept))
    return {
        "summarise": (PROMPTS["summarise"].format(passage), summary),
        "translate": (PROMPTS["translate"].format(summary), translation),
        "both": (PROMPTS["both"].format(passage), translation),
    }


def rows(kinds: Sequence[str]) -> Callable[[], Iterator[Row]]:
    """Rows about trained people, ROWS of each kind in turn."""

    def make() -> Iterator[Row]:
        for number, person in enumerate(islice(cycle(demo_world().people("train")), ROWS)):
            made = example(person, number)
            for kind in kinds:
                yield {"prompt": made[kind][0], "completion": made[kind][1]}

    return make


def right(run: FinishedRun, stage: str, prompts: Sequence[str], golds: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Whether each answer is the gold one, float64[questions], and the answers."""
    answers = [one.text for one in ask_text(load_model(run.run.folder / stage), prompts, ANSWER, f"answers of {stage}")]
    scores = [float(text.strip(" .") == gold) for text, gold in zip(answers, golds, strict=True)]
    return np.array(scores), answers


def chained(run: FinishedRun, first: str, second: str, examples: Sequence[Mapping[str, tuple[str, str]]]) -> np.ndarray:
    """The task in two calls: the second model translates what the first one wrote."""
    summaries = right(run, first, [one["summarise"][0] for one in examples], [""] * len(examples))[1]
    prompts = [PROMPTS["translate"].format(text) for text in summaries]
    return right(run, second, prompts, [one["translate"][1] for one in examples])[0]


def measure(runs: RunCache) -> Conclusion:
    """Right answers about held-out people: each task, and both tasks in one prompt or in two calls."""
    run = runs.run(RECIPE, "demo", {f"{name}_rows": rows(kinds) for name, kinds in TRAINED.items()})
    count = 4 if runs.overrides else QUESTIONS
    people = list(islice(cycle(demo_world().people("held_out")), count))
    examples = [example(person, ROWS + number) for number, person in enumerate(people)]

    def scores(name: str, kind: str) -> list[np.ndarray]:
        prompts, golds = zip(*(one[kind] for one in examples), strict=True)
        return [right(run, stage, prompts, golds)[0] for stage in STAGES[name]]

    pairs = {"specialists": ("summariser", "translator"), "generalist": ("generalist", "generalist")}
    calls = {
        name: [chained(run, first, second, examples) for first, second in zip(*map(STAGES.get, pair), strict=True)]
        for name, pair in pairs.items()
    }
    one_prompt = {name: scores(name, "both") for name in ("generalist", "trained_on_both")}
    tasks = {
        "specialists": (scores("summariser", "summarise"), scores("translator", "translate")),
        "generalist": (scores("generalist", "summarise"), scores("generalist", "translate")),
    }
    table: list[list[str | Estimate]] = [
        [name, *(mean_estimate(part) for part in parts), mean_estimate(calls[name])] for name, parts in tasks.items()
    ]
    arms = {
        "generalist, one prompt": one_prompt["generalist"],
        "generalist, two calls": calls["generalist"],
        "specialists, two calls": calls["specialists"],
        "trained on both, one prompt": one_prompt["trained_on_both"],
    }
    nothing = [np.zeros(count) for _ in SEEDS]
    primary = mean_effect("generalist, one prompt, above 0", one_prompt["generalist"], nothing)
    control = mean_effect("specialists, two calls, above 0", calls["specialists"], nothing)
    bars = [Bar(name, "held-out people", mean_estimate(found)) for name, found in arms.items()]
    plot = IntervalPlot("Summarise, then translate", "right", bars)
    return Conclusion(Table(["model", "summarise", "translate", "two calls"], table), [plot], [primary], control)


FINDING = Finding(
    number="25",
    name="specialists",
    claim="A model that is trained on two tasks does their combination in one prompt, without training on it.",
    source="Training LLMs (lectures)",
    published="No figures; specialists (an encoder with a head for each task) have to be chained.",
    setup=f"{DEMO_SETUP}It is fine-tuned ({ROWS:,} rows of each task, 3 epochs, lr 3e-3, {len(SEEDS)} seeds) to "
    "summarise passages of three facts, drawn for each passage, as two words, to translate two words into a made-up "
    "language, on both tasks, or on both and their combination. Then 100 new passages about held-out people are "
    "summarised and translated: by the generalist in one prompt, which it was never trained on, and by specialists "
    "in two calls. An answer is right if both words are.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=20,
)
