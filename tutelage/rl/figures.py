"""What is logged of the samples of a step: rewards and their parts, lengths, ends, and groups without signal with the
reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any

from tutelage.rl.sampling import Group, SampleRow

SHOWN_CHARS = 400


def no_signal_reason(group: Group) -> str:
    """Why the samples of a group teach nothing, "" where they do: fewer than two have a reward ("abstained"), or all
    rewards are equal, since all samples were cut off ("cap"), unparsable ("parse"), right ("solved"), wrong
    ("unsolved"), or for another cause ("equal")."""
    rewards = [row.total for row in group if row.total is not None]
    if len(rewards) < 2:
        return "abstained"
    if min(rewards) < max(rewards):
        return ""
    if all(row.cut_off for row in group):
        return "cap"
    outcomes = {outcome for row in group for _, outcome in row.parts.values() if outcome}
    named = {"unparsable": "parse", "right": "solved", "wrong": "unsolved"}
    return named.get(outcomes.pop(), "equal") if len(outcomes) == 1 else "equal"


def rollout_figures(groups: Sequence[Group], prompt: str, advantage_std: float) -> dict[str, Any]:
    """The figures of all groups that were sampled for a rollout, those without signal included. `prompt` is the
    first one as text."""
    rows = [row for group in groups for row in group]
    rewards = [row.total for row in rows if row.total is not None]
    lengths = [len(row.tokens) for row in rows]
    figures: dict[str, Any] = {
        "reward": fmean(rewards) if rewards else None,
        "reward_std": pstdev(rewards) if rewards else None,
        "advantage_std": advantage_std,
        "response_length": fmean(lengths),
        "response_length_max": max(lengths),
        "samples_abstained": sum(row.total is None for row in rows) / len(rows),
        "groups": len(groups),
    }
    if any(row.age for row in rows):
        figures["staleness"] = fmean(row.age for row in rows)
    if any(row.inserted for row in rows):
        figures["turns"] = fmean(1 + len(row.inserted) for row in rows)
    for name in rows[0].parts:
        values = [row.parts[name][0] for row in rows]
        figures[f"reward.{name}"] = fmean(known) if (known := [v for v in values if v is not None]) else None
        outcomes = Counter(row.parts[name][1] for row in rows if row.parts[name][1])
        figures |= {f"outcome.{name}.{outcome}": count / len(rows) for outcome, count in sorted(outcomes.items())}
    ends = Counter(row.finish_reason for row in rows)
    figures |= {f"finish.{reason}": count / len(rows) for reason, count in sorted(ends.items())}
    if len(groups[0]) > 1:
        reasons = Counter(no_signal_reason(group) for group in groups)
        figures["no_signal"] = 1 - reasons.pop("", 0) / len(groups)
        figures |= {f"no_signal.{reason}": count / len(groups) for reason, count in sorted(reasons.items())}
    figures["rollouts"] = [_shown(row, prompt) for row in _best_and_worst(groups[0])]
    return figures


def _best_and_worst(group: Group) -> list[SampleRow]:
    known = sorted((row for row in group if row.total is not None), key=lambda row: -(row.total or 0.0)) or group
    return [known[0], known[-1]] if len(known) > 1 else known


def _shown(row: SampleRow, prompt: str) -> dict[str, Any]:
    parts = {name: value for name, (value, _) in row.parts.items()}
    return {
        "prompt": prompt[-SHOWN_CHARS:],
        "written": (row.text if not row.inserted else row.transcript)[:SHOWN_CHARS],
        "reward": row.total,
        "parts": parts,
        "tokens": len(row.tokens),
        "finish_reason": row.finish_reason,
    }
