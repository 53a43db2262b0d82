from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from tutelage.doctor.case import Case
from tutelage.doctor.diagnose import OF_POLICIES, diagnose
from tutelage.doctor.policies import POLICIES


def test_every_planted_fault_of_a_policy_is_named_first_and_healthy_ones_are_found_healthy(
    recorded_policies: list[Any],
) -> None:
    """Pain 57: why a run has no signal; and what else goes wrong in it. Each fault was planted in a real run."""
    said = {one.what: (one.right, (names(one.case) or [""])[0]) for one in recorded_policies}
    assert {what: pair for what, pair in said.items() if pair[0] != pair[1]} == {}
    assert sum(not one.right for one in recorded_policies) >= 4
    assert len({one.right for one in recorded_policies if one.right}) == len(POLICIES) >= 12
    for one in recorded_policies:
        found = diagnose(one.case)
        assert len(found) <= len(OF_POLICIES)
        assert all(any(sign.isdigit() for sign in figure) for each in found for figure in each.evidence)


def names(case: Case) -> list[str]:
    return [one.name for one in diagnose(case)]


@pytest.fixture
def learned(recorded_policies: list[Any]) -> Case:
    """A healthy run of GRPO."""
    return next(one.case for one in recorded_policies if one.what == "nothing")


def changed(case: Case, settings: dict[str, Any] | None = None, **figures: float | list[float]) -> Case:
    """A case with other settings, and other figures in each row of its log: a number, or some from first to last."""
    rows = []
    for place, row in enumerate(case.stage.log):
        share = place / (len(case.stage.log) - 1)
        new = {
            name: float(np.interp(share, np.linspace(0, 1, len(value)), value)) if isinstance(value, list) else value
            for name, value in figures.items()
        }
        rows.append({**row, **{name.replace("__", "."): value for name, value in new.items()}})
    info = msgspec.structs.replace(case.stage.info, settings={**case.stage.info.settings, **(settings or {})})
    return replace(case, stage=replace(case.stage, log=rows, info=info))


GOLD = {"rewards": {"proxy": {"weight": 1.0}, "gold": {"weight": 0}}}


@pytest.mark.parametrize(
    ("settings", "figures", "found"),
    [
        ({}, {}, []),
        ({}, {"finish__length": 0.9, "no_signal__cap": 0.8}, ["cap-too-low"]),
        ({}, {"finish__length": 0.9, "no_signal__cap": 0.3}, []),  # long answers that still differ in reward
        ({}, {"outcome__right__unparsable": 0.6}, ["reward-unparsable"]),
        ({}, {"no_signal__unsolved": [1.0, 0.2]}, []),  # hard at first, and learned
        ({}, {"samples_abstained": 0.6}, ["rewards-missing"]),
        (GOLD, {"reward__gold": [0.5, 0.3]}, ["reward-hacked"]),
        (GOLD, {"reward__gold": [0.3, 0.9, 0.5]}, ["reward-hacked"]),
        (GOLD, {"reward__gold": [-3.0, -1.0, -2.0], "reward": [0.0, 0.3, 0.6]}, ["reward-hacked"]),
        (GOLD, {"reward__gold": [0.3, 0.9, 0.5], "reward": [0.0, 1.0, 0.5]}, []),  # both fall
        (GOLD, {"reward__gold": [0.3, 0.5]}, []),
        (GOLD, {"reward__gold": [0.5, 0.6]}, []),
        ({}, {"no_signal__solved": [0.2, 1.0]}, []),  # solved by training, not before it
        ({"group_size": 2}, {"no_signal": 0.5}, ["group-too-small"]),
        ({"temperature": 0.1}, {"entropy": 0.001, "no_signal": 0.9}, ["samples-alike"]),
        ({}, {"kl": [0.0, 3.0]}, []),  # far, and better for it
        ({}, {"kl": [0.0, 3.0], "reward": [0.9, 0.1]}, ["policy-collapsed"]),
        ({"inner_epochs": 8}, {"clipped": 0.3}, ["rollout-overused"]),
        ({"value_weight": 0.5}, {"value_loss": 0.4, "reward_std": 0.2}, ["value-head-blind"]),
        ({"value_weight": 0.5}, {"value_loss": 0.02, "reward_std": 0.2}, []),
        ({}, {"kl": 0.0}, ["policy-unmoved"]),
        ({"kl": 5.0}, {"kl": 0.0, "reward": 0.4}, ["kl-too-strong"]),
    ],
)
def test_one_bad_figure_makes_a_diagnosis(
    learned: Case, settings: dict[str, Any], figures: dict[str, Any], found: list[str]
) -> None:
    assert names(changed(learned, settings, **figures)) == found


def test_a_measured_part_that_only_scatters_did_not_fall(learned: Case) -> None:
    """The best of ten noisy means is above the last one in any run."""
    rows = len(learned.stage.log)
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(0, 0.3, rows).tolist()
        assert names(changed(learned, GOLD, reward__gold=noise)) == []


def test_the_evidence_of_small_groups_is_the_formula_for_the_measured_rate(learned: Case) -> None:
    """p^G + (1 - p)^G at p = 0.1819 is 0.702 for pairs and 0.201 for eight."""
    (one,) = diagnose(changed(learned, {"group_size": 2}, no_signal=0.7, reward=0.1819))
    assert "70% at p = 0.18 and G = 2, and 20% at G = 8" in one.evidence[1]
    assert one.settings == ("stages.healthy.group_size=8",)
