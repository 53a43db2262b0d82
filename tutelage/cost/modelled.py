"""The cost of FLOPs on accelerators that are not at hand: modelled, with every input beside the result."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

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
    """Hours, days, dollars, megawatt-hours and tonnes of CO2 of `flops`, or of the `target`, as plain data with the
    inputs.

    Raises:
        ValueError: the hardware is unknown, or the target is no number of FLOPs.
    """
    part, count = find_hardware(hardware)
    inputs = {"mfu": mfu or MFU, "price": PRICE if price is None else price, "co2": CO2 if co2 is None else co2}
    wanted = flops if target is None else read_flops(target)
    cost = training_cost(wanted, part, count, inputs["mfu"] * part.flops, inputs["price"], inputs["co2"])
    return {"hardware": part.name, "count": count, "peak": part.flops, "source": part.source, **inputs, **asdict(cost)}


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
