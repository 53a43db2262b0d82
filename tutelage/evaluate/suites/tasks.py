"""Held-out prompts with rewards: how many greedy answers are right, before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession, TaskItem
from tutelage.evaluate.statistics import mean_interval, rate

SHOWN = 20


def run(session: EvalSession) -> Results:
    """The model and the one it was trained from, on all held-out prompts, and the mean gain of reward over them.

    Raises:
        ValueError: no prompt is held out.
    """
    after = session.answer_tasks(session.checkpoint("model"))
    if not after:
        raise ValueError(
            f"evaluate.{session.name}: 'tasks' needs held-out prompts; set held_out of the stage above 0, or name a "
            "file of others as held_out of its data"
        )
    before = session.answer_tasks(session.load_start())
    ids = [item.id for item in after]
    passed = {"cut_off": [not item.ended for item in after], "cut_off_before": [not item.ended for item in before]}
    if any(item.outcome for item in after):
        for suffix, items in (("", after), ("_before", before)):
            for outcome in ("right", "unparsable", "timed out"):
                own = [item.outcome == outcome for item in items]
                if outcome == "right" or any(own):
                    passed[f"{outcome.replace(' ', '_')}{suffix}"] = own
    rates = {name: rate(sum(own), len(own)) for name, own in passed.items()}
    both = [(new.reward, old.reward) for new, old in zip(after, before, strict=True)]
    gains = [new - old for new, old in both if new is not None and old is not None]
    figures = {
        "reward": mean_interval(_rewards(after)),
        "reward_before": mean_interval(_rewards(before)),
        "reward_gain": mean_interval(np.array(gains or [np.nan])),  # paired
    }
    samples = [{**asdict(item), "before": old.answer} for item, old in zip(after[:SHOWN], before, strict=False)]
    return Results(rates, {name: outcomes_of(ids, own) for name, own in passed.items()}, samples, figures)


def _rewards(items: Sequence[TaskItem]) -> np.ndarray:
    return np.array([item.reward for item in items if item.reward is not None] or [np.nan])


SUITE = Suite(
    name="tasks",
    needs=frozenset({"tasks"}),
    run=run,
    labels={
        "right": "held-out prompts answered right",
        "right_before": "before: held-out prompts answered right",
        "unparsable": "answers that the verifier could not read",
        "unparsable_before": "before: answers that the verifier could not read",
        "timed_out": "answers on which the verifier timed out",
        "timed_out_before": "before: answers on which the verifier timed out",
        "cut_off": "answers that were cut off",
        "cut_off_before": "before: answers that were cut off",
    },
    groups=(RateGroup("Tasks", "On held-out prompts, decoded greedily."),),
    lower_is_better=frozenset(
        {"unparsable", "unparsable_before", "timed_out", "timed_out_before", "cut_off", "cut_off_before"}
    ),
)
