"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685): the weights stay as they are, and beside each matrix W of a
block a pair of small ones is trained, so that it acts as W + scale B A.

Our blocks hold matrices that published families keep apart, one above the other: each such part has a pair of its own,
under the family's name for it, so that an adapter is what other programs write and read.

Shape suffixes: N tokens end to end, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.config import Settings, SettingsError, suggest
from tutelage.model.layout import Modules, part_rows, their_names
from tutelage.model.token_rows import TokenRows
from tutelage.model.transformer import Transformer

# The matrices of a block that can have low-rank pairs beside them.
MATRICES = ("qkv", "attention_out", "mlp_up", "mlp_down")


class LoraSettings(Settings, frozen=True, kw_only=True):
    """Train low-rank matrices beside the weights, in place of the weights.

    rank:            inner size of each pair.
    alpha:           a pair's product is multiplied by alpha / rank.
    targets:         which matrices get a pair, by the names that the model's family has for them ("q_proj", "c_attn");
                     all of the blocks where left out, as attention alone learns less (Schulman et al. 2025, "LoRA
                     Without Regret").
    rank_stabilised: multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023, arXiv 2312.03732).
    base_dtype:      what the frozen weights are held in, and worked with; the trained ones are float32 anyway.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: list[str] | None = None
    rank_stabilised: bool = False
    base_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise SettingsError(f"rank is {self.rank}; it must be at least 1")
        if not 0 < self.alpha < math.inf:
            raise SettingsError(f"alpha is {self.alpha}; it must be above 0")
        if self.targets is not None and not self.targets:
            raise SettingsError("targets names no matrix; leave it out for all of them")


def scale_of(alpha: float, rank: int, stabilised: bool) -> float:
    """What a pair's product is multiplied by."""
    return alpha / (math.sqrt(rank) if stabilised else rank)


class LoraLinear(nn.Module):
    """A frozen linear map with low-rank pairs beside its parts.

    sizes:  the outputs of each part, by its name, in order.
    lora_A: float32 [R, I] by part; lora_B: float32 [O of the part, R]. A part without them stays as it is.
    """

    bias: torch.Tensor | None

    def __init__(self, base: nn.Linear, sizes: dict[str, int]) -> None:
        super().__init__()
        self.weight, self.bias, self.sizes = base.weight, base.bias, sizes
        self.lora_A, self.lora_B = nn.ParameterDict(), nn.ParameterDict()
        self.scales: dict[str, float] = {}

    def put_pair(self, part: str, a_RI: torch.Tensor, b_OR: torch.Tensor, scale: float) -> None:
        """Train this pair beside a part from now on."""
        self.lora_A[part], self.lora_B[part] = nn.Parameter(a_RI), nn.Parameter(b_OR)
        self.scales[part] = scale

    def forward(self, x_NI: torch.Tensor) -> torch.Tensor:
        y_NO = F.linear(x_NI, self.weight, self.bias)
        if not torch.is_autocast_enabled(x_NI.device.type):
            x_NI = x_NI.to(torch.promote_types(x_NI.dtype, torch.float32))
        pieces = y_NO.split(list(self.sizes.values()), dim=-1)
        summed = [self._with_pair(part, x_NI, piece) for part, piece in zip(self.sizes, pieces, strict=True)]
        return summed[0] if len(summed) == 1 else torch.cat(summed, dim=-1)

    def _with_pair(self, part: str, x_NI: torch.Tensor, y_NO: torch.Tensor) -> torch.Tensor:
        if part not in self.scales:
            return y_NO
        inner_NR = F.linear(x_NI, self.lora_A[part]) * self.scales[part]
        return (y_NO + F.linear(inner_NR, self.lora_B[part])).to(y_NO.dtype)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain linear map of the same outputs. The products are made in float32; the frozen weight is changed."""
        for part, rows_OI in zip(self.sizes, self.weight.split(list(self.sizes.values())), strict=True):
            if part in self.scales:
                change_OI = self.lora_B[part] @ self.lora_A[part] * self.scales[part]
                rows_OI.copy_(rows_OI.to(change_OI.dtype) + change_OI)
        outputs, inputs = self.weight.shape
        linear = nn.Linear(inputs, outputs, bias=self.bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weight.detach())
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach())
        return linear


@dataclass(frozen=True)
class Place:
    """Where a pair can stand: in which block, beside which of its matrices, and which part of that."""

    block: nn.Module
    matrix: str
    part: str

    def linear(self) -> nn.Linear | LoraLinear:
        return getattr(self.block, self.matrix)


def places(model: Transformer, modules: Modules) -> dict[str, Place]:
    """Every matrix that can have a pair beside it, by its whole name in the model's family."""
    return {
        name: Place(block, matrix, name.rpartition(".")[2])
        for layer, block in enumerate(model.blocks)
        for matrix in MATRICES
        for name in _part_names(modules, layer, matrix)
    }


