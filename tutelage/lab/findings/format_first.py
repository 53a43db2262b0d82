"""The format is learned first, the content later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, SEEDS, recipe_toml, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import ask_questions, format_of, model_of, person_questions, prompts_of, some
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.verdict import Effect

STEPS, EVERY = 160, 8
LOOKS = (8, 16, 24, 32, 48, 64, 96, 128, STEPS)
SHARE, DRAWS = 0.9, 400  # of the final value; of the bootstrap
STAGES = seeded("followed", f"replay = 0.5, save_every = {EVERY}, keep_checkpoints = {STEPS}", steps=STEPS)
RECIPE = recipe_toml(DEMO, STAGES.values(), {})
PROMPTS, FACTS = 200, 3


def curves(runs: RunCache, run: FinishedRun, stage: str, looks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Whether answers keep the format and whether they are right at each look, float64[looks, prompts] and [looks,
    questions]."""
    prompts, questions = some(runs, prompts_of("in_domain", PROMPTS)), some(runs, person_questions(each=FACTS))
    form, right = [], []
    for step in looks:
        model = model_of(run, stage if step == looks[-1] else f"{stage}@{step}")
        form.append(np.array(format_of(model, prompts).compliant, np.float64))
        right.append(ask_questions(model, questions).right)
    return np.array(form), np.array(right)


def reached(mean_L: np.ndarray, looks: Sequence[int]) -> float:
    """The step at which a curve first reaches SHARE of its last value, as a share of all steps; between two looks by
    linear interpolation."""
    steps, values = np.array([0, *looks], float), np.array([0.0, *mean_L])
    place = int(np.argmax(values >= SHARE * values[-1]))
    if place == 0:
        return 0.0
    rise = values[place] - values[place - 1]
    part = (SHARE * values[-1] - values[place - 1]) / rise if rise > 0 else 1.0
    return float(steps[place - 1] + part * (steps[place] - steps[place - 1])) / looks[-1]


def delay(found: Sequence[tuple[np.ndarray, np.ndarray]], looks: Sequence[int]) -> Effect:
    """How much later the content reaches SHARE of its last value, as a share of all steps. The interval is by bootstrap
    over prompts and questions, the same draws for all seeds."""

    def later(form_LI: np.ndarray, right_LI: np.ndarray) -> float:
        return reached(right_LI.mean(axis=1), looks) - reached(form_LI.mean(axis=1), looks)

    by_seed, rng, drawn = [later(*one) for one in found], np.random.default_rng(0), []
    for _ in range(DRAWS):
        form_I, right_I = (rng.integers(0, part.shape[1], part.shape[1]) for part in found[0])
        drawn.append(np.mean([later(form[:, form_I], right[:, right_I]) for form, right in found]))
    low, high = (float(np.quantile(drawn, q)) for q in (0.025, 0.975))
    estimate = Estimate(float(np.mean(by_seed)), low, high, "points")
    return Effect(f"{SHARE:.0%} of the final content later than of the final format, of all steps", estimate, by_seed)


def measure(runs: RunCache) -> Conclusion:
    """Format and right answers along training."""
    run = runs.run(RECIPE, "demo")
    looks = [run.summary["stages.followed.steps"]] if runs.overrides else list(LOOKS)
    found = [curves(runs, run, stage, looks) for stage in STAGES]
    form, right = ([mean_estimate([one[part][place] for one in found]) for place in range(len(looks))]
                   for part in (0, 1))  # fmt: skip
    table: list[list[str | Estimate]] = [[str(step), *pair] for step, *pair in zip(looks, form, right, strict=True)]
    steps = [float(step) for step in looks]
    plot = LinePlot("Along training", "step", "rate",
                    [Line("keeps the format", steps, form), Line("right", steps, right)])  # fmt: skip
    last = [one[1][-1] for one in found]
    control = mean_effect("last step, right above guessing", last, [np.full(len(last[0]), GUESS)] * len(SEEDS))
    header = ["step", "format, in domain", "right, held-out people"]
    return Conclusion(Table(header, table), [plot], [delay(found, looks)], control)


FINDING = Finding(
    number="N1",
    name="format-first",
    claim="Format first, content later: a model answers in the format long before its answers are right.",
    source="SFT from scratch (article)",
    published="A loss curve: the format after about 200 of 1,000 steps, the content in the rest.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people for {STEPS} steps of 2,048 tokens "
    f"(lr 3e-3, {len(SEEDS)} seeds), half of them replayed text, without which the content falls again. At "
    f"{len(LOOKS)} steps it answers {PROMPTS} unseen prompts and questions about the other half. The effect is the "
    f"share of all steps that lies between the steps at which format and right answers reach {SHARE:.0%} of their "
    "last values; its interval is by bootstrap over prompts and questions.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=1" for name in STAGES)),
    measure=measure,
    minutes=10,
)
