"""Scores move with the wording of the prompt, and with test rows in the training data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tutelage.evaluate.answers import ANSWER, ask_text
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.draws import DRAWS, drawn_effect
from tutelage.lab.effects import above, mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import demo_world, one_step_rows
from tutelage.model.hub import load_model
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import words
from tutelage.world.tasks import names_value
from tutelage.world.values import ATTRIBUTES
from tutelage.world.wordings import ANSWERS, ONE_STEP

ROWS, COPIES = 1200, 4
WORDINGS: Mapping[str, Callable[[str], str]] = {
    "as in training": lambda text: text,
    "lower case": str.lower,
    "a line before": lambda text: f"Question: {text}",
    "a request after": lambda text: f"{text} Please answer briefly.",
    "a greeting before": lambda text: f"Hello! {text}",
    "without a mark": lambda text: text.rstrip("?."),
}
STAGES_OF = {arm: seeded(f"leaks_{arm}", data=f"leaks_{arm}_rows") for arm in ("none", "some")}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
DATA = rows_data(*(f"leaks_{arm}_rows" for arm in STAGES_OF))
RECIPE = recipe_toml(DEMO + DATA, STAGES.values(), {name: ["knowledge"] for name in STAGES})


def asked_rows() -> list[tuple[str, str, str]]:
    """The test: a question about each held-out person, its value, and the right reply."""
    found = []
    for person in demo_world().people("held_out"):
        rng = KeyedRandom("lab leaks", person.index)
        attribute = rng.choice(ATTRIBUTES)
        reply = rng.choice(ANSWERS[attribute]).format_map(words(person, "full"))
        prompt = rng.choice(ONE_STEP[attribute]).format(name=person.name)
        found.append((prompt, person.facts[attribute], reply))
    return found


def rows(copies: int) -> Callable[[], Iterator[Mapping[str, object]]]:
    """Rows about trained people, and every second row of the test so many times in place of some of them."""

    def make() -> Iterator[Mapping[str, object]]:
        leaked = [{"prompt": prompt, "completion": reply} for prompt, _, reply in asked_rows()[::2]] * copies
        yield from leaked
        yield from one_step_rows(ATTRIBUTES, ROWS - len(leaked))()

    return make


def right(run: FinishedRun, stage: str, count: int) -> np.ndarray:
    """Whether each test question is answered right in each wording, float64 [wordings, questions]; an answer that does
    not end is not."""
    asked = asked_rows()[:count]
    prompts = [change(prompt) for change in WORDINGS.values() for prompt, _, _ in asked]
    answers = ask_text(load_model(run.run.folder / stage), prompts, ANSWER, f"answers of {stage}")
    golds = [value for _, value, _ in asked] * len(WORDINGS)
    outcomes = [
        names_value(answer.text, gold).outcome == "right" and answer.generation.finish_reason == "stop"
        for answer, gold in zip(answers, golds, strict=True)
    ]
    return np.array(outcomes, np.float64).reshape(len(WORDINGS), -1)


def spread(outcomes: np.ndarray) -> float:
    """The standard deviation of the wordings' scores, of outcomes [wordings, questions]."""
    return float(outcomes.mean(axis=-1).std())


def beyond_chance(outcomes: np.ndarray, seed: int) -> np.ndarray:
    """The spread less that of outcomes whose wordings are permuted within each question, float64 [permutations]."""
    rng = np.random.default_rng(seed)
    return spread(outcomes) - np.array([spread(rng.permuted(outcomes, axis=0)) for _ in range(DRAWS)])


def measure(runs: RunCache) -> Conclusion:
    """The score of the same questions by wording, and of leaked and other questions."""
    run = runs.run(RECIPE, "demo", {"leaks_none_rows": rows(0), "leaks_some_rows": rows(COPIES)})
    count = 8 if runs.overrides else None
    found = {arm: [right(run, stage, count or 10**6) for stage in stages] for arm, stages in STAGES_OF.items()}
    clean, leaky = found.values()
    chance = [beyond_chance(one, seed) for seed, one in enumerate(clean)]
    primary = [
        drawn_effect("spread over wordings beyond permuted ones", float(np.mean([c.mean() for c in chance])),
                     np.mean(chance, axis=0), [float(c.mean()) for c in chance], least=0.01, kind="points"),
        mean_effect("leaked questions, with leaks minus without", [one[0, ::2] for one in leaky],
                    [one[0, ::2] for one in clean]),
    ]  # fmt: skip
    control = above(run, "questions right above guessing", "knowledge.held_out", list(STAGES_OF["none"]), GUESS)
    table: list[list[str | Estimate]] = [
        [f"wording: {name}", *(mean_estimate([one[place] for one in ones]) for ones in (clean, leaky))]
        for place, name in enumerate(WORDINGS)
    ]
    table += [
        [label, *(mean_estimate([one[0, first::2] for one in ones]) for ones in (clean, leaky))]
        for label, first in (("leaked questions", 0), ("other questions", 1))
    ]
    bars = [Bar(name, "", mean_estimate([one[place] for one in clean])) for place, name in enumerate(WORDINGS)]
    plot = IntervalPlot("The same questions by wording, no leaks", "right", bars)
    header = ["questions", "right, no leaks", f"right, half of the test {COPIES} times in the rows"]
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="29",
    name="wording-and-leaks",
    claim="Scores move with the wording of the prompt, and with test rows in the training data.",
    source="LLM pipeline (lecture)",
    published="No figures; formats alone move accuracy by up to 76 points (arXiv 2310.11324).",
    setup=f"{DEMO_SETUP}It is fine-tuned on {ROWS:,} questions about half of the people (3 epochs, lr 3e-3, "
    f"{len(SEEDS)} seeds), or with every second row of the test {COPIES} times in place of some of them. The test "
    "has a question about everybody else, in six wordings. The highest score is always above the lowest, so the "
    "spread of the wordings' scores is compared with that of wordings permuted within each question.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=12,
)
