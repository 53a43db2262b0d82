"""Low-rank adaptation (LoRA, Hu et al. 2021, arXiv 2106.09685): weights are frozen, and beside each matrix W of a block
a pair of small matrices is trained, so that it acts as W + scale * B A.

Our blocks fuse matrices that published families keep separate. Each part has its own pair, under the family's name for
it, so that adapters are compatible with PEFT. In a transformers-backed model the targets are its linear layers, except
the output matrix, under the names they have there.

Shape suffixes: N tokens laid end to end, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn

from tutelage.config import Settings, SettingsError, suggest
from tutelage.model.embedding_rows import TrainedEmbeddingRows
from tutelage.model.hf_model import HFModel
from tutelage.model.lora_dropout import LoraDropout
from tutelage.model.lora_linear import LoraLinear
from tutelage.model.parts import parts
from tutelage.model.tensor_map import ModuleNames, family_names
from tutelage.model.transformer import Transformer

# The matrices of a block that can have LoRA pairs; a block has some of them. Routed experts and routers have none.
# Nor has `kv_up` of latent attention, which inference absorbs into queries and outputs.
MATRICES = (
    "qkv", "q", "q_down", "q_up", "kv_down", "attention_out", "mlp_up", "mlp_down", "shared_up", "shared_down",
)  # fmt: skip


def block_matrices(block: nn.Module) -> list[str]:
    """Those of MATRICES that a block has."""
    return [name for name in MATRICES if hasattr(block, name)]


class LoraSettings(Settings, frozen=True, kw_only=True):
    """Train low-rank matrices beside frozen weights.

    rank:            inner size of each pair.
    alpha:           the product B A is multiplied by alpha / rank.
    dropout:         share of a pair's inputs that is dropped in training.
    targets:         matrices with a pair, by the names of the model's family ("q_proj", "c_attn"); default all matrices
                     of the blocks, as attention alone learns less (Schulman et al. 2025, "LoRA Without Regret").
    rank_stabilised: multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023, arXiv 2312.03732).
    dora:            also train the norm of each row of the adapted matrix (DoRA, Liu et al. 2024, arXiv 2402.09353).
    base_dtype:      dtype of the frozen weights and their matrix products; trained weights are always float32. With
                     "nf4" the matrices with pairs are in 4 bits (QLoRA, Dettmers et al. 2023, arXiv 2305.14314), and
                     other weights, and products, in bfloat16; extra `bitsandbytes`.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: list[str] | None = None
    rank_stabilised: bool = False
    dora: bool = False
    base_dtype: Literal["float32", "bfloat16", "nf4"] = "float32"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise SettingsError(f"rank is {self.rank}; it must be at least 1")
        if not 0 < self.alpha < math.inf:
            raise SettingsError(f"alpha is {self.alpha}; it must be above 0")
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"dropout is {self.dropout}; it is a share: at least 0, below 1")
        if self.targets is not None and not self.targets:
            raise SettingsError("targets is empty; leave it out to target all matrices")


def check_alike(settings: LoraSettings, why: str) -> None:
    """SettingsError where an adapter computes otherwise in training than a reference without it: `why` that matters."""
    if settings.dropout:
        raise SettingsError(f"lora.dropout is {settings.dropout}; {why}: leave it at 0")
    if settings.base_dtype == "nf4":
        raise SettingsError(f'lora.base_dtype is "nf4"; {why}: set it to "bfloat16"')


def lora_scale(alpha: float, rank: int, stabilised: bool) -> float:
    """The factor of B A."""
    return alpha / (math.sqrt(rank) if stabilised else rank)


@dataclass(frozen=True)
class LoraTarget:
    """A place for a LoRA pair: a part of a matrix of a block."""

    block: nn.Module
    matrix: str
    part: str

    def linear(self) -> nn.Linear | LoraLinear:
        """The layer that holds the matrix."""
        return getattr(self.block, self.matrix)


