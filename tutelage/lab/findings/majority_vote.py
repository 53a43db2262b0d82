"""The answer that most samples agree on is right more often than one sample."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import ask_text
from tutelage.evaluate.pass_at_k import pass_at_k
from tutelage.lab.base_recipe import SEEDS, recipe_toml, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.sums import BASE, BASE_SETUP, QUICK, pairs, question, rows, unseen
from tutelage.model.hub import load_model

ROWS, SAMPLES, QUESTIONS = 3000, 64, 100
BUDGETS = (1, 4, 16, 64)
STAGES = seeded("half_learned", "lr = 3e-3", epochs=2, data="steps")
RECIPE = recipe_toml(BASE, STAGES.values(), {name: ["questions"] for name in STAGES})


def sampled(run: FinishedRun, stage: str, count: int, samples: int) -> np.ndarray:
    """The last number of each sampled answer at temperature 1, int64[questions, samples]; -1 where there is none."""
    asked = pairs(ROWS, seed=0)[:count]
    texts = [question(left, right) for left, right in asked for _ in range(samples)]
    settings = SamplingSettings(max_tokens=100, temperature=1.0)
    answers = ask_text(load_model(run.run.folder / stage), texts, settings, f"samples of {stage}")
    numbers = [re.findall(r"\d+", answer.text) for answer in answers]
    values = [int(found[-1][-6:]) if found else -1 for found in numbers]
    return np.array(values, np.int64).reshape(count, samples)


def majority(values_QS: np.ndarray, golds_Q: np.ndarray, budget: int) -> np.ndarray:
    """The probability that the most frequent of `budget` samples is right, float64[questions]: the mean over disjoint
    groups of samples; a tie counts as drawing one of those that lead."""
    right = np.zeros(len(golds_Q))
    groups = values_QS.shape[1] // budget
    for q, gold in enumerate(golds_Q.tolist()):
        for votes in values_QS[q, : groups * budget].reshape(groups, budget).tolist():
            counts = Counter(votes)
            leaders = [value for value, count in counts.items() if count == max(counts.values())]
            right[q] += (gold in leaders) / len(leaders) / groups
    return right


def measure(runs: RunCache) -> Conclusion:
    """Right answers by the number of samples: the majority's, and whether any is right."""
    run = runs.run(RECIPE, "sums_half", {"steps": rows("steps", ROWS), "asked": unseen(ROWS)})
    count, samples = (4, 4) if runs.overrides else (QUESTIONS, SAMPLES)
    golds_Q = np.array([left + right for left, right in pairs(ROWS, seed=0)[:count]])
    values = [sampled(run, stage, count, samples) for stage in STAGES]
    budgets = [budget for budget in BUDGETS if budget <= samples]
    votes = {k: [majority(one, golds_Q, k) for one in values] for k in budgets}
    right = [(one == golds_Q[:, None]).sum(axis=1).tolist() for one in values]
    any_right = {k: [np.array([pass_at_k(samples, n, k) for n in one]) for one in right] for k in budgets}
    lines = [
        Line(name, [float(k) for k in budgets], [mean_estimate(found[k]) for k in budgets])
        for name, found in (("the majority is right", votes), ("any is right", any_right))
    ]
    table: list[list[str | Estimate]] = [
        [str(k), mean_estimate(votes[k]), mean_estimate(any_right[k])] for k in budgets
    ]
    most = budgets[-1]
    primary = mean_effect(f"majority of {most} minus one sample", votes[most], votes[1])
    control = mean_effect(f"any of {most} minus one sample", any_right[most], votes[1])
    plot = LinePlot("Unseen sums", "samples", "right", lines, log_x=True)
    header = ["samples", "the majority is right", "any is right"]
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="22",
    name="majority-vote",
    claim="The answer that most samples agree on is right more often than one sample.",
    source="Dataset and SFT; Training LLMs (lectures)",
    published="DeepSeek-R1-Distill-Qwen-7B on AIME 2024: 55.5 with one sample, 83.3 by majority of 64.",
    setup=f"{BASE_SETUP}{ROWS:,} sums are worked out step by step, and read twice, so that the model is right about "
    f"half of the time (lr 3e-3, {len(SEEDS)} seeds). {SAMPLES} answers to {QUESTIONS} unseen sums are drawn at "
    f"temperature 1. One sample is the mean of all; of fewer samples than {SAMPLES} the mean over disjoint groups "
    "counts; a tie counts by the share of its leaders that are right. Whether any of k is right is estimated "
    "without bias. Intervals are over questions.",
    folder="sums_half",
    recipe=RECIPE,
    quick=(*QUICK, *(f"stages.{name}.epochs=1" for name in STAGES)),
    measure=measure,
    minutes=15,
)
