"""The cost of FLOPs on accelerators that are not at hand: modelled, with every input beside the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tutelage.cost.classes import cost_class
from tutelage.cost.hardware import find_hardware
from tutelage.cost.training import training_cost

MFU, PRICE, CO2 = 0.4, 2.0, 0.4


def model_cost(
    hardware: str,
    flops: float,
    mfu: float | None = None,
    price: float | None = None,
    co2: float | None = None,
    target: str | None = None,
) -> dict[str, Any]:
    """Hours, days, dollars, megawatt-hours and tonnes of CO2 of `flops`, or of the `target`, and the class of stages
    that costs as much, as plain data with the inputs.

    Raises:
        ValueError: the hardware is unknown, or the target is no number of FLOPs.
    """
    part, count = find_hardware(hardware)
    inputs = {"mfu": mfu or MFU, "price": PRICE if price is None else price, "co2": CO2 if co2 is None else co2}
    wanted = flops if target is None else read_flops(target)
    cost = training_cost(wanted, part, count, inputs["mfu"] * part.flops, inputs["price"], inputs["co2"])
    about = {"hardware": part.name, "count": count, "peak": part.flops, "source": part.source}
    return {**about, **inputs, **asdict(cost), "class": asdict(cost_class(cost.dollars))}


def model_memory(hardware: str, stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The memory that one accelerator needs for the largest of a plan's stages, and whether it has so much: weights,
    gradients and optimizer state are sharded over all of them, activations are its own."""
    part, count = find_hardware(hardware)
    needed = max((stage["state_bytes"] / count + stage["activation_bytes"] for stage in stages.values()), default=0.0)
    return {"bytes_per_part": needed, "memory_of_part": part.memory, "fits": needed <= part.memory}


def read_flops(text: str) -> float:
    """The number of "1e24flops" or "1e24".

    Raises:
        ValueError: it is none.
    """
    try:
        flops = float(text.lower().removesuffix("flops"))
    except ValueError:
        flops = 0.0
    if not 0 < flops < float("inf"):
        raise ValueError(f"the target is {text!r}; write a number of FLOPs, such as 1e24flops")
    return flops
