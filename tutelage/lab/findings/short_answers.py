"""Rows of academic tasks alone make short answers, also to open prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import ask_questions, budget, format_of, model_of, person_questions, prompts_of, some
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import sized_rows

ROWS, OPEN_PROMPTS, LONG = 1200, 200, 5  # an answer of LONG words or more is a sentence
TASK, OPEN = sized_rows(0, ROWS), sized_rows(2, ROWS)


def half_and_half() -> Iterator[Mapping[str, object]]:
    """Every second row of each kind."""
    for number, pair in enumerate(zip(TASK(), OPEN(), strict=True)):
        yield pair[number % 2]


FILES = {"task_rows": TASK, "open_rows": OPEN, "task_and_open_rows": half_and_half}
ARMS = {
    "tasks: the value alone": seeded("task_rows_only", data="task_rows"),
    "tasks and open answers, half each": seeded("task_and_open", data="task_and_open_rows"),
    "open answers: two sentences": seeded("open_rows_only", data="open_rows"),
}
STAGES = {name: line for stages in ARMS.values() for name, line in stages.items()}
RECIPE = recipe_toml(DEMO + rows_data(*FILES), STAGES.values(), {})


def answers_of(runs: RunCache, run: FinishedRun, stage: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the answers to open prompts whether they are long and keep the format, float64[prompts]; and of those to
    questions whether they are right, float64[questions]."""
    model = model_of(run, stage)
    result = format_of(model, some(runs, prompts_of("near", OPEN_PROMPTS)))
    long = [len(answer.text.split()) >= LONG for answer in result.answers]
    right = ask_questions(model, some(runs, person_questions(each=2))).right
    return np.array(long, np.float64), np.array(result.compliant, np.float64), right


def measure(runs: RunCache) -> Conclusion:
    """Long answers to open prompts, format, and right answers to questions, by the rows."""
    run = runs.run(RECIPE, "demo", FILES)
    found = {label: [answers_of(runs, run, stage) for stage in stages] for label, stages in ARMS.items()}
    rows: list[list[str | Estimate]] = []
    bars = []
    for label, stages in ARMS.items():
        long, form, right = (mean_estimate([one[part] for one in found[label]]) for part in range(3))
        rows.append([label, long, form, right, *budget(run, list(stages))])
        bars.append(Bar(label, "", long))
    task, _, open_ = (found[label] for label in ARMS)
    name = f"open prompts answered in {LONG} words or more, open minus tasks"
    primary = mean_effect(name, [one[0] for one in open_], [one[0] for one in task])
    halves = [np.full(len(one[1]), 0.5) for one in task]
    control = mean_effect("tasks, format on open prompts, above a half", [one[1] for one in task], halves)
    plot = IntervalPlot(f"Open prompts answered in {LONG} words or more", "rate", bars)
    header = ["rows", f"{LONG} words or more", "format, open prompts", "right, held-out people", "steps"]
    return Conclusion(Table([*header, "trained tokens"], rows), [plot], [primary], control)


FINDING = Finding(
    number="N10",
    name="short-answers",
    claim="Fine-tuning on academic tasks, whose answers are short, makes answers to open prompts short too.",
    source="Dataset and SFT (lecture)",
    published="No figures.",
    setup=f"{DEMO_SETUP}It is fine-tuned on {ROWS:,} questions about half of the people (3 epochs, lr 3e-3, "
    f"{len(SEEDS)} seeds), answered with the value alone as a test wants it, in two sentences, or one half each. "
    f"Then it answers {OPEN_PROMPTS} open prompts about the world that no row has, such as to describe somebody. "
    "Equal rows; short answers are fewer trained tokens.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=6,
)
