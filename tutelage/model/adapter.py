"""Adapters on disk, in the layout of PEFT: the trained parameters without the base model.

`adapter_config.json` names the base and gives the LoRA scale. `adapter_model.safetensors` holds lora_A and lora_B of
each matrix under its family's name, and the rows of new tokens as PEFT's "trainable tokens". Named heads are saved
whole as `heads.NAME.weight`, which PEFT ignores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tutelage.files import read_json, write_json
from tutelage.model.embedding_rows import TrainedEmbeddingRows
from tutelage.model.lora import (
    LoraSettings,
    freeze,
    lora_pairs,
    lora_scale,
    lora_targets,
    quantise_base,
    to_lora_linear,
)
from tutelage.model.tensor_map import GPT2, ModuleNames
from tutelage.model.transformer import Transformer
from tutelage.model.weights import load_tensors, save_tensors

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Ours: the fingerprint of the base's weights, so that an adapter is never loaded onto other weights.
ADAPTER_BASE = "adapter_base.json"
_STEM, _ROWS, MAGNITUDE = "base_model.model.", "token_adapter.trainable_tokens_delta", "lora_magnitude_vector"
# Other kinds of adapter, by the key of adapter_config.json that enables them.
_UNSUPPORTED = {
    "alpha_pattern": "it has a scale per matrix (alpha_pattern)",
    "layer_replication": "it repeats layers of the base (layer_replication)",
    "target_parameters": "it adapts parameters outside linear layers (target_parameters)",
    "lora_bias": "its LoRA pairs have biases (lora_bias)",
    "alora_invocation_tokens": "it is active for some tokens only (aLoRA)",
}
# Values of init_lora_weights that leave the base's weights alone; others change them, and the changes are not saved.
_PLAIN_INITS = (True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class Adapter:
    """An adapter folder in memory.

    base:             the base model: a folder, or an owner/name on the hub, at `revision` if given.
    base_fingerprint: `weights_fingerprint` of the base; None if another program saved the adapter.
    alpha, rank_stabilised, dora: as in LoraSettings.
    nf4:              the frozen weights of its layers were in 4 bits when it was trained here.
    tokens:           tokens with trained rows, by the name of the module that holds the rows.
    tensors:          by the names in the file, without "base_model.model.".
    """

    folder: Path
    base: str
    revision: str | None
    base_fingerprint: str | None
    alpha: float
    rank_stabilised: bool
    dora: bool
    nf4: bool
    tokens: Mapping[str, Sequence[int]]
    tensors: Mapping[str, torch.Tensor]


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / ADAPTER_CONFIG).exists()


def write_adapter(
    folder: Path,
    model: Transformer,
    modules: ModuleNames,
    settings: LoraSettings,
    base: tuple[str, str | None],
    base_fingerprint: str,
) -> None:
    """Save the trained parameters. `base` is the name of the base and its revision, as in `Adapter`."""
    tensors = {}
    for name, linear, part in lora_pairs(model, modules):
        tensors[f"{_STEM}{name}.lora_A.weight"] = linear.lora_A[part]
        tensors[f"{_STEM}{name}.lora_B.weight"] = linear.lora_B[part]
        if part in linear.magnitude:
            tensors[f"{_STEM}{name}.{MAGNITUDE}"] = linear.magnitude[part]
    tokens: dict[str, list[int]] = {}
    if model.embedding_rows is not None:
        for module, rows_RD in (("embedding", model.embedding_rows.embedding), ("head", model.embedding_rows.head)):
            if rows_RD is not None:
                (name,) = modules[module]
                tensors[f"{_STEM}{name}.{_ROWS}"] = rows_RD
                tokens[name.rpartition(".")[2]] = model.embedding_rows.ids_R.tolist()
    for name, parameter in model.heads.named_parameters(prefix="heads"):
        tensors[f"{_STEM}{name}"] = parameter
    save_tensors(folder / ADAPTER_WEIGHTS, tensors)
    write_json(folder / ADAPTER_BASE, {"weights": base_fingerprint, "nf4": settings.base_dtype == "nf4"})
    names = [name for name, _, _ in lora_pairs(model, modules)]
    targets = settings.targets or list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    alpha = int(settings.alpha) if settings.alpha == int(settings.alpha) else settings.alpha
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base[0],
        "revision": base[1],
        "inference_mode": True,
        "r": settings.rank,
        "lora_alpha": alpha,
        "lora_dropout": settings.dropout,
        "bias": "none",
        "use_rslora": settings.rank_stabilised,
        "use_dora": settings.dora,
        "fan_in_fan_out": modules is GPT2,  # GPT-2 stores its matrices transposed
        "target_modules": targets,
        "trainable_token_indices": tokens or None,
    }
    write_json(folder / ADAPTER_CONFIG, config)


def read_adapter(folder: Path) -> Adapter:
    """Load an adapter folder, ours or PEFT's.

    Raises:
        ValueError: it is incomplete, or not a LoRA adapter with optional trained token rows.
    """
    path, weights = folder / ADAPTER_CONFIG, folder / ADAPTER_WEIGHTS
    config = read_json(path)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise ValueError(f"{path}: adapters of type '{kind}' are not supported; only LORA is")
    problems = [problem for key, problem in _UNSUPPORTED.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        problems.append(f"it trains biases (bias = {config['bias']})")
    if config.get("init_lora_weights", True) not in _PLAIN_INITS:
        problems.append(f"it changes the base's weights (init_lora_weights = {config['init_lora_weights']})")
    if problems:
        raise ValueError(f"{path}: {problems[0]}, which is not supported; merge it with peft and load the merged model")
    if not weights.exists() and (folder / "adapter_model.bin").exists():
        raise ValueError(
            f"{folder}: the adapter is in adapter_model.bin, a pickle, which can run code when loaded and is never "
            "loaded; save it again with a newer peft"
        )
    base, rank, alpha = (config.get(key) for key in ("base_model_name_or_path", "r", "lora_alpha"))
    if not isinstance(base, str) or not isinstance(rank, int) or not isinstance(alpha, int | float):
        raise ValueError(f"{path} lacks base_model_name_or_path, r or lora_alpha; the adapter is incomplete")
    tokens = config.get("trainable_token_indices") or {}
    tensors = load_tensors(weights)
    ours = read_json(folder / ADAPTER_BASE) if (folder / ADAPTER_BASE).exists() else {}
    return Adapter(
        folder=folder,
        base=base,
        revision=config.get("revision"),
        base_fingerprint=ours.get("weights"),
        alpha=float(alpha),
        rank_stabilised=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
        nf4=ours.get("nf4", False),
        tokens=tokens if isinstance(tokens, dict) else {"": tokens},
        tensors={name.removeprefix(_STEM): tensor for name, tensor in tensors.items()},
    )


def vocabulary_of(adapter: Adapter, base: int) -> int:
    """Rows that the embedding needs, if the base has `base`."""
    full = [len(tensor) for name, tensor in adapter.tensors.items() if _is_full_matrix(name)]
    return full[0] if full else max([base, *(max(ids) + 1 for ids in adapter.tokens.values() if ids)])


def _is_full_matrix(name: str) -> bool:
    """Whether a tensor is a full embedding or head, which PEFT saves if the vocabulary was resized."""
    return re.search(r"(embed_tokens|wte|lm_head)(\.base_layer|\.modules_to_save)?\.weight$", name) is not None


def attach(model: Transformer, modules: ModuleNames, adapter: Adapter) -> None:
    """Freeze a base model and load an adapter onto it.

    Raises:
        ValueError: the adapter belongs to another model.
    """
    freeze(model)
    targets = lora_targets(model, modules)
    remaining, device = dict(adapter.tensors), model.embedding.weight.device
    for name in sorted({key.rpartition(".lora_")[0] for key in remaining if ".lora_" in key}):
        a_RI, b_OR = (remaining.pop(f"{name}.lora_{matrix}.weight", None) for matrix in ("A", "B"))
        if name not in targets or a_RI is None or b_OR is None:
            raise _mismatch(adapter, f"{name}.lora_A and .lora_B")
        linear, part = to_lora_linear(model, modules, targets[name]), targets[name].part
        rank, inputs = a_RI.shape
        if inputs != linear.inputs or b_OR.shape != (linear.sizes[part], rank):
            raise _mismatch(adapter, f"{name}.lora_A and .lora_B of shapes {tuple(a_RI.shape)}, {tuple(b_OR.shape)}")
        a_RI, b_OR = (matrix.to(device, torch.float32) for matrix in (a_RI, b_OR))
        linear.add_pair(part, a_RI, b_OR, lora_scale(adapter.alpha, rank, adapter.rank_stabilised))
        magnitude_O = remaining.pop(f"{name}.{MAGNITUDE}", None)
        shape = None if magnitude_O is None else tuple(magnitude_O.shape)
        if shape != ((linear.sizes[part],) if adapter.dora else None):
            raise _mismatch(adapter, f"{name}.{MAGNITUDE} of shape {shape}, with use_dora {adapter.dora}")
        if magnitude_O is not None:
            linear.add_magnitude(part, magnitude_O.to(device, torch.float32))
    if adapter.nf4:
        quantise_base(linear for _, linear, _ in lora_pairs(model, modules))
    _load_full_matrices(model, modules, adapter, remaining)
    _load_embedding_rows(model, modules, adapter, remaining)
    for name in [name for name in remaining if name.startswith("heads.")]:
        weight_KD = remaining.pop(name)
        if weight_KD.ndim != 2 or weight_KD.shape[1] != model.config.width:
            raise _mismatch(adapter, f"{name} of shape {tuple(weight_KD.shape)}")
        model.set_head(name.split(".")[1], weight_KD.to(model.embedding.weight.device, torch.float32))
    if remaining:
        raise _mismatch(adapter, min(remaining))


def _vocab_matrices(model: Transformer, modules: ModuleNames) -> dict[str, nn.Embedding | nn.Linear]:
    """The embedding, and the head if it is a separate matrix, by their names in the family."""
    matrices: dict[str, nn.Embedding | nn.Linear] = {modules["embedding"][0]: model.embedding}
    return matrices if model.head is None else matrices | {modules["head"][0]: model.head}


def _load_full_matrices(
    model: Transformer, modules: ModuleNames, adapter: Adapter, remaining: dict[str, torch.Tensor]
) -> None:
    """Replace the embedding and head of the base by full ones in the adapter."""
    full = {name: remaining.pop(name) for name in list(remaining) if _is_full_matrix(name)}
    by_name = {re.sub(r"(\.base_layer|\.modules_to_save)?\.weight$", "", name): tensor for name, tensor in full.items()}
    tied = by_name.pop(modules["head"][0], None) if model.head is None else None
    if tied is not None and not torch.equal(tied, by_name.get(modules["embedding"][0], tied)):
        raise ValueError(
            f"{adapter.folder}: embedding and head were trained separately, but the base ties them; untie the base "
            "first, or train the adapter again with rows of the new tokens only"
        )
    for name, matrix in _vocab_matrices(model, modules).items():
        tensor = by_name.pop(name, None)
        if tensor is not None:
            if tensor.shape != matrix.weight.shape:
                raise _mismatch(adapter, f"{name}.weight of shape {tuple(tensor.shape)}")
            with torch.no_grad():
                matrix.weight.copy_(tensor)
    if by_name:
        raise _mismatch(adapter, min(by_name))


def _load_embedding_rows(
    model: Transformer, modules: ModuleNames, adapter: Adapter, remaining: dict[str, torch.Tensor]
) -> None:
    """Load trained rows of tokens, which replace those of the base."""
    rows = {
        name.removesuffix(f".{_ROWS}"): remaining.pop(name) for name in list(remaining) if name.endswith(f".{_ROWS}")
    }
    if not rows:
        return
    embedding, *others = _vocab_matrices(model, modules)
    ids = {name: _token_ids_of(adapter, name) for name in rows}
    known = list(ids.get(embedding, ()))
    if not known or set(rows) - {embedding, *others} or any(list(tokens) != known for tokens in ids.values()):
        raise _mismatch(adapter, "trained rows of other tokens than those of the embedding")
    tables = []
    for name, matrix in _vocab_matrices(model, modules).items():
        table = rows.get(name)
        if table is None:
            table = matrix.weight[torch.tensor(known, device=matrix.weight.device)].detach()
        if table.shape != (len(known), model.config.width) or max(known) >= model.config.vocab:
            raise _mismatch(adapter, f"rows of {name} of shape {tuple(table.shape)} for {len(known)} tokens")
        tables.append(table.to(model.embedding.weight.device, torch.float32))
    model.embedding_rows = TrainedEmbeddingRows(known, model.config.vocab, tables[0], tables[1] if others else None)


def _token_ids_of(adapter: Adapter, module: str) -> Sequence[int]:
    """Tokens whose rows of a module were trained; a list without a name belongs to the embedding."""
    for name, ids in adapter.tokens.items():
        if module == name or module.endswith(f".{name}" if name else ""):
            return ids
    return ()


def _mismatch(adapter: Adapter, what: str) -> ValueError:
    return ValueError(
        f"{adapter.folder / ADAPTER_WEIGHTS} contains {what}, which does not match the base {adapter.base}"
    )
