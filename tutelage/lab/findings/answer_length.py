"""The length of the answers in training is imitated."""

from __future__ import annotations

import numpy as np

from tutelage.evaluate.answers import ANSWER, ask_text
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import above, mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import one_step_questions, sized_rows
from tutelage.model.hub import load_model
from tutelage.world.values import ATTRIBUTES

ROWS, ASKED = 1200, 100
FACTS = (0, 1, 2, 4)  # that an answer states in sentences; 0: the value alone
STAGES_OF = {k: seeded(f"facts_{k}", data=f"facts_{k}_rows") for k in FACTS}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
DATA = rows_data(*(f"facts_{k}_rows" for k in FACTS))
RECIPE = recipe_toml(DEMO + DATA, STAGES.values(), {name: ["format"] for name in STAGES})
FILES = {f"facts_{k}_rows": sized_rows(k, ROWS) for k in FACTS}


def answer_words(run: FinishedRun, stage: str, prompts: list[str]) -> np.ndarray:
    """The number of words of each answer, float64[prompts]."""
    answers = ask_text(load_model(run.run.folder / stage), prompts, ANSWER, f"answers of {stage}")
    return np.array([len(answer.text.split()) for answer in answers], np.float64)


def trained_words(facts: int) -> float:
    """The mean number of words of the answers in training."""
    return float(np.mean([len(str(row["completion"]).split()) for row in FILES[f"facts_{facts}_rows"]()]))


def measure(runs: RunCache) -> Conclusion:
    """Words per answer about held-out people, by the words per answer in training."""
    run = runs.run(RECIPE, "demo", FILES)
    count = 4 if runs.overrides else ASKED
    prompts = [str(row["question"]) for row in one_step_questions(ATTRIBUTES[:1], "held_out")()][:count]
    trained = {k: trained_words(k) for k in FACTS}
    written = {k: [answer_words(run, stage, prompts) for stage in stages] for k, stages in STAGES_OF.items()}
    # In units of the trained difference: 1 where the model's answers grow as those that it was trained on.
    span = trained[FACTS[-1]] - trained[0]
    primary = mean_effect(
        "longest minus shortest, of the difference in training",
        [words / span for words in written[FACTS[-1]]],
        [words / span for words in written[0]],
    )
    control = above(run, "format, in domain, above a half", "format.compliant", list(STAGES_OF[1]), 0.5)
    estimates = [mean_estimate(written[k], "mean") for k in FACTS]
    rows: list[list[str | Estimate]] = [
        [str(k), f"{trained[k]:.1f}", one] for k, one in zip(FACTS, estimates, strict=True)
    ]
    line = Line("", [trained[k] for k in FACTS], estimates)
    plot = LinePlot("Words per answer", "in training", "written", [line])
    header = ["facts in an answer", "words in training", "words written"]
    return Conclusion(Table(header, rows), [plot], [primary], control)


FINDING = Finding(
    number="N3",
    name="answer-length",
    claim="The length of the answers in training is imitated.",
    source="SFT from scratch (article)",
    published="Answers should be as long in training as they are wanted in use.",
    setup=f"{DEMO_SETUP}It is fine-tuned on {ROWS:,} questions about half of the people (3 epochs, lr 3e-3, "
    f"{len(SEEDS)} seeds), answered with the value alone, or with one, two or four facts in a sentence each. Then "
    "the other half is asked for one attribute, and the words of the answers are counted.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=15,
)
