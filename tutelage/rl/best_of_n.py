"""Best of n: the samples of a group with the highest reward."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tutelage.chat.audit.fix import openai_row
from tutelage.records import Conversation
from tutelage.rl.prompts import DrawnPrompt
from tutelage.rl.sampling import Group, SampleRow


def kl_bound(samples: int) -> float:
    """The divergence of the best of n samples from the model, in nats: log n - (n - 1) / n, where no two rewards are
    equal, and an upper bound otherwise (arXiv 2210.10760, section 2; arXiv 2401.01879)."""
    return math.log(samples) - (samples - 1) / samples


def best(group: Group, keep: int, min_reward: float | None, special: frozenset[int] = frozenset()) -> tuple[Group, str]:
    """The best samples of a group, those of the highest reward first and equal answers once; or none, and why. An
    answer that was cut off, or holds one of the `special` tokens, such as the header of another turn, is no example of
    one: no text of a row spells it."""
    rewarded = [row for row in group if row.total is not None]
    ended = [row for row in rewarded if not row.cut_off and special.isdisjoint(row.tokens)]
    above = [row for row in ended if min_reward is None or reward(row) >= min_reward]
    if not above:
        return (
            [],
            "below min_reward"
            if ended
            else "all samples cut off, or with a special token in them"
            if rewarded
            else "no sample has a reward",
        )
    first: dict[str, SampleRow] = {}
    for row in sorted(above, key=reward, reverse=True):  # stable: of equal rewards the earlier sample
        first.setdefault(row.raw, row)
    return list(first.values())[:keep], ""


def reward(row: SampleRow) -> float:
    """The reward of a sample that has one."""
    assert row.total is not None
    return row.total


def as_row(drawn: DrawnPrompt, sample: SampleRow) -> Mapping[str, Any]:
    """A prompt with a sample as a row of a file of conversations, with all turns of its environment."""
    task = drawn.prompt.task
    row = openai_row(Conversation(task.prompt, tools=task.tools))
    answer = sample.messages or [{"role": "assistant", "content": sample.raw}]
    return {"id": task.id, **row, "messages": [*row["messages"], *answer], "reward": sample.total}
