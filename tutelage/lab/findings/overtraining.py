"""Held-out loss rises after an epoch, while later checkpoints answer better."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import ask_questions, model_of, person_questions, reply_losses, some
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.verdict import LEAST_SHARE
from tutelage.lab.world_rows import demo_world, one_step_rows
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.person_questions import ask_one_step
from tutelage.world.values import ATTRIBUTES

ROWS, STEPS, EVERY = 500, 128, 4  # 500 rows are about 8 steps, so that 128 steps are 16 epochs
LOOKS = (4, 8, 16, 24, 32, 48, 64, 96, STEPS)
STAGES = seeded("sixteen_epochs", f"save_every = {EVERY}, keep_checkpoints = {STEPS}", data="sixteen_rows", steps=STEPS)
RECIPE = recipe_toml(DEMO + rows_data("sixteen_rows"), STAGES.values(), {})
FILES = {"sixteen_rows": one_step_rows(ATTRIBUTES, ROWS)}


def held_out_rows() -> list[tuple[str, str]]:
    """A question and its answer for each attribute of every second person of the held-out half, in drawn wordings."""
    pairs = []
    for person in list(demo_world().people("held_out"))[::2]:
        for attribute in ATTRIBUTES:
            question, reply = ask_one_step(person, attribute, KeyedRandom("held-out row", person.index, attribute))
            pairs.append((question.prompt, reply))
    return pairs


def follow(runs: RunCache, run: FinishedRun, stage: str, looks: Sequence[int]) -> tuple[np.ndarray, ...]:
    """At each look: the loss on held-out rows in nats per token, float64[looks, rows], and right answers about their
    people and about the other held-out people, float64[looks, questions] each."""
    first = {person.name for person in list(demo_world().people("held_out"))[::2]}
    questions = person_questions()
    halves = [some(runs, [q for q in questions if (q.subject in first) == is_first]) for is_first in (True, False)]
    pairs, losses, answers = some(runs, held_out_rows()), [], []
    for step in looks:
        model = model_of(run, stage if step == looks[-1] else f"{stage}@{step}")
        losses.append(reply_losses(model, pairs))
        answers.append([ask_questions(model, half).right for half in halves])
    return np.array(losses), *(np.array([one[part] for one in answers]) for part in (0, 1))


def measure(runs: RunCache) -> Conclusion:
    """Loss and right answers along 16 epochs. The step of the least loss and the best later step are chosen on one half
    of the held-out people and compared on the other."""
    run = runs.run(RECIPE, "demo", FILES)
    looks = [run.summary["stages.sixteen_epochs.steps"]] if runs.overrides else list(LOOKS)
    found = [follow(runs, run, stage, looks) for stage in STAGES]
    loss_L, dev_L = (np.mean([one[part].mean(axis=1) for one in found], axis=0) for part in (0, 1))
    least = int(np.argmin(loss_L))
    best = least + int(np.argmax(dev_L[least:]))
    places = range(len(looks))
    losses = [mean_estimate([one[0][place] for one in found], "mean") for place in places]
    right = [mean_estimate([one[2][place] for one in found]) for place in places]
    notes = {least: "least loss", best: "best answers from there on"} if best != least else {least: "both"}
    table: list[list[str | Estimate]] = [
        [str(step), f"{loss_L[place]:.3f}", right[place], notes.get(place, "")] for place, step in enumerate(looks)
    ]
    steps = [float(step) for step in looks]
    plots = [
        LinePlot("Held-out loss", "step", "nats per token", [Line("", steps, losses)], log_x=True),
        LinePlot("Right answers about other held-out people", "step", "right", [Line("", steps, right)], log_x=True),
    ]
    name = f"right at step {looks[best]}, best from the least loss on, minus at step {looks[least]}, the least loss"
    primary = mean_effect(name, [one[2][best] for one in found], [one[2][least] for one in found])
    scale = float(loss_L[least])
    rise = mean_effect("the loss rises from its least to the last step, as a share",
                       [one[0][-1] / scale for one in found], [one[0][least] / scale for one in found])  # fmt: skip
    share = msgspec.structs.replace(rise.estimate, kind="relative_change")
    control = msgspec.structs.replace(rise, estimate=share, arms=(), least=LEAST_SHARE)
    header = ["step", "held-out loss", "right, other held-out people", ""]
    return Conclusion(Table(header, table), plots, [primary], control)


FINDING = Finding(
    number="4",
    name="overtraining",
    claim="Held-out loss rises after an epoch, while later checkpoints still answer better: select by behaviour.",
    source="SFT from scratch (article), after InstructGPT, arXiv 2203.02155",
    published="16 epochs; the validation loss rises after one, while people and reward model prefer later checkpoints.",
    setup=f"{DEMO_SETUP}It is fine-tuned on {ROWS} questions about half of the people for {STEPS} steps of 2,048 "
    f"tokens, about 16 epochs (lr 3e-3, {len(SEEDS)} seeds). At {len(LOOKS)} steps, the loss is measured on answers "
    "about every second person of the other half; the step of the least loss, and from there on that of the most "
    "right answers about these people, are compared by right answers about the rest.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=1" for name in STAGES)),
    measure=measure,
    minutes=10,
)