def lora_targets(model: Transformer, modules: ModuleNames) -> dict[str, LoraTarget]:
    """All possible targets, by their full names in the model's family."""
    if model.config.hf_parameters is not None:
        return _linear_layers(cast(HFModel, model))
    return {
        name: LoraTarget(block, matrix, name.rpartition(".")[2])
        for layer, block in enumerate(model.blocks)
        for matrix in block_matrices(block)
        for name in _family_parts(modules, layer, matrix)
    }


def _linear_layers(model: HFModel) -> dict[str, LoraTarget]:
    """The linear layers of a transformers-backed model but its output matrix, by their names there."""
    output, targets = model.inner.get_output_embeddings(), {}
    for name, layer in model.inner.named_modules():
        if isinstance(layer, nn.Linear | LoraLinear) and layer is not output:
            parent, _, attribute = name.rpartition(".")
            targets[name] = LoraTarget(model.inner.get_submodule(parent), attribute, attribute)
    return targets


def _family_parts(modules: ModuleNames, layer: int, matrix: str) -> list[str]:
    return [name.removesuffix(".weight") for name in family_names(modules, f"blocks.{layer}.{matrix}.weight")]


def _expert_parts(modules: ModuleNames) -> set[str]:
    """The names of the matrices of routed experts and of routers in a family."""
    names = [
        name for module in ("router", "experts.up", "experts.down") for name in modules.get(f"blocks.*.{module}", ())
    ]
    return {name.rstrip("=").rpartition(".")[2] for name in names}


def _match_targets(names: Sequence[str], targets: Sequence[str], known: Sequence[str], frozen: set[str]) -> list[str]:
    """The full names that end with a target; the rule of PEFT. Matrices whose names are `frozen` cannot be targets."""
    for target in targets:
        if target in frozen and target not in known:
            raise SettingsError(
                f"lora.targets names '{target}' of routed experts or routers, which LoRA leaves frozen; leave it out"
            )
        if not any(f".{name}".endswith(f".{target}") for name in names):
            raise SettingsError(f"lora.targets names '{target}', which the model does not have{suggest(target, known)}")
    return [name for name in names if any(f".{name}".endswith(f".{target}") for target in targets)]


def to_lora_linear(model: Transformer, modules: ModuleNames, target: LoraTarget) -> LoraLinear:
    """The layer of a target, replaced by a LoraLinear if it is not one yet."""
    linear = target.linear()
    if isinstance(linear, nn.Linear) and model.config.hf_parameters is not None:
        linear = LoraLinear(linear, {target.part: linear.out_features})
        setattr(target.block, target.matrix, linear)
    elif isinstance(linear, nn.Linear):
        linear = LoraLinear(linear, part_sizes(model, modules, target.matrix, linear.out_features))
        setattr(target.block, target.matrix, linear)
    return linear


def part_sizes(model: Transformer, modules: ModuleNames, matrix: str, rows: int) -> dict[str, int]:
    """The parts of a matrix of `rows` rows that have pairs of their own, by their names in the family, in row order."""
    names = [name.rpartition(".")[2] for name in _family_parts(modules, 0, matrix)]
    slices = [part.rows for part in parts(model.config, f"blocks.0.{matrix}.weight")]
    if len(names) == 1:  # the family fuses the matrix too, and its adapters have one pair for all
        slices = [slice(None)]
    return dict(zip(names, (len(range(rows)[part]) for part in slices), strict=True))


def freeze(model: Transformer) -> None:
    """Freeze all parameters but those of named heads; parameters added later are trained."""
    for name, parameter in model.named_parameters():
        if not name.startswith("heads."):
            parameter.requires_grad_(False)
            parameter.grad = None


