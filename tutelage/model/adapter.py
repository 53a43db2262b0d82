"""Adapters on disk, in the layout of PEFT: what was trained beside a base model, without the base.

`adapter_config.json` says on which base, and how a pair's product is scaled; `adapter_model.safetensors` holds each
matrix's lora_A and lora_B under the name that its family has for it, and the rows of new tokens as "trainable tokens".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tutelage.files import read_json, write_json
from tutelage.model.layout import GPT2, Modules
from tutelage.model.lora import LoraSettings, freeze, lora_parts, make_room, places, scale_of
from tutelage.model.token_rows import TokenRows
from tutelage.model.transformer import Transformer
from tutelage.model.weights import load_tensors, save_tensors

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Ours: by what the weights of the base are told from others, so that an adapter is never put beside the wrong ones.
ADAPTER_BASE = "adapter_base.json"
_STEM, _ROWS = "base_model.model.", "token_adapter.trainable_tokens_delta"
# Other ways to adapt, by the key of adapter_config.json that asks for them.
_REFUSED = {
    "use_dora": "its pairs are of the kind DoRA",
    "alpha_pattern": "its matrices are scaled each in its own way (alpha_pattern)",
    "layer_replication": "it repeats layers of its base",
    "target_parameters": "it adapts parameters that are no matrices of a layer (target_parameters)",
    "lora_bias": "its pairs have biases (lora_bias)",
    "alora_invocation_tokens": "it acts on some tokens alone (aLoRA)",
}
# What else may be said of how A and B began changes the base's weights too, and those are not at hand.
_PLAIN_BEGINNINGS = (True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class Adapter:
    """What an adapter's folder holds.

    base:    the model it belongs beside: a folder, or an owner/name on the hub, at `revision` where it says one.
    mark:    the mark of the base's weights (`weights.weights_mark`); None where other programs wrote the adapter.
    alpha:   with the rank, what products are multiplied by; `stabilised` as in LoraSettings.
    tokens:  the tokens with rows of their own, by the name of the module that holds the rows.
    tensors: by the names of the file, without "base_model.model.".
    """

    folder: Path
    base: str
    revision: str | None
    mark: str | None
    alpha: float
    stabilised: bool
    tokens: Mapping[str, Sequence[int]]
    tensors: Mapping[str, torch.Tensor]


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and not a model of its own."""
    return (folder / ADAPTER_CONFIG).exists()


