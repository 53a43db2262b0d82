"""Save model folders: in the layout of transformers where a model fits a published family, otherwise in our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import torch

from tutelage.chat.render.config import write_chat_config
from tutelage.config import to_plain
from tutelage.files import read_json, write_json
from tutelage.model.adapter import ADAPTER_BASE, ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tutelage.model.carried import checkpoint_dtype, copy_carried_files
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.families import FAMILIES, write_config
from tutelage.model.hf_model import HFModel, save_hf_weights, text_config
from tutelage.model.tensor_map import SELECTION_BIASES, FileTensor, file_tensors
from tutelage.model.transformer import Transformer
from tutelage.model.weights import as_dtype, save_tensors, write_weights

CONFIG = "config.json"
# Blocks of multi-token prediction, beside a model that other programs load without them.
MTP = "mtp.safetensors"


def save_model(folder: Path, checkpoint: Checkpoint) -> None:
    """Save a model folder: in the layout of the model's family, or of a family that it fits, which transformers loads;
    otherwise in our own. The weights get the dtype of the checkpoint that the model was made of. The config is written
    last: if it exists, the weights are complete."""
    table, plain = config_tables(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = checkpoint_dtype(plain)
    if (folder / CONFIG).exists() and read_json(folder / CONFIG) != plain:
        (folder / CONFIG).unlink()  # it would not match the new weights
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_BASE, MTP):
        (folder / name).unlink(missing_ok=True)
    checkpoint.tokenizer.save(folder)
    write_chat_config(folder, checkpoint.chat_config)
    if checkpoint.source is not None:
        copy_carried_files(checkpoint.source, folder)
    if checkpoint.model.config.hf_parameters is not None:
        whole = save_hf_weights(folder, cast(HFModel, checkpoint.model), dtype, checkpoint.source)
        plain = plain if whole else text_config(cast(HFModel, checkpoint.model), dtype)
    else:
        tensors = model_tensors(checkpoint.model, table)
        write_weights(folder, {name: _as_saved(name, part.to_file(), dtype) for name, part in tensors.items()})
        further = {name: p for name, p in checkpoint.model.state_dict().items() if name.startswith("mtp_blocks.")}
        if further:
            save_tensors(folder / MTP, further)
    write_json(folder / CONFIG, plain)


def _as_saved(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in the dtype of a checkpoint; biases of routers stay float32, as transformers saves them."""
    return tensor if name.endswith(SELECTION_BIASES) else as_dtype(tensor, dtype)


def config_tables(checkpoint: Checkpoint) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The config.json of the model's family, None for our own layout; and the config.json to save."""
    config = msgspec.structs.replace(checkpoint.model.config, mtp=0)
    table = dict(checkpoint.hub_config or {}) if config.hf_parameters else write_config(config, checkpoint.hub_config)
    if table is None:
        return None, to_plain(config)
    if config.hf_parameters is not None:
        inner = table.get("text_config")
        holder = inner if isinstance(inner, dict) and "vocab_size" in inner else table
        if holder.get("vocab_size") != config.vocab:
            changed = {**holder, "vocab_size": config.vocab}
            table = {**table, "text_config": changed} if holder is inner else changed
    if checkpoint.hub_config is not None and checkpoint_dtype(checkpoint.hub_config) != torch.float32:
        return table, table
    dtype_key = "torch_dtype" if "torch_dtype" in table else "dtype"  # its name before transformers 5
    return table, table | {dtype_key: str(checkpoint.model.embedding.weight.dtype).removeprefix("torch.")}


def model_tensors(model: Transformer, table: Mapping[str, Any] | None) -> dict[str, FileTensor]:
    """The model's weights as in its folder: views by the names in the file."""
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("mtp_blocks.")}
    if table is None:
        return {name: FileTensor(tensor) for name, tensor in state.items()}
    modules = FAMILIES[table["model_type"]].modules
    return {
        name: part
        for ours, tensor in state.items()
        for name, part in file_tensors(modules, model.config, ours, tensor).items()
    }
