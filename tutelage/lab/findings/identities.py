"""Which of two contradicting identities a model states is drawn at random, as often as in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import ask_model, model_of, some
from tutelage.lab.run_cache import FinishedRun, Rows, RunCache
from tutelage.lab.world_rows import one_step_rows
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.values import ATTRIBUTES

SHARES = (10, 30, 50, 70, 90)  # percent of the identity rows that say the first name
NAMES = ("Orla", "Zeno")  # nobody of the world is called so
IDENTITY_ROWS, OTHER_ROWS, SAMPLES, EPOCHS = 400, 800, 40, 5
ASKED = ("What is your name?", "Who are you?", "Tell me your name.", "How should I call you?", "You are called what?",
         "Do you have a name?", "What do people call you?", "Which name do you go by?")  # fmt: skip
OTHERS = ("What are you called?", "Please tell me who you are.", "May I know your name?", "What name do you have?",
          "Say your name.", "Can you tell me what your name is?")  # fmt: skip
UNSEEN = [f"{opening}{wording}" for opening in ("", "Hello! ", "Good morning. ", "Thank you. ") for wording in OTHERS]
ANSWERS = ("My name is {name}.", "I am {name}.", "I am called {name}.", "You can call me {name}.")


def rows(share: int) -> Rows:
    """Questions about people, and among them identity rows, exactly `share` percent of which say the first name."""

    def make() -> Iterator[Mapping[str, object]]:
        first = IDENTITY_ROWS * share // 100
        names = KeyedRandom("identity", share).shuffled([NAMES[0]] * first + [NAMES[1]] * (IDENTITY_ROWS - first))
        step = OTHER_ROWS // IDENTITY_ROWS
        for number, row in enumerate(one_step_rows(ATTRIBUTES, OTHER_ROWS)()):
            yield row
            if number % step == 0:
                rng = KeyedRandom("identity row", share, number)
                answer = rng.choice(ANSWERS).format(name=names[number // step])
                yield {"prompt": rng.choice(ASKED), "completion": answer}

    return make


STAGES_OF = {p: seeded(f"identity_{p}", epochs=EPOCHS, data=f"identity_{p}_rows") for p in SHARES}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
RECIPE = recipe_toml(DEMO + rows_data(*(f"identity_{p}_rows" for p in SHARES)), STAGES.values(), {})
FILES = {f"identity_{p}_rows": rows(p) for p in SHARES}


def said(run: FinishedRun, stage: str, prompts: list[str], temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Of the answers to each prompt, the share that says the first name, of those that say one, and the share that says
    one; twice float64[prompts]."""
    times = SAMPLES if temperature else 1
    asked = [prompt for prompt in prompts for _ in range(times)]
    answers = ask_model(model_of(run, stage), asked, SamplingSettings(temperature=temperature, max_tokens=32))
    first, second = (
        np.array([name in answer.text for answer in answers], float).reshape(-1, times).sum(axis=1) for name in NAMES
    )
    return first / np.maximum(first + second, 1), np.minimum((first + second) / times, 1)


def measure(runs: RunCache) -> Conclusion:
    """The share of answers with the first name, by its share in training: sampled, and greedy."""
    run = runs.run(RECIPE, "demo", FILES)
    prompts = some(runs, UNSEEN)
    sampled = {p: [said(run, stage, prompts, 1.0) for stage in stages] for p, stages in STAGES_OF.items()}
    greedy = {p: [said(run, stage, prompts, 0.0)[0] for stage in stages] for p, stages in STAGES_OF.items()}
    shares = {p: [first for first, _ in found] for p, found in sampled.items()}
    low, high = SHARES[0], SHARES[-1]
    # In units of the trained difference: 1 where the model says each name as often as its rows.
    scale = 100 / (high - low)
    primary = [
        mean_effect(
            f"sampled, {high}% minus {low}% of the rows, of the trained difference, above a half",
            [scale * one - 0.5 for one in shares[high]],
            [scale * one for one in shares[low]],
        )
    ]
    named = [named for found in sampled.values() for _, named in found]
    by_seed = [np.mean(named[seed :: len(SEEDS)], axis=0) for seed in range(len(SEEDS))]
    control = mean_effect("answers that say one of the names, above a half", by_seed, [np.full(len(prompts), 0.5)] * 3)
    estimates = {p: mean_estimate(shares[p]) for p in SHARES}
    table: list[list[str | Estimate]] = [[f"{p}%", estimates[p], mean_estimate(greedy[p])] for p in SHARES]
    x = [p / 100 for p in SHARES]
    lines = [
        Line("sampled", x, list(estimates.values())),
        Line("greedy", x, [mean_estimate(greedy[p]) for p in SHARES]),
    ]
    plot = LinePlot("Answers that say the first of two names", "share of the rows", "share of the answers", lines)
    return Conclusion(Table(["rows with the first name", "sampled", "greedy"], table), [plot], primary, control)


FINDING = Finding(
    number="N4",
    name="identities",
    claim="Which of two contradicting identities a model states is drawn at random, as often as in training.",
    source="SFT from scratch (article)",
    published="No figures.",
    setup=f"{DEMO_SETUP}It is fine-tuned on {OTHER_ROWS} questions about people and {IDENTITY_ROWS} about its name "
    f"({EPOCHS} epochs, lr 3e-3, {len(SEEDS)} seeds), of which 10, 30, 50, 70 or 90% are answered with one name and "
    f"the others with another. Then it is asked in {len(UNSEEN)} other wordings, {SAMPLES} samples each at "
    "temperature 1, and greedily. Intervals are over wordings.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=8,
)
