"""The cost of serving, at best: the roofline of prefill and decoding. Measured figures are slower; print these as what
they are, lower bounds of time and price."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.cost.hardware import Part
from tutelage.cost.shapes import Shape, cache_bytes_per_token, experts_touched, parameters


@dataclass(frozen=True)
class Roofline:
    """The least time of a step: by its FLOPs and by the bytes that it reads."""

    compute_seconds: float
    memory_seconds: float

    @property
    def seconds(self) -> float:
        """The larger of both: at best they overlap."""
        return max(self.compute_seconds, self.memory_seconds)


def ridge(part: Part) -> float:
    """FLOPs per byte from which products, and no longer memory, are the limit."""
    return part.flops / part.bandwidth


def decode_step(shape: Shape, part: Part, batch: int, context: int, bytes_per_number: int = 2) -> Roofline:
    """One token for each of `batch` requests with `context` cached tokens. Weights are read once for all; of routed
    experts, those that the batch touches if it draws them at random."""
    count = parameters(shape)
    weights = float(count.total)
    if shape.experts:
        one = 3 * shape.width * shape.experts.width
        unread = shape.experts.count - experts_touched(shape.experts, batch)
        weights -= (shape.depth - shape.experts.dense_layers) * unread * one
    read = weights * bytes_per_number + batch * context * cache_bytes_per_token(shape, bytes_per_number)
    return Roofline(2 * count.active * batch / part.flops, read / part.bandwidth)


def prefill(shape: Shape, part: Part, tokens: int, bytes_per_number: int = 2) -> Roofline:
    """Reading a prompt, attention to other tokens left out."""
    count = parameters(shape)
    return Roofline(2 * count.active * tokens / part.flops, count.total * bytes_per_number / part.bandwidth)


def dollars_per_million(tokens_per_second: float, price: float) -> float:
    """Dollars per million tokens, of a part that costs `price` an hour."""
    return price / 3600 / tokens_per_second * 1e6
