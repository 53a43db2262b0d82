"""What a checkpoint brings beside what is trained of it: small files, tensors of parts that we do not run (a vision
tower, heads for multi-token prediction), and its dtype. All of it is saved with the fine-tuned model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tutelage.model.weights import read_tensor, tensor_files

# Files beside the weights that a fine-tuning does not change: other forms of the tokenizer, processors of images and
# sound, terms of use.
CARRIED = (
    "tokenizer.model", "*.spm", "*.tiktoken", "vocab.json", "merges.txt", "vocab.txt", "*processor_config.json",
    "LICENSE*", "NOTICE*", "USE_POLICY*",
)  # fmt: skip
# How the text part of a larger model is named: its prefix when it is loaded alone, and in the whole checkpoint.
_PREFIXES = (
    ("", ""),
    ("model.", "model.language_model."),
    ("", "language_model."),
    ("model.", "language_model.model."),
)
_HEAD = "lm_head."
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def copy_carried_files(source: Path, folder: Path) -> None:
    """Copy the small files of a checkpoint into the folder of the model that was made of it."""
    if source.resolve() == folder.resolve():
        return
    for pattern in CARRIED:
        for path in source.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)


def checkpoint_dtype(table: Mapping[str, Any] | None) -> torch.dtype:
    """The dtype that a config.json names; float32 where it names none."""
    tables = (table or {}, (table or {}).get("text_config") or {})
    named = (level.get(key) for level in tables for key in ("dtype", "torch_dtype"))
    return next((DTYPES[name] for name in named if name in DTYPES), torch.float32)


def whole_checkpoint(
    tensors: Mapping[str, torch.Tensor], source: Path
) -> tuple[dict[str, torch.Tensor], list[str]] | None:
    """The tensors of a text model under the names of the checkpoint that it was loaded from, with all others of that
    checkpoint as they are there; and the names of these. None where its names do not fit."""
    files = tensor_files(source)
    for ours, theirs in _PREFIXES:
        renamed = {_renamed(name, ours, theirs): tensor for name, tensor in tensors.items()}
        unknown = renamed.keys() - files.keys()
        if all(name.endswith(f"{_HEAD}weight") for name in unknown):  # a tied head may be left out of either
            others = sorted(files.keys() - renamed.keys())
            return renamed | {name: read_tensor(files[name], name) for name in others}, others
    return None


def _renamed(name: str, ours: str, theirs: str) -> str:
    if name.startswith(_HEAD) and theirs.startswith("model."):
        return name
    return theirs + name.removeprefix(ours) if name.startswith(ours) else name
