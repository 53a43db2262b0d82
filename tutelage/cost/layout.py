"""Layouts of a training run over accelerators: what fits together, checked before the start."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.cost.shapes import Shape, parameters

BYTES_PER_PARAMETER = 18


@dataclass(frozen=True)
class Layout:
    """How many accelerators share each thing: `tp` a matrix, `cp` a sequence, `pp` the layers, `dp` the batch; `ep`
    the experts, over the accelerators of `dp` and `cp`."""

    tp: int = 1
    cp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1

    @property
    def count(self) -> int:
        """Accelerators."""
        return self.tp * self.cp * self.pp * self.dp


def check_layout(layout: Layout, shape: Shape, count: int, sequence: int) -> None:
    """Check that a model and its sequences can be shared so.

    Raises:
        ValueError: they cannot; one sentence says why and what to change.
    """
    wrong = [name for name in ("tp", "cp", "pp", "dp", "ep") if getattr(layout, name) < 1]
    if wrong:
        raise ValueError(f"{wrong[0]} is {getattr(layout, wrong[0])}; it must be at least 1")
    if layout.count != count:
        product = f"tp {layout.tp} x cp {layout.cp} x pp {layout.pp} x dp {layout.dp} = {layout.count:,}"
        raise ValueError(f"{product}, but there are {count:,} accelerators; change one of them")
    if shape.heads % layout.tp:
        raise ValueError(f"tp {layout.tp} does not divide the {shape.heads} query heads; choose a divisor")
    if not shape.latent and shape.kv_heads % layout.tp:
        raise ValueError(f"tp {layout.tp} does not divide the {shape.kv_heads} key-value heads; choose a divisor")
    if layout.pp > shape.depth:
        raise ValueError(f"pp {layout.pp} is more than the {shape.depth} layers; choose at most as many")
    if sequence % (2 * layout.cp) and layout.cp > 1:
        raise ValueError(f"cp {layout.cp} needs sequences of a multiple of {2 * layout.cp} tokens, not {sequence:,}")
    if layout.ep > 1 and shape.experts is None:
        raise ValueError(f"ep is {layout.ep}, but the model has no experts; leave it at 1")
    if layout.ep > 1 and shape.experts and shape.experts.count % layout.ep:
        raise ValueError(f"ep {layout.ep} does not divide the {shape.experts.count} experts; choose a divisor")
    if (layout.dp * layout.cp) % layout.ep:
        raise ValueError(f"ep {layout.ep} does not divide dp x cp = {layout.dp * layout.cp}; choose a divisor")


def state_bytes(layout: Layout, shape: Shape, sharded: bool = True) -> float:
    """Bytes of weights, gradients and optimizer state of the fullest accelerator, activations apart: 18 per parameter,
    which are the float32 weight, gradient and two moments of AdamW, and a bfloat16 copy of the weight (after ZeRO,
    Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1, whose gradients are 2 bytes). `sharded`: over data and
    context parallel ranks too (FSDP)."""
    per_layer = (parameters(shape).total - 2 * shape.vocab * shape.width - shape.width) / shape.depth
    layers = -(-shape.depth // layout.pp)
    held = layers * per_layer + shape.vocab * shape.width * (2 if layout.pp == 1 else 1) + shape.width
    return BYTES_PER_PARAMETER * held / layout.tp / (layout.dp * layout.cp if sharded else 1)


def bubble(layout: Layout, micro_batches: int) -> float:
    """The share of a step that pipeline stages wait, with the schedule 1F1B: (p - 1) / (m + p - 1) (Narayanan et al.
    2021, arXiv 2104.04473, section 2.2)."""
    return (layout.pp - 1) / (micro_batches + layout.pp - 1)
