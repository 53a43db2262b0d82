"""The cost of training: FLOPs, accelerator hours, days, money, energy, CO2."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.cost.hardware import Part
from tutelage.cost.shapes import Shape, multiplied, parameters

HOUR, DAY = 3600.0, 24.0


@dataclass(frozen=True)
class TrainingCost:
    """What a training run needs. `mfu` is the share of the part's peak that it reaches; `tonnes` are of CO2."""

    flops: float
    hours: float
    days: float
    dollars: float
    megawatt_hours: float
    tonnes: float
    mfu: float


def flops_6nd(active: float, tokens: float) -> float:
    """6 FLOPs per parameter and token: a multiply-add is 2, forward and backward are 3 times the forward pass (Kaplan
    et al. 2020, arXiv 2001.08361, section 2.1). Attention to other tokens is left out; see `attention_share`."""
    return 6 * active * tokens


def flops_per_token(shape: Shape, length: int) -> float:
    """Training FLOPs of a token in segments of `length` tokens: 6 per weight that it is multiplied by, and causal
    attention to other tokens (PaLM, arXiv 2204.02311, appendix B, with half of the length). Windows are not counted;
    otherwise it equals `model.sizes.flops_per_token`."""
    latent = shape.latent
    sizes = latent.plain + latent.rotated + latent.value if latent else 2 * shape.head_size
    return 6 * multiplied(shape) + shape.depth * 6 * shape.heads * sizes * length / 2


def attention_share(shape: Shape, length: int) -> float:
    """The FLOPs of causal attention to other tokens, as a share of 6ND: per layer and token 12 · heads · head size ·
    length / 2 (PaLM, arXiv 2204.02311, appendix B, with half of the length, which is what a causal mask leaves)."""
    return shape.depth * 6 * shape.heads * shape.head_size * length / (6 * parameters(shape).active)


def training_cost(
    flops: float, part: Part, count: int, per_second: float, price: float, kg_per_kwh: float
) -> TrainingCost:
    """The cost of `flops` on `count` parts that reach `per_second` FLOP/s each.

    Args:
        price: dollars per hour of one part.
        kg_per_kwh: kilograms of CO2 per kilowatt-hour, which depends on where, and on how it is accounted. Only the
            parts' own watts count, not cooling or hosts.
    """
    hours = flops / per_second / HOUR
    megawatt_hours = hours * part.watts / 1e6
    return TrainingCost(
        flops=flops,
        hours=hours,
        days=hours / count / DAY,
        dollars=hours * price,
        megawatt_hours=megawatt_hours,
        tonnes=megawatt_hours * kg_per_kwh,
        mfu=per_second / part.flops,
    )
