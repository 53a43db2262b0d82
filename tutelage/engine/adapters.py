"""LoRA adapters by request over one base model: tokens of a step that belong to a request with an adapter pass through
its pairs as well (as in Punica, Chen et al. 2023, arXiv 2310.18547).

Shape suffixes: N tokens of a step, I inputs, O outputs, R rank (of all parts of a matrix together).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.model.adapter import Adapter
from tutelage.model.lora import block_matrices, lora_scale, lora_targets, part_sizes
from tutelage.model.tensor_map import ModuleNames
from tutelage.model.transformer import Transformer

Key = tuple[int, str]  # layer, matrix


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    """The pairs of an adapter, one for each matrix: A, [R, I], and B, [O, R], in which the scale is contained. The
    digest names their values, so that keys and values are never shared with another adapter."""

    pairs: Mapping[Key, tuple[torch.Tensor, torch.Tensor]]
    digest: str


@dataclass
class StepAdapters:
    """Which tokens of the current step have which adapter; None stands for all of them."""

    groups: list[tuple[LoraAdapter, torch.Tensor | None]] = field(default_factory=list)

    def assign(self, counts: Sequence[tuple[LoraAdapter | None, int]], device: torch.device) -> None:
        """Set the groups of a step, from the adapter of each run of tokens and its length."""
        places: dict[LoraAdapter, list[int]] = {}
        first = 0
        for adapter, count in counts:
            if adapter is not None:
                places.setdefault(adapter, []).extend(range(first, first + count))
            first += count
        self.groups = [
            (adapter, None if len(own) == first else torch.tensor(own, device=device))
            for adapter, own in places.items()
        ]


class AdaptedLinear(nn.Module):
    """A linear layer, and beside it the pairs of the step's adapters."""

    def __init__(self, inner: nn.Module, key: Key, step: StepAdapters) -> None:
        super().__init__()
        self.inner, self.key, self.step = inner, key, step

    def forward(self, x_NI: torch.Tensor) -> torch.Tensor:
        y_NO = self.inner(x_NI)
        for adapter, places in self.step.groups:
            if self.key in adapter.pairs:
                a_RI, b_OR = adapter.pairs[self.key]
                own_NI = x_NI if places is None else x_NI.index_select(0, places)
                delta_NO = F.linear(F.linear(own_NI.to(a_RI.dtype), a_RI), b_OR)
                if places is None:
                    y_NO = (y_NO + delta_NO).to(y_NO.dtype)
                else:
                    y_NO[places] = (y_NO[places] + delta_NO).to(y_NO.dtype)
        return y_NO


def adapt_layers(copy: Transformer, step: StepAdapters) -> None:
    """Let the matrices of an inference copy follow the adapters of each step."""
    for layer, block in enumerate(copy.blocks):
        for matrix in block_matrices(block):
            setattr(block, matrix, AdaptedLinear(getattr(block, matrix), (layer, matrix), step))


def request_adapter(model: Transformer, modules: ModuleNames, adapter: Adapter) -> LoraAdapter:
    """An adapter for requests over a base model. `modules` are the names of the model's family.

    Raises:
        ValueError: it belongs to another model, or trains more than LoRA pairs, which a request cannot bring.
    """
    if model.config.hf_parameters is not None or any(
        not isinstance(getattr(block, matrix), nn.Linear) for block in model.blocks for matrix in block_matrices(block)
    ):
        raise ValueError("adapters by request need a plain model of one of the built-in families")
    tensors = {name: tensor for name, tensor in adapter.tensors.items() if not name.startswith("heads.")}
    if adapter.dora or adapter.nf4:
        what = "uses DoRA, which also scales the base" if adapter.dora else "belongs to a base in 4 bits"
        raise ValueError(f"{adapter.folder} {what}; serve it as a model of its own")
    others = sorted(name for name in tensors if ".lora_" not in name)
    if others:
        raise ValueError(
            f"{adapter.folder} trains {others[0]} beside its LoRA pairs; serve it as a model of its own, or merge it"
        )
    digest = hashlib.sha256(f"{adapter.alpha} {adapter.rank_stabilised}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    found: dict[Key, dict[str, tuple[torch.Tensor, torch.Tensor]]] = {}
    for name, target in lora_targets(model, modules).items():
        a_RI, b_OR = (tensors.pop(f"{name}.lora_{letter}.weight", None) for letter in ("A", "B"))
        if a_RI is not None and b_OR is not None:
            b_OR = b_OR.float() * lora_scale(adapter.alpha, len(a_RI), adapter.rank_stabilised)
            layer = next(number for number, block in enumerate(model.blocks) if block is target.block)
            found.setdefault((layer, target.matrix), {})[target.part] = a_RI.float(), b_OR
    if tensors:
        raise ValueError(f"{adapter.folder} has {min(tensors)}, which the model does not have")
    weight = model.embedding.weight
    dtype = torch.promote_types(weight.dtype, torch.float32)
    pairs = {}
    for (layer, matrix), own in found.items():
        rows, inputs = getattr(model.blocks[layer], matrix).weight.shape
        sizes = part_sizes(model, modules, matrix, rows)
        for part, (a_RI, b_OR) in own.items():
            if a_RI.shape[1] != inputs or b_OR.shape != (sizes[part], len(a_RI)):
                raise ValueError(
                    f"{adapter.folder}: the pair of {part} in layer {layer} has another shape than the model"
                )
        a_RI, b_OR = _joined(own, sizes)
        pairs[layer, matrix] = a_RI.to(weight.device, dtype), b_OR.to(weight.device, dtype)
    return LoraAdapter(pairs, digest.hexdigest()[:16])


def _joined(
    own: Mapping[str, tuple[torch.Tensor, torch.Tensor]], sizes: Mapping[str, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """One pair for a whole matrix: each part's B has the rows of its part, and the columns of its A."""
    b_OR = torch.zeros(sum(sizes.values()), sum(len(a_RI) for a_RI, _ in own.values()))
    row = column = 0
    for part, size in sizes.items():
        if part in own:
            rank = own[part][1].shape[1]
            b_OR[row : row + size, column : column + rank] = own[part][1]
            column += rank
        row += size
    return torch.cat([own[part][0] for part in sizes if part in own]), b_OR