def write_adapter(
    folder: Path,
    model: Transformer,
    modules: Modules,
    settings: LoraSettings,
    base: tuple[str, str | None],
    mark: str,
) -> None:
    """Write what was trained. `base` is the name of the base and its revision, as `Adapter` has them."""
    tensors = {}
    for name, linear, part in lora_parts(model, modules):
        tensors[f"{_STEM}{name}.lora_A.weight"] = linear.lora_A[part]
        tensors[f"{_STEM}{name}.lora_B.weight"] = linear.lora_B[part]
    tokens: dict[str, list[int]] = {}
    if model.token_rows is not None:
        for end, rows_RD in (("embedding", model.token_rows.embedding), ("head", model.token_rows.head)):
            if rows_RD is not None:
                (name,) = modules[end]
                tensors[f"{_STEM}{name}.{_ROWS}"] = rows_RD
                tokens[name.rpartition(".")[2]] = model.token_rows.ids_R.tolist()
    save_tensors(folder / ADAPTER_WEIGHTS, tensors)
    write_json(folder / ADAPTER_BASE, {"weights": mark})
    names = [name for name, _, _ in lora_parts(model, modules)]
    targets = settings.targets or list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    alpha = int(settings.alpha) if settings.alpha == int(settings.alpha) else settings.alpha
    said = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base[0],
        "revision": base[1],
        "inference_mode": True,
        "r": settings.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": settings.rank_stabilised,
        "fan_in_fan_out": modules is GPT2,  # its matrices are written the other way round
        "target_modules": targets,
        "trainable_token_indices": tokens or None,
    }
    write_json(folder / ADAPTER_CONFIG, said)


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's folder, ours or PEFT's.

    Raises:
        ValueError: it is not whole, or adapts its base in another way than by low-rank pairs and rows of tokens.
    """
    path, weights = folder / ADAPTER_CONFIG, folder / ADAPTER_WEIGHTS
    said = read_json(path)
    if not isinstance(said, dict) or said.get("peft_type") != "LORA":
        kind = said.get("peft_type") if isinstance(said, dict) else None
        raise ValueError(f"{path}: adapters of type '{kind}' are not supported, LORA is")
    refused = [why for key, why in _REFUSED.items() if said.get(key)]
    if said.get("bias", "none") != "none":
        refused.append(f"it trains biases (bias = {said['bias']})")
    if said.get("init_lora_weights", True) not in _PLAIN_BEGINNINGS:
        refused.append(f"it changes its base's weights (init_lora_weights = {said['init_lora_weights']})")
    if refused:
        raise ValueError(f"{path}: {refused[0]}, which is not supported; merge it with peft and load the merged model")
    if not weights.exists() and (folder / "adapter_model.bin").exists():
        raise ValueError(
            f"{folder} holds its adapter as adapter_model.bin, a pickle, which can run code when it is read and is "
            "never loaded; save it again with a newer peft"
        )
    base, rank, alpha = (said.get(key) for key in ("base_model_name_or_path", "r", "lora_alpha"))
    if not isinstance(base, str) or not isinstance(rank, int) or not isinstance(alpha, int | float):
        raise ValueError(f"{path} does not say base_model_name_or_path, r and lora_alpha; it is no whole adapter")
    tokens = said.get("trainable_token_indices") or {}
    tensors = load_tensors(weights)
    return Adapter(
        folder=folder,
        base=base,
        revision=said.get("revision"),
        mark=read_json(folder / ADAPTER_BASE)["weights"] if (folder / ADAPTER_BASE).exists() else None,
        alpha=float(alpha),
        stabilised=bool(said.get("use_rslora")),
        tokens=tokens if isinstance(tokens, dict) else {"": tokens},
        tensors={name.removeprefix(_STEM): tensor for name, tensor in tensors.items()},
    )


def vocabulary_of(adapter: Adapter, base: int) -> int:
    """How many rows the embedding must have, of a base that has `base`."""
    whole = [len(tensor) for name, tensor in adapter.tensors.items() if _is_whole_end(name)]
    return whole[0] if whole else max([base, *(max(ids) + 1 for ids in adapter.tokens.values() if ids)])


def _is_whole_end(name: str) -> bool:
    """Whether a tensor is a whole embedding or head, as PEFT writes them where a vocabulary has grown."""
    return re.search(r"(embed_tokens|wte|lm_head)(\.base_layer|\.modules_to_save)?\.weight$", name) is not None


def attach(model: Transformer, modules: Modules, adapter: Adapter) -> None:
    """Freeze a base model and put an adapter beside it.

    Raises:
        ValueError: the adapter is of another model.
    """
    freeze(model)
    found = places(model, modules)
    left = dict(adapter.tensors)
    for name in sorted({key.rpartition(".lora_")[0] for key in left if ".lora_" in key}):
        a_RI, b_OR = (left.pop(f"{name}.lora_{one}.weight", None) for one in ("A", "B"))
        if name not in found or a_RI is None or b_OR is None:
            raise _strange(adapter, f"{name}.lora_A and .lora_B")
        linear, part = make_room(model, modules, found[name]), found[name].part
        rank, inputs = a_RI.shape
        if inputs != linear.weight.shape[1] or b_OR.shape != (linear.sizes[part], rank):
            raise _strange(adapter, f"{name}.lora_A and .lora_B of shapes {tuple(a_RI.shape)}, {tuple(b_OR.shape)}")
        a_RI, b_OR = (one.to(linear.weight.device, torch.float32) for one in (a_RI, b_OR))
        linear.put_pair(part, a_RI, b_OR, scale_of(adapter.alpha, rank, adapter.stabilised))
    _put_whole_ends(model, modules, adapter, left)
    _put_rows(model, modules, adapter, left)
    if left:
        raise _strange(adapter, min(left))


def _ends(model: Transformer, modules: Modules) -> dict[str, nn.Embedding | nn.Linear]:
    """The embedding, and the head where it is a matrix of its own, by their names in the family."""
    ends: dict[str, nn.Embedding | nn.Linear] = {modules["embedding"][0]: model.embedding}
    return ends if model.head is None else ends | {modules["head"][0]: model.head}


def _put_whole_ends(model: Transformer, modules: Modules, adapter: Adapter, left: dict[str, torch.Tensor]) -> None:
    """Put a whole embedding and head in the place of the base's."""
    whole = {name: left.pop(name) for name in list(left) if _is_whole_end(name)}
    by_name = {re.sub(r"(\.base_layer|\.modules_to_save)?\.weight$", "", name): one for name, one in whole.items()}
    tied = by_name.pop(modules["head"][0], None) if model.head is None else None
    if tied is not None and not torch.equal(tied, by_name.get(modules["embedding"][0], tied)):
        raise ValueError(
            f"{adapter.folder}: embedding and head were trained apart, but in the base they are one matrix (tied); "
            "untie the base first, or train the adapter again with the new tokens' rows alone"
        )
    for name, end in _ends(model, modules).items():
        tensor = by_name.pop(name, None)
        if tensor is not None:
            if tensor.shape != end.weight.shape:
                raise _strange(adapter, f"{name}.weight of shape {tuple(tensor.shape)}")
            with torch.no_grad():
                end.weight.copy_(tensor)
    if by_name:
        raise _strange(adapter, min(by_name))


def _put_rows(model: Transformer, modules: Modules, adapter: Adapter, left: dict[str, torch.Tensor]) -> None:
    """Put trained rows in the place of those that the base has for their tokens."""
    rows = {name.removesuffix(f".{_ROWS}"): left.pop(name) for name in list(left) if name.endswith(f".{_ROWS}")}
    if not rows:
        return
    embedding, *others = _ends(model, modules)
    ids = {name: _tokens_of(adapter, name) for name in rows}
    known = list(ids.get(embedding, ()))
    if not known or set(rows) - {embedding, *others} or any(list(one) != known for one in ids.values()):
        raise _strange(adapter, "rows of tokens other than those of its embedding")
    tables = []
    for name, end in _ends(model, modules).items():
        table = rows.get(name)
        if table is None:
            table = end.weight[torch.tensor(known, device=end.weight.device)].detach()
        if table.shape != (len(known), model.config.width) or max(known) >= model.config.vocab:
            raise _strange(adapter, f"rows of {name} of shape {tuple(table.shape)} for {len(known)} tokens")
        tables.append(table.to(model.embedding.weight.device, torch.float32))
    model.token_rows = TokenRows(known, model.config.vocab, tables[0], tables[1] if others else None)


def _tokens_of(adapter: Adapter, module: str) -> Sequence[int]:
    """The tokens whose rows of a module were trained; a list without a name is of the embedding."""
    for name, ids in adapter.tokens.items():
        if module == name or module.endswith(f".{name}" if name else ""):
            return ids
    return ()


def _strange(adapter: Adapter, what: str) -> ValueError:
    return ValueError(f"{adapter.folder / ADAPTER_WEIGHTS} holds {what}, which does not belong beside {adapter.base}")
