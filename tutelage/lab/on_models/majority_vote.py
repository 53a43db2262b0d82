"""The majority of many samples against one sample, on a published checkpoint."""

from __future__ import annotations

import random
import re

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import continue_text
from tutelage.evaluate.pass_at_k import pass_at_k
from tutelage.lab.effects import mean_estimate, split_effect
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Line, LinePlot, ModelMeasurement, Table
from tutelage.lab.findings.majority_vote import FINDING, majority
from tutelage.model.hub import Checkpoint

PROBLEMS, SAMPLES, SHOTS = 60, 32, 8
BUDGETS = (1, 2, 4, 8, 16, 32)


def prompts() -> list[tuple[str, int]]:
    """Sums of two one-digit numbers after the same solved ones, each with its result; no sum is asked that is solved,
    in either order."""
    pairs = [(left, right) for left in range(1, 10) for right in range(1, 10)]
    random.Random(0).shuffle(pairs)
    solved = pairs[:SHOTS]
    opening = "".join(f"{left} + {right} = {left + right}\n" for left, right in solved)
    asked = [pair for pair in pairs if pair not in solved and pair[::-1] not in solved]
    return [(f"{opening}{left} + {right} =", left + right) for left, right in asked[:PROBLEMS]]


def result(text: str) -> int:
    """The number that a continuation's first line consists of; -1 where it is anything else."""
    first, _, _ = text.strip(" ").partition("\n")
    return int(first) if re.fullmatch(r"\d{1,4}", first.strip()) else -1


def measure(model: Checkpoint, quick: bool) -> Conclusion:
    """Right sums by the number of samples: the majority's, and whether any is right."""
    asked, samples = (prompts()[:6], 4) if quick else (prompts(), SAMPLES)
    settings = SamplingSettings(max_tokens=4, temperature=1.0)
    texts = continue_text(model, [text for text, _ in asked for _ in range(samples)], settings, "sums")
    values_QS = np.array([result(answer.text) for answer in texts], np.int64).reshape(len(asked), samples)
    golds_Q = np.array([gold for _, gold in asked])
    budgets = [budget for budget in BUDGETS if budget <= samples]
    right_Q = (values_QS == golds_Q[:, None]).sum(axis=1).tolist()
    votes = {k: majority(values_QS, golds_Q, k) for k in budgets}
    any_right = {k: np.array([pass_at_k(samples, right, k) for right in right_Q]) for k in budgets}
    named = {"the majority is right": votes, "any is right": any_right}
    lines = [
        Line(name, [float(k) for k in budgets], [mean_estimate([found[k]]) for k in budgets])
        for name, found in named.items()
    ]
    rows: list[list[str | Estimate]] = [
        [str(k), mean_estimate([votes[k]]), mean_estimate([any_right[k]])] for k in budgets
    ]
    most = budgets[-1]
    primary = split_effect(f"majority of {most} minus one sample", votes[most], votes[1])
    control = split_effect(f"any of {most} minus one sample", any_right[most], votes[1])
    plot = LinePlot("One-digit sums", "samples", "right", lines, log_x=True)
    return Conclusion(Table(["samples", *named], rows), [plot], [primary], control)


MEASUREMENT = ModelMeasurement(
    number="22",
    claim=FINDING.claim,
    source=FINDING.source,
    published=FINDING.published,
    setup=f"{PROBLEMS} sums of two one-digit numbers follow {SHOTS} solved ones, as plain text. {SAMPLES} "
    "continuations of each are drawn at temperature 1; the first line counts, if it is a number. The votes are scored "
    "as above, and intervals are over sums.",
    measure=measure,
)
