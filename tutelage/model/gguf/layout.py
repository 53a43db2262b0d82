"""How llama.cpp's GGUF files hold models: architectures, metadata and tensors. Names and rules are those of llama.cpp's
`convert_hf_to_gguf.py` and `gguf-py/gguf/constants.py`.

Shape suffixes: H heads, K head size, I inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch

from tutelage.config import to_plain
from tutelage.model.families import FAMILIES, read_config
from tutelage.model.rotary import scaled_periods, unscaled_periods
from tutelage.model.settings import LinearScaling, Llama3Scaling
from tutelage.model.sizes import ModelConfig
from tutelage.model.tensor_map import GGUF, split_tensor

# The architecture of each family in llama.cpp. Others exist there, but their tensors differ from ours by more.
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}
ROPE_FACTORS = "rope_freqs.weight"
# Settings that llama.cpp fixes for an architecture, and files do not hold, as keys of config.json.
_FIXED: dict[str, dict[str, Any]] = {
    "gemma2": {"hidden_activation": "gelu_pytorch_tanh"},
    "gemma3_text": {"hidden_activation": "gelu_pytorch_tanh", "rope_local_base_freq": 10_000.0},
}
# Llama 3.1's scaling: files hold only the factors that follow from it.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}

Metadata = dict[str, Any]


def load_gguf() -> Any:
    """The package `gguf`.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module("gguf")
    except ImportError:
        raise ValueError("GGUF files need the package gguf; run: pip install 'tutelage[gguf]'") from None


def write_metadata(config: ModelConfig, architecture: str) -> Metadata:
    """The sizes of a model under llama.cpp's keys, without the architecture's prefix."""
    metadata: Metadata = {
        "vocab_size": config.vocab,
        "context_length": config.context,
        "embedding_length": config.width,
        "block_count": config.depth,
        "feed_forward_length": config.mlp_width,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_size,
        "attention.value_length": config.head_size,
        "attention.layer_norm_rms_epsilon": float(config.norm_eps),
        "rope.dimension_count": config.head_size,
        "rope.freq_base": float(config.rope_theta),
    }
    if isinstance(config.rope_scaling, LinearScaling):
        metadata |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(config.rope_scaling.factor)}
    if architecture in ("gemma2", "gemma3") and config.window is not None:
        metadata["attention.sliding_window"] = config.window
    if architecture == "gemma2":
        metadata["attn_logit_softcapping"] = float(config.attention_softcap or 0)
        metadata["final_logit_softcapping"] = float(config.logit_softcap or 0)
    return metadata


