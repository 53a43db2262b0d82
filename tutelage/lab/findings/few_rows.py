"""Few rows are enough for the format; skills follow a power law in the number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import numpy as np

from tutelage.lab import sums
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import above, mean_effect, mean_estimate, no_worse
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import ask_questions, budget, format_of, model_of, person_questions, prompts_of, some
from tutelage.lab.run_cache import Rows, RunCache
from tutelage.lab.verdict import Effect
from tutelage.lab.world_rows import demo_world

FORM, STEPS, PROMPTS = (30, 300, 3000), 90, 300
SKILL, SKILL_STEPS = (375, 1500, 6000), 200
DRAWS = 400


def conversations(count: int) -> Rows:
    """The first `count` conversations of the demo: the rows of each size hold those of the smaller ones."""

    def make() -> Iterator[Mapping[str, object]]:
        for conversation in islice(demo_world().conversations("train"), count):
            yield {"messages": [{"role": turn.role, "content": turn.text} for turn in conversation.messages]}

    return make


FORM_STAGES = {n: seeded(f"form_{n}", data=f"form_{n}_rows", steps=STEPS) for n in FORM}
EPOCHS_STAGES = {n: seeded(f"form_epochs_{n}", epochs=2, data=f"form_{n}_rows") for n in FORM[:-1]}
FORM_FILES = {f"form_{n}_rows": conversations(n) for n in FORM}
FORM_LINES = {name: line for table in (FORM_STAGES, EPOCHS_STAGES) for lines in table.values()
              for name, line in lines.items()}  # fmt: skip
RECIPE = recipe_toml(DEMO + rows_data(*FORM_FILES), FORM_LINES.values(), {})


def worked(count: int) -> Iterator[Mapping[str, object]]:
    """The first `count` worked sums of the largest set, so that sets are nested and none holds an unseen sum."""
    return islice(sums.rows("steps", SKILL[-1])(), count)


SKILL_STAGES = {n: seeded(f"skill_{n}", "lr = 3e-3", data=f"skill_{n}_rows", steps=SKILL_STEPS) for n in SKILL}
SKILL_LINES = {name: line for lines in SKILL_STAGES.values() for name, line in lines.items()}
SKILL_FILES: dict[str, Rows] = {f"skill_{n}_rows": partial(worked, n) for n in SKILL}
SKILL_FILES |= {"steps": sums.rows("steps", 3000), "asked": sums.unseen(SKILL[-1])}
SKILL_RECIPE = recipe_toml(
    sums.BASE + rows_data(*(f"skill_{n}_rows" for n in SKILL)), SKILL_LINES.values(),
    {name: ["questions"] for name in SKILL_LINES},
)  # fmt: skip
SKILL_QUICK = (*sums.QUICK, *(f"stages.{name}.steps=1" for name in SKILL_LINES))


def slope(right_SNI: np.ndarray) -> float:
    """The slope of the log of the error over the log of the number of rows, by least squares; float64[seeds, sizes,
    questions]. Half an error is added, since none has no logarithm."""
    wrong_N = (1 - right_SNI).mean(axis=0).sum(axis=1)
    error_N = (wrong_N + 0.5) / (right_SNI.shape[2] + 1)
    return float(np.polyfit(np.log(SKILL), np.log(error_N), 1)[0])


def falling(right_SNI: np.ndarray) -> Effect:
    """How steeply the error falls; the interval is by bootstrap over questions."""
    rng, count = np.random.default_rng(0), right_SNI.shape[2]
    drawn = [-slope(right_SNI[:, :, rng.integers(0, count, count)]) for _ in range(DRAWS)]
    low, high = (float(np.quantile(drawn, q)) for q in (0.025, 0.975))
    by_seed = [-slope(right_SNI[seed : seed + 1]) for seed in range(len(right_SNI))]
    estimate = Estimate(-slope(right_SNI), low, high, "mean")
    return Effect(f"exponent of the error of sums from {SKILL[0]:,} to {SKILL[-1]:,} rows", estimate, by_seed)


def measure(runs: RunCache) -> Conclusion:
    """Format by the number of conversations, and right sums by the number of worked sums."""
    run = runs.run(RECIPE, "demo", FORM_FILES)
    prompts, questions = some(runs, prompts_of("in_domain", PROMPTS)), some(runs, person_questions(each=3))
    table: list[list[str | Estimate]] = []
    form: dict[int, list[np.ndarray]] = {}
    for label, stages_of in (("equal steps", FORM_STAGES), ("2 epochs", EPOCHS_STAGES)):
        for n, stages in stages_of.items():
            models = [model_of(run, stage) for stage in stages]
            kept = [np.array(format_of(model, prompts).compliant, np.float64) for model in models]
            right = mean_estimate([ask_questions(model, questions).right for model in models])
            table.append([f"{n:,} conversations, {label}", mean_estimate(kept), right, "", *budget(run, list(stages))])
            if stages_of is FORM_STAGES:
                form[n] = kept
    skill_run = runs.run(SKILL_RECIPE, "sums_sizes", SKILL_FILES, SKILL_QUICK)
    skill = {n: [skill_run.outcomes(stage, "questions.right").astype(float) for stage in stages]
             for n, stages in SKILL_STAGES.items()}  # fmt: skip
    for n, stages in SKILL_STAGES.items():
        table.append([f"{n:,} worked sums", "", "", mean_estimate(skill[n]), *budget(skill_run, list(stages))])
    right_SNI = np.array([[skill[n][seed] for n in SKILL] for seed in range(len(SEEDS))])
    fewer, most = FORM[-2], FORM[-1]
    lost = mean_effect(f"format, {fewer} conversations minus {most:,}", form[fewer], form[most])
    control = above(skill_run, f"{SKILL[-1]:,} worked sums, right above 1%", "questions.right",
                    list(SKILL_STAGES[SKILL[-1]]), 0.01)  # fmt: skip
    plots = [_plot("Format", FORM, [mean_estimate(form[n]) for n in FORM]),
             _plot("Unseen sums", SKILL, [mean_estimate(skill[n]) for n in SKILL])]  # fmt: skip
    header = ["rows", "format, in domain", "right, held-out people", "right, sums", "steps", "trained tokens"]
    return Conclusion(Table(header, table), plots, [no_worse(lost, 0.03), falling(right_SNI)], control)


def _plot(title: str, sizes: Sequence[int], values: Sequence[Estimate]) -> LinePlot:
    return LinePlot(title, "rows", "rate", [Line("", [float(n) for n in sizes], values)], log_x=True)


FINDING = Finding(
    number="5",
    name="few-rows",
    claim="Few rows are enough for the format, while skills keep improving with the number of rows, by a power law.",
    source="Dataset and SFT; SFT from scratch; Revisiting SFT; after LIMA, arXiv 2305.11206, and arXiv 2410.03717",
    published="LIMA: 1,000 rows beat 52,000. The article: 100 to 500 rows for the format, 5,000 to 50,000 for "
    "production. The post: the error of reasoning tasks follows a power law in the rows.",
    setup=f"{DEMO_SETUP}It is fine-tuned on {FORM[0]}, {FORM[1]} or {FORM[2]:,} conversations, each set holding the "
    f"smaller ones, for {STEPS} steps of 2,048 tokens (lr 3e-3, {len(SEEDS)} seeds), or for two epochs, and answers "
    f"{PROMPTS} unseen prompts. {sums.BASE_SETUP}It is fine-tuned on {SKILL[0]}, {SKILL[1]:,} or {SKILL[2]:,} sums "
    f"that are worked out, for {SKILL_STEPS} steps of 2,048 tokens, and answers 300 unseen ones. The exponent is the "
    "slope of the log of the error over the log of the rows; its interval is by bootstrap over questions.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=1" for name in FORM_LINES if "epochs" not in name)),
    measure=measure,
    minutes=18,
)
