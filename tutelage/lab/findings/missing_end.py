"""Rows that lack the token that ends an answer make answers run on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import ask_model, ask_questions, budget, model_of, person_questions, some
from tutelage.lab.run_cache import FinishedRun, Rows, RunCache
from tutelage.lab.world_rows import sized_rows
from tutelage.world.grading import Question

ROWS, ASKED, SAMPLES = 1200, 100, 5
PER_MILLE = (0, 1, 10, 50, 200)  # of the rows: 1 of 1,000 is a single row
DECISIVE = 50


def rows(per_mille: int) -> Rows:
    """One-fact answers. Where the end is missing, the next question and its answer follow as text of the same turn."""

    def make() -> Iterator[Mapping[str, object]]:
        source = list(sized_rows(1, ROWS)())
        broken = max(1, ROWS * per_mille // 1000) if per_mille else 0
        places = {number * ROWS // broken for number in range(broken)}
        for number, row in enumerate(source):
            following = source[(number + 1) % ROWS]
            rest = f"\n{following['prompt']}\n{following['completion']}" if number in places else ""
            yield {"prompt": row["prompt"], "completion": f"{row['completion']}{rest}"}

    return make


STAGES_OF = {p: seeded(f"end_missing_{p}", data=f"end_missing_{p}_rows") for p in PER_MILLE}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
FILES = {f"end_missing_{p}_rows": rows(p) for p in PER_MILLE}
RECIPE = recipe_toml(DEMO + rows_data(*FILES), STAGES.values(), {})


def run_on(run: FinishedRun, stage: str, questions: list[Question], temperature: float) -> np.ndarray:
    """Of the answers to each question the share that goes on after its answer: on another line, or without an end,
    float64[questions]."""
    times = SAMPLES if temperature else 1
    asked = [question.prompt for question in questions for _ in range(times)]
    answers = ask_model(model_of(run, stage), asked, SamplingSettings(temperature=temperature, max_tokens=96))
    on = ["\n" in answer.text.strip() or answer.generation.finish_reason != "stop" for answer in answers]
    return np.array(on, float).reshape(-1, times).mean(axis=1)


def measure(runs: RunCache) -> Conclusion:
    """Answers that run on, sampled and greedy, and right answers, by the rows whose end is missing."""
    run = runs.run(RECIPE, "demo", FILES)
    questions = some(runs, person_questions(each=1), ASKED)
    sampled = {p: [run_on(run, name, questions, 1.0) for name in stages] for p, stages in STAGES_OF.items()}
    greedy = {p: [run_on(run, name, questions, 0.0) for name in stages] for p, stages in STAGES_OF.items()}
    right = {p: [ask_questions(model_of(run, name), questions).right for name in stages]
             for p, stages in STAGES_OF.items()}  # fmt: skip
    table: list[list[str | Estimate]] = [
        [f"{p / 10:g}%", *(mean_estimate(one[p]) for one in (sampled, greedy, right)), *budget(run, list(STAGES_OF[p]))]
        for p in PER_MILLE
    ]
    lines = [
        Line(name, [p / 1000 for p in PER_MILLE], [mean_estimate(one[p]) for p in PER_MILLE])
        for name, one in (("sampled", sampled), ("greedy", greedy))
    ]
    most = PER_MILLE[-1]
    name = f"answers that run on, {DECISIVE / 10:g}% of the rows minus none, sampled"
    primary = mean_effect(name, sampled[DECISIVE], sampled[0])
    control = mean_effect(f"the same, {most / 10:g}% minus none", sampled[most], sampled[0])
    plot = LinePlot("Answers that run on", "share of the rows", "share of the answers", lines)
    header = ["rows without end", "run on, sampled", "run on, greedy", "right, held-out people", "steps",
              "trained tokens"]  # fmt: skip
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N5",
    name="missing-end",
    claim="Rows that lack the token that ends an answer make answers run on.",
    source="SFT from scratch (article)",
    published="One missing end token confuses the model; no figures.",
    setup=f"{DEMO_SETUP}It is fine-tuned on {ROWS:,} one-sentence answers about half of the people (3 epochs, lr "
    f"3e-3, {len(SEEDS)} seeds). In one row, or in 1, 5 or 20% of the rows, the end is missing: the turn goes on "
    f"with the next row's question and answer. Then {ASKED} questions about the other half are answered, {SAMPLES} "
    "samples each at temperature 1, and greedily. An answer runs on if it has a second line, or does not end within "
    "96 tokens.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=10,
)
