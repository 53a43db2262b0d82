"""Write a model as one GGUF file, for llama.cpp, Ollama and LM Studio."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tutelage.files import atomic_file
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.families import write_config
from tutelage.model.gguf.layout import (
    ROPE_FACTORS,
    check_expressible,
    file_tensors,
    load_gguf,
    rope_factors,
    write_metadata,
)
from tutelage.model.gguf.vocabulary import write_vocabulary

BLOCK = 32  # numbers with a common scale in Q8_0
LARGEST = 65504.0  # of float16


def write_gguf(path: Path, checkpoint: Checkpoint, kind: Literal["f16", "q8_0"], name: str) -> None:
    """Save weights, tokenizer, chat template and stop tokens. Matrices are float16 or 8-bit integers in blocks of 32
    with a scale (Q8_0); vectors are float32.

    Raises:
        ValueError: llama.cpp cannot run the model, or would encode its text differently; or a weight exceeds float16.
    """
    gguf, model = load_gguf(), checkpoint.model
    config = model.config
    if config.hf_parameters is not None:
        raise ValueError("only the built-in model families can be exported to GGUF; this model is held by transformers")
    table = write_config(config, checkpoint.hub_config)
    architecture = check_expressible(config, "tutelage" if table is None else table["model_type"])
    vocabulary = write_vocabulary(checkpoint.tokenizer, checkpoint.chat_config, config.vocab)
    with atomic_file(path) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture)
        writer.add_name(name)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.MOSTLY_Q8_0)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for key, value in write_metadata(config, architecture).items():
            _add(writer, f"{architecture}.{key}", value)
        for key, value in vocabulary.items():
            _add(writer, f"tokenizer.{key}", value)
        factors = rope_factors(config)
        if factors is not None:
            writer.add_tensor(ROPE_FACTORS, factors)
        for ours, tensor in model.state_dict().items():
            for theirs, part in file_tensors(config, architecture, ours, tensor).items():
                _add_tensor(writer, gguf, theirs, part, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _add(writer: Any, key: str, value: Any) -> None:
    """Add an entry, with the type that llama.cpp reads it with."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _add_tensor(writer: Any, gguf: Any, name: str, tensor: torch.Tensor, kind: str) -> None:
    array = tensor.detach().float().contiguous().cpu().numpy()
    if array.ndim == 1:
        writer.add_tensor(name, array)
    elif kind == "q8_0" and array.shape[1] % BLOCK == 0:
        q8_0 = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(array, q8_0), raw_dtype=q8_0)
    else:
        largest = float(np.abs(array).max())
        if largest > LARGEST:
            raise ValueError(f"{name} has a weight of {largest:.3g}, and float16 holds up to {LARGEST:.0f}; use q8_0")
        writer.add_tensor(name, array.astype(np.float16))