def config_table(architecture: str, metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a family that describes a GGUF file; `tensors` by their names there.

    Raises:
        ValueError: the architecture is not supported, or a size is missing.
    """
    kind = next((kind for kind, name in ARCHITECTURES.items() if name == architecture), None)
    if kind is None:
        known = ", ".join(dict.fromkeys(ARCHITECTURES.values()))
        raise ValueError(f"its architecture '{architecture}' is not supported; supported: {known}")

    def size(key: str, default: Any = None) -> Any:
        value = metadata.get(key, default)
        if value is None:
            raise ValueError(f"it lacks {architecture}.{key}")
        return value

    heads, width = size("attention.head_count"), size("embedding_length")
    table = {
        "architectures": [FAMILIES[kind].architecture],
        "model_type": kind,
        "vocab_size": len(tensors["token_embd.weight"]),
        "hidden_size": width,
        "intermediate_size": size("feed_forward_length"),
        "num_hidden_layers": size("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": size("attention.head_count_kv", heads),
        # llama.cpp's qwen2 has no heads of another size.
        "head_dim": width // heads if kind == "qwen2" else size("attention.key_length", width // heads),
        "max_position_embeddings": size("context_length"),
        "rms_norm_eps": shortest(size("attention.layer_norm_rms_epsilon")),
        "rope_theta": shortest(size("rope.freq_base", 10_000.0)),
        "tie_word_embeddings": "output.weight" not in tensors,
        **_FIXED.get(kind, {}),
    }
    if kind == "llama" and "blk.0.attn_output.bias" in tensors:
        table["attention_bias"] = True
    if "rope.scaling.factor" in metadata and metadata.get("rope.scaling.type") == "linear":
        table["rope_scaling"] = {"rope_type": "linear", "factor": shortest(metadata["rope.scaling.factor"])}
    elif metadata.get("rope.scaling.type", "none") not in ("none", "linear"):
        raise ValueError(f"its RoPE scaling '{metadata['rope.scaling.type']}' is not supported")
    if kind.startswith("gemma"):
        table["query_pre_attn_scalar"] = table["head_dim"]
        table["sliding_window"] = metadata.get("attention.sliding_window")
    if kind == "gemma2":
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            table[key] = shortest(metadata[key]) if metadata.get(key) else None
    if ROPE_FACTORS in tensors:
        factor = shortest(float(np.max(np.asarray(tensors[ROPE_FACTORS]))))
        table["rope_scaling"] = {"rope_type": "llama3", "factor": factor, **_LLAMA3}
        factors = rope_factors(read_config(table, "the file"))
        if factors is None or not np.allclose(factors, np.asarray(tensors[ROPE_FACTORS]), rtol=1e-4):
            raise ValueError("its RoPE factors are not those of Llama 3.1, and others are not supported")
    return table


def rope_factors(config: ModelConfig) -> np.ndarray | None:
    """What llama.cpp divides the frequencies by, float32 [pairs], where a formula of its own gives them."""
    if not isinstance(config.rope_scaling, Llama3Scaling):
        return None
    return (scaled_periods(config) / unscaled_periods(config)).float().numpy()


def check_expressible(config: ModelConfig, kind: str) -> str:
    """The architecture for a model of a family.

    Raises:
        ValueError: llama.cpp has none, or a file would not say all of the config.
    """
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"models of type '{kind}' cannot be exported to GGUF; supported: {known}")
    architecture = ARCHITECTURES[kind]
    tensors: dict[str, Any] = {"token_embd.weight": range(config.vocab)}
    tensors |= {} if config.tied else {"output.weight": None}
    tensors |= {"blk.0.attn_output.bias": None} if "attention_out" in config.biases else {}
    factors = rope_factors(config)
    tensors |= {} if factors is None else {ROPE_FACTORS: factors}
    table = config_table(architecture, write_metadata(config, architecture), tensors)
    back, plain = _rounded(to_plain(read_config(table, "the file"))), _rounded(to_plain(config))
    lost = [name for name in plain if plain[name] != back[name]]
    if lost:
        raise ValueError(
            f"GGUF's '{architecture}' has no place for {lost[0]} = {plain[lost[0]]}, so it is not exported"
        )
    return architecture


def file_tensors(config: ModelConfig, architecture: str, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """One of our tensors as in a GGUF file, by the names there: views where the values are ours."""
    parts = split_tensor(GGUF, config, name, tensor)
    if architecture == "llama":
        for part, heads in (("attn_q", config.heads), ("attn_k", config.kv_heads)):
            parts |= {key: interleaved(x, heads) for key, x in parts.items() if key.split(".")[2:3] == [part]}
    if config.norm == "rms_zero_centred" and tensor.ndim == 1:
        parts = {key: 1 + x for key, x in parts.items()}
    return parts


def our_values(config: ModelConfig, architecture: str, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of a GGUF file with our values; the inverse of what `file_tensors` does to a part."""
    part = name.split(".")[2:3]
    if architecture == "llama" and part in (["attn_q"], ["attn_k"]):
        return halved(tensor, config.heads if part == ["attn_q"] else config.kv_heads)
    return tensor - 1 if config.norm == "rms_zero_centred" and tensor.ndim == 1 else tensor


def interleaved(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows [H K, I] or [H K] from Llama's order, where the pair of dimension i is i + K/2, to that of llama.cpp's
    "llama", where pairs are neighbours."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def halved(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """The inverse of `interleaved`."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def shortest(number: float) -> float:
    """A number that was stored as float32, as it was written: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(number)))


def _rounded(value: Any) -> Any:
    """All numbers as float32 holds them."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return shortest(value) if isinstance(value, float) else value