def add_lora(
    model: Transformer, modules: ModuleNames, settings: LoraSettings, new_tokens: Sequence[int], seed: int
) -> None:
    """Freeze a model, add LoRA pairs to its matrices and trained rows for its new tokens; its outputs do not change.
    `modules` are its family's names.

    A is uniform within 1 / sqrt(I), as in the original implementation; B is zero.

    Raises:
        SettingsError: a target is not a matrix of the model, the rank is larger than that of every matrix, or there is
            dropout in a transformers-backed model.
    """
    if settings.dropout and model.config.hf_parameters is not None:
        raise SettingsError("lora.dropout works with the built-in architectures only; leave it at 0")
    freeze(model)
    targets = lora_targets(model, modules)
    generator = torch.Generator().manual_seed(seed)
    scale, device = lora_scale(settings.alpha, settings.rank, settings.rank_stabilised), model.embedding.weight.device
    known = list(dict.fromkeys(name.rpartition(".")[2] for name in targets))
    names = _match_targets(
        list(targets), known if settings.targets is None else settings.targets, known, _expert_parts(modules)
    )
    adapted = [(to_lora_linear(model, modules, targets[name]), targets[name].part) for name in names]
    _check_rank(settings.rank, adapted)
    for linear, part in adapted:
        a_RI = (torch.rand((settings.rank, linear.inputs), generator=generator) * 2 - 1) / math.sqrt(linear.inputs)
        b_OR = torch.zeros(linear.sizes[part], settings.rank)
        linear.add_pair(part, a_RI.to(device), b_OR.to(device), scale)
    if settings.base_dtype == "nf4":
        quantise_base(linear for linear, _ in adapted)
    if settings.dora:
        for linear, part in adapted:
            linear.add_magnitude(part, linear.row_norms(part))
    if settings.dropout:
        model.lora_dropout = dropout = LoraDropout(settings.dropout, seed)
        model.register_forward_pre_hook(dropout.begin)
        for number, linear in enumerate(dict.fromkeys(linear for linear, _ in adapted)):
            linear.dropout = dropout, number
    if new_tokens:
        ids = torch.tensor(list(new_tokens), device=model.embedding.weight.device)
        embedding_RD = model.embedding.weight[ids].float()
        head_RD = None if model.head is None else model.head.weight[ids].float()
        model.embedding_rows = TrainedEmbeddingRows(new_tokens, model.config.vocab, embedding_RD, head_RD)


def quantise_base(layers: Iterable[LoraLinear]) -> None:
    """Keep the frozen weights of layers in 4 bits."""
    for linear in dict.fromkeys(layers):
        linear.quantise()


def _check_rank(rank: int, adapted: Sequence[tuple[LoraLinear, str]]) -> None:
    """SettingsError if the rank exceeds that of every matrix: the pairs would be larger than the matrices."""
    largest = max(min(linear.sizes[part], linear.inputs) for linear, part in adapted)
    if rank > largest:
        raise SettingsError(
            f"lora.rank (--lora) is {rank}, but the matrices of this model have rank {largest} at most; a rank of "
            f"{min(16, largest)} is usual"
        )


def lora_pairs(model: Transformer, modules: ModuleNames) -> Iterator[tuple[str, LoraLinear, str]]:
    """All pairs of a model: the full name of the matrix, the layer that holds the pair, and the part's name."""
    for name, target in lora_targets(model, modules).items():
        linear = target.linear()
        if isinstance(linear, LoraLinear) and target.part in linear.scales:
            yield name, linear, target.part


@torch.no_grad()
def merge_lora(model: Transformer) -> None:
    """Merge all pairs and trained rows into the weights, and unfreeze everything: an ordinary model with the same
    outputs."""
    for block in list(model.modules()):
        for name, linear in list(block.named_children()):
            if isinstance(linear, LoraLinear):
                setattr(block, name, linear.merged())
    rows, model.embedding_rows = model.embedding_rows, None
    if rows is not None:
        model.embedding.weight[rows.ids_R] = rows.embedding.to(model.embedding.weight)
        if model.head is not None:
            model.head.weight[rows.ids_R] = rows.head_rows.to(model.head.weight)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
