"""How the processes of a run share the work: the batch (dp), the tokens of a micro-batch (cp), the matrices (tp).

A layout changes where numbers are, never which: gradients, norm and steps are those of one process. Processes are
numbered with tp fastest, then cp, then dp, so that those that share a matrix are neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from tutelage.config import Settings
from tutelage.cost.layout import Layout, check_layout
from tutelage.cost.shapes import Experts, Shape
from tutelage.model.sizes import ModelConfig, is_gated
from tutelage.process import device_type, rank_and_world_size

if TYPE_CHECKING:  # its import takes a while, which a run of one process need not pay
    from torch.distributed.device_mesh import DeviceMesh


class LayoutSettings(Settings, frozen=True, kw_only=True):
    """How the processes that `torchrun` starts share a run; see docs/many-processes.md. The product is their number.

    dp: processes that share the batch; each holds a part of the weights (FSDP2). None: all that tp and cp leave.
    cp: processes that share the tokens of a micro-batch (context parallel), for long contexts.
    tp: processes that share each matrix of the blocks (tensor parallel); within one machine.
    ep: processes that share the experts of each layer (expert parallel): a divisor of dp, whose processes they are.
    """

    dp: int | None = None
    cp: int = 1
    tp: int = 1
    ep: int = 1

    def __post_init__(self) -> None:
        for name in ("dp", "cp", "tp", "ep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"layout.{name} is {value}; it must be at least 1")


@dataclass(frozen=True)
class Meshes:
    """The process groups of a layout.

    weights: over "fsdp" (dp and cp together, which both hold other parts of a step) and, where matrices are shared,
             "tp".
    context: the processes that share the tokens of this one's micro-batches; None where none do.
    experts: over "groups" and "ep", where processes share experts: an expert is on one process of each group.
    """

    layout: Layout
    weights: DeviceMesh
    context: DeviceMesh | None
    experts: DeviceMesh | None


_meshes: Meshes | None = None  # of the process group, which is global too


def meshes() -> Meshes | None:
    """Those of this run; None where one process runs it."""
    return _meshes


def resolve_layout(settings: LayoutSettings, count: int) -> Layout:
    """The layout over `count` processes.

    Raises:
        ValueError: the settings do not give that number.
    """
    shared = settings.tp * settings.cp
    dp = settings.dp if settings.dp is not None else max(1, count // shared)
    if shared * dp != count:
        raise ValueError(
            f"layout.tp {settings.tp} x layout.cp {settings.cp} x layout.dp {dp} = {shared * dp}, but there are "
            f"{count} processes; change one of them, or the number that torchrun starts"
        )
    if dp % settings.ep:
        raise ValueError(f"layout.ep {settings.ep} does not divide layout.dp {dp}; choose a divisor")
    return Layout(tp=settings.tp, cp=settings.cp, dp=dp, ep=settings.ep)


@contextmanager
def use_layout(settings: LayoutSettings) -> Iterator[None]:
    """Within the block the processes of the run share the work so.

    Raises:
        ValueError: the layout does not fit their number.
    """
    global _meshes
    layout = resolve_layout(settings, rank_and_world_size()[1])
    if layout.count == 1:
        yield
        return
    outside, _meshes = _meshes, make_meshes(layout)
    try:
        yield
    finally:
        _meshes = outside


def make_meshes(layout: Layout) -> Meshes:
    """The process groups; all processes must call it."""
    from torch.distributed.device_mesh import init_device_mesh

    fsdp = layout.dp * layout.cp
    if layout.tp > 1:
        weights = init_device_mesh(device_type(), (fsdp, layout.tp), mesh_dim_names=("fsdp", "tp"))
    else:
        weights = init_device_mesh(device_type(), (fsdp,), mesh_dim_names=("fsdp",))
    experts = None
    if layout.ep > 1:
        shape = (layout.dp // layout.ep, layout.ep)
        experts = init_device_mesh(device_type(), shape, mesh_dim_names=("groups", "ep"))
    if layout.cp == 1:
        return Meshes(layout, weights, None, experts)
    names = ("dp", "cp", "tp")
    whole = init_device_mesh(device_type(), (layout.dp, layout.cp, layout.tp), mesh_dim_names=names)
    return Meshes(layout, weights, whole["cp"], experts)


def data_rank() -> int:
    """Which part of a step this process reads: processes that share its tokens or matrices read the same."""
    if not dist.is_initialized():
        return 0
    return dist.get_rank() // _copies()


def data_world_size() -> int:
    """In how many parts a step is read."""
    return dist.get_world_size() // _copies() if dist.is_initialized() else 1


def once_per_part(values: list[Any]) -> list[Any]:
    """Of the values of all processes, by rank, those of one process for each part of a step."""
    return values[:: _copies()]


def _copies() -> int:
    return 1 if _meshes is None else _meshes.layout.tp * _meshes.layout.cp


def check_model(layout: Layout, config: ModelConfig) -> None:
    """Check that a model can be shared so.

    Raises:
        ValueError: it cannot; one sentence says why and what to change.
    """
    if config.hf_parameters is not None:
        return  # refused where the model is sharded, for every layout
    experts = None if config.experts is None else Experts(config.experts.count, config.experts.used, 1)
    sizes = (config.vocab, config.depth, config.width, config.heads, config.kv_heads, config.head_size)
    shape = Shape(*sizes, config.mlp_width, experts)
    check_layout(layout, shape, layout.count, sequence=2 * layout.cp)
    if layout.tp > 1 and config.mlp_width % layout.tp:
        width = f"{'gate and up' if is_gated(config) else 'up'} of the MLP have {config.mlp_width} rows"
        raise ValueError(f"tp {layout.tp} does not divide the model: {width}; choose a divisor")
    kinds = {"experts": config.experts, "latent attention": config.latent, "attention sinks": config.sinks or None}
    found = [name for name, value in kinds.items() if value is not None]
    if layout.tp > 1 and found:
        raise ValueError(f"tp {layout.tp} cannot share this model: it has {found[0]}; use layout.dp")
    if layout.cp > 1 and config.experts is not None:
        raise ValueError(f"cp {layout.cp} cannot share this model: its routers count all of a batch; use layout.dp")
    if layout.tp > 1 and config.qk_norm and config.qk_norm_over == "projection":
        raise ValueError(
            f"tp {layout.tp} cannot share this model: it normalises queries over all heads at once; use layout.dp"
        )
