"""Read a GGUF file as a model; quantised weights are dequantised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tutelage.model.checkpoint import Checkpoint
from tutelage.model.families import read_config
from tutelage.model.gguf.layout import ROPE_FACTORS, config_table, file_tensors, load_gguf, our_values
from tutelage.model.gguf.vocabulary import read_vocabulary
from tutelage.model.parts import parts
from tutelage.model.transformer import Transformer

SUFFIX = ".gguf"
# The dtype for a model, by that of the file's matrices; float32 for quantised ones.
_DTYPES = {"F16": "float16", "BF16": "bfloat16"}


def read_gguf(path: Path) -> Checkpoint:
    """The model of a file, in float32, with its tokenizer, chat template and stop tokens.

    Raises:
        ValueError: it is no GGUF file, or holds a model, a tokenizer or a quantisation that is not supported.
    """
    gguf = load_gguf()
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, OSError) as error:
        raise ValueError(f"{path} is not a complete GGUF file ({error}); download or create it again") from None
    fields = {name: field.contents() for name, field in reader.fields.items()}
    architecture = fields.get("general.architecture", "")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    try:
        if "token_embd.weight" not in tensors:
            raise ValueError("it has no token_embd.weight, so it is not a whole language model")
        metadata = _below(fields, f"{architecture}.")
        shapes: dict[str, Any] = {name: range(int(tensor.shape[-1])) for name, tensor in tensors.items()}
        if ROPE_FACTORS in tensors:
            shapes[ROPE_FACTORS] = np.array(tensors[ROPE_FACTORS].data)
        table = config_table(architecture, metadata, shapes)
        table["dtype"] = _DTYPES.get(tensors["token_embd.weight"].tensor_type.name, "float32")
        config = read_config(table, str(path))
        tokenizer, chat = read_vocabulary(_below(fields, "tokenizer."))
        with torch.device("meta"):
            model = Transformer(config)
        model.to_empty(device="cpu")
        _fill(gguf, model, architecture, tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    model.reset_rotations()
    return Checkpoint(model, tokenizer, chat, table)


def _below(fields: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)}


@torch.no_grad()
def _fill(gguf: Any, model: Transformer, architecture: str, tensors: dict[str, Any]) -> None:
    unread = set(tensors) - {ROPE_FACTORS}
    for name, weight in model.state_dict().items():
        # The parts' order and rows are those of our tensor, whatever happens to the values of each.
        for theirs, rows in zip(
            file_tensors(model.config, architecture, name, weight), _rows(model, name, weight), strict=True
        ):
            if theirs not in tensors:
                raise ValueError(f"it lacks {theirs}")
            unread.discard(theirs)
            tensor = tensors[theirs]
            try:
                array = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            except NotImplementedError:
                raise ValueError(f"{theirs} is stored as {tensor.tensor_type.name}, which is not supported") from None
            values = our_values(model.config, architecture, theirs, torch.from_numpy(np.array(array, np.float32)))
            if values.shape != rows.shape:
                raise ValueError(f"{theirs} has shape {tuple(values.shape)}, expected {tuple(rows.shape)}")
            rows.copy_(values)
    if unread:
        raise ValueError(f"it contains {min(unread)}, which the model does not have")


def _rows(model: Transformer, name: str, weight: torch.Tensor) -> list[torch.Tensor]:
    """Views of the parts of one of our tensors, in the order of `file_tensors`."""
    return [weight[part.rows] for part in parts(model.config, name)]