def _part_names(modules: Modules, layer: int, matrix: str) -> list[str]:
    return [name.removesuffix(".weight") for name in their_names(modules, f"blocks.{layer}.{matrix}.weight")]


def all_targets(modules: Modules) -> list[str]:
    """The last parts of the names of all matrices that can have a pair, each once."""
    names = [name for matrix in MATRICES for name in _part_names(modules, 0, matrix)]
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _chosen(names: Sequence[str], targets: Sequence[str], known: Sequence[str]) -> list[str]:
    """The whole names that end with a target, as PEFT chooses them."""
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in names):
            raise SettingsError(f"lora.targets names '{target}', which the model does not have{suggest(target, known)}")
    return [name for name in names if any(f".{name}".endswith(f".{target}") for target in targets)]


def make_room(model: Transformer, modules: Modules, place: Place) -> LoraLinear:
    """The matrix at a place, ready to have pairs beside its parts."""
    linear = place.linear()
    if isinstance(linear, nn.Linear):
        parts = [name.rpartition(".")[2] for name in _part_names(modules, 0, place.matrix)]
        rows = part_rows(model.config, linear.out_features, len(parts))
        linear = LoraLinear(linear, dict(zip(parts, rows, strict=True)))
        setattr(place.block, place.matrix, linear)
    return linear


def freeze(model: nn.Module) -> None:
    """Train nothing of a model; what is put beside its weights from now on is trained."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None


def add_lora(
    model: Transformer, modules: Modules, settings: LoraSettings, new_tokens: Sequence[int], seed: int
) -> None:
    """Freeze a model and put pairs beside its matrices, and rows of their own under its new tokens; the model computes
    what it computed before. `modules` is what its family calls its modules.

    A is drawn as the first implementation draws it, uniformly within 1 / sqrt(I); B is zero.

    Raises:
        SettingsError: a target is no matrix of the model, or the rank is larger than that of any.
    """
    freeze(model)
    found = places(model, modules)
    generator = torch.Generator().manual_seed(seed)
    scale, known = scale_of(settings.alpha, settings.rank, settings.rank_stabilised), all_targets(modules)
    chosen = _chosen(list(found), known if settings.targets is None else settings.targets, known)
    rooms = [(make_room(model, modules, found[name]), found[name].part) for name in chosen]
    _refuse_rank(settings.rank, rooms)
    for linear, part in rooms:
        inputs, device = linear.weight.shape[1], linear.weight.device
        a_RI = (torch.rand((settings.rank, inputs), generator=generator) * 2 - 1) / math.sqrt(inputs)
        b_OR = torch.zeros(linear.sizes[part], settings.rank)
        linear.put_pair(part, a_RI.to(device), b_OR.to(device), scale)
    if new_tokens:
        ids = torch.tensor(list(new_tokens), device=model.embedding.weight.device)
        rows = [None if end is None else end.weight[ids].float() for end in (model.embedding, model.head)]
        assert rows[0] is not None
        model.token_rows = TokenRows(new_tokens, model.config.vocab, rows[0], rows[1])


def _refuse_rank(rank: int, rooms: Sequence[tuple[LoraLinear, str]]) -> None:
    """SettingsError for a rank that no matrix has: its pairs would be larger than what they stand beside."""
    largest = max(min(linear.sizes[part], linear.weight.shape[1]) for linear, part in rooms)
    if rank > largest:
        raise SettingsError(
            f"lora.rank (--lora) is {rank}, and the matrices of this model have a rank of {largest} at most; a rank of "
            f"{min(16, largest)} is usual"
        )


def lora_parts(model: Transformer, modules: Modules) -> Iterator[tuple[str, LoraLinear, str]]:
    """Every pair of a model: the whole name of the matrix it stands beside, where it is held, and the part's name."""
    for name, place in places(model, modules).items():
        linear = place.linear()
        if isinstance(linear, LoraLinear) and place.part in linear.scales:
            yield name, linear, place.part


@torch.no_grad()
def merge_lora(model: Transformer) -> None:
    """Add every pair to the weights it stands beside, put trained rows into their matrices, and train everything: a
    model like any other, with the same outputs."""
    for block in model.blocks:
        for matrix in MATRICES:
            linear = getattr(block, matrix)
            if isinstance(linear, LoraLinear):
                setattr(block, matrix, linear.merged())
    rows, model.token_rows = model.token_rows, None
    if rows is not None:
        model.embedding.weight[rows.ids_R] = rows.embedding.to(model.embedding.weight)
        if model.head is not None:
            model.head.weight[rows.ids_R] = rows.head_rows.to(model.head.weight)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
