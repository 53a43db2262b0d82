"""What stages of training cost in open projects such as Llama and DeepSeek: five classes, approximate, by the lecture
on LLM pipelines that the planner's examples follow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CostClass:
    """A class of stages: its data, how long it takes, the least that its compute costs, and what holds it up."""

    name: str
    data: str
    time: str
    least_dollars: float
    bottleneck: str


# From the most expensive to the least.
CLASSES = (
    CostClass("pre-training", "more than 10T tokens", "months", 10e6, "data and compute"),
    CostClass("reasoning RL", "about 1M problems", "weeks", 1e6, "environments, reward hacking"),
    CostClass("RLHF", "about 100K problems", "days", 100e3, "data and evaluations"),
    CostClass("fine-tuning", "10K to 100K problems", "days", 10e3, "data and evaluations"),
    CostClass("prompting", "none", "hours", 0, "evaluations"),
)


def cost_class(dollars: float) -> CostClass:
    """The class that costs as much: the most expensive one whose least is no more."""
    return next(one for one in CLASSES if dollars >= one.least_dollars)
