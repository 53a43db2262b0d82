"""Verified export of adapters: a model must give the same logits in memory, reloaded, merged and exported, or nothing
is published. (In other libraries new tokens and tied embeddings break this.)"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import torch

from tutelage import tokenizer as tokenizers
from tutelage.chat.render.config import CHAT_SETTINGS, GENERATION_CONFIG, TEMPLATE, TOKENIZER_CONFIG
from tutelage.files import atomic_folder, write_json
from tutelage.model.adapter import ADAPTER_BASE, ADAPTER_CONFIG, ADAPTER_WEIGHTS, is_adapter, read_adapter
from tutelage.model.carried import checkpoint_dtype
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.hub import CONFIG, WEIGHTS, base_folder, find_module_names, load_model, save_adapter, save_model
from tutelage.model.lora import LoraSettings, merge_lora
from tutelage.model.tensor_map import OWN
from tutelage.model.weights import INDEX

PROBE_TOKENS = 64
# Relative to the largest logit: float32 sums in another order. A reloaded adapter must be equal bit for bit.
TOLERANCE = 1e-4
EXPORTED = (
    ADAPTER_WEIGHTS, ADAPTER_BASE, ADAPTER_CONFIG, tokenizers.FILE_NAME, TEMPLATE, TOKENIZER_CONFIG, GENERATION_CONFIG,
    CHAT_SETTINGS, CONFIG,
)  # fmt: skip


class AdapterMismatchError(ValueError):
    """The saved adapter does not compute what the trained model computes."""


@torch.no_grad()
def probe_logits(checkpoint: Checkpoint) -> torch.Tensor:
    """Logits of a fixed probe sequence, float32 [P, V], and outputs of named heads as further columns. Even positions
    are spread over the vocabulary, odd ones take the last tokens, where new tokens are."""
    model, known = checkpoint.model, checkpoint.tokenizer.vocab_size
    positions_N = torch.arange(min(PROBE_TOKENS, model.config.context), device=model.embedding.weight.device)
    tokens_N = torch.where(positions_N % 2 == 1, known - 1 - positions_N // 2 % known, positions_N * 7919 % known)
    hidden_ND = model.hidden(tokens_N, positions_N, model.within_segments((len(tokens_N),)))
    heads = [output.reshape(len(output), -1) for _, output in sorted(model.head_outputs(hidden_ND).items())]
    return torch.cat([model.logits(hidden_ND).float(), *heads], dim=1)


def publish_adapter(folder: Path, checkpoint: Checkpoint, base: Path, settings: LoraSettings) -> None:
    """Save an adapter of the model in `base` into a stage's folder, after verifying that the reloaded and the merged
    model compute what the model in memory computes.

    Raises:
        AdapterMismatchError: they differ; the folder is unchanged.
    """
    temporary = folder / ".adapter.new"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        save_adapter(temporary, checkpoint, base, settings)
        verify_adapter(temporary, checkpoint)
        last = (ADAPTER_CONFIG, CONFIG)  # moved last: if one exists, the folder is complete
        for name in (*last, WEIGHTS, INDEX):
            (folder / name).unlink(missing_ok=True)
        for path in folder.glob("model-*-of-*.safetensors"):
            path.unlink()
        for path in sorted(temporary.iterdir(), key=lambda path: path.name in last):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def verify_adapter(folder: Path, trained: Checkpoint) -> None:
    """Compare an adapter folder with the model in memory: reloaded bit for bit, merged within TOLERANCE.

    Raises:
        AdapterMismatchError: they differ.
    """
    weight = trained.model.embedding.weight
    reloaded = load_model(folder, str(weight.device), dtype=weight.dtype, merged=False)
    _check_logits(probe_logits(reloaded), probe_logits(trained), 0.0, "the reloaded adapter", folder)
    if weight.dtype != torch.float32:  # in bfloat16 rounding would hide an error of merging
        reloaded = load_model(folder, str(weight.device), merged=False)
    unmerged_PV = probe_logits(reloaded)
    merge_lora(reloaded.model)
    _check_logits(probe_logits(reloaded), unmerged_PV, TOLERANCE, "the merged adapter", folder)


def export_merged(folder: Path, out: Path, dtype: torch.dtype | None = None) -> None:
    """Save the base with the adapter merged into it.

    dtype: of the weights; None is that of the base's checkpoint.

    Raises:
        ValueError: the folder holds no adapter, or `out` exists.
        AdapterMismatchError: the merged model, reloaded, gives other logits than before; `out` is not created.
    """
    _check_export(folder, out)
    checkpoint = load_model(folder, merged=False)
    unmerged_PV = probe_logits(checkpoint)
    merge_lora(checkpoint.model)
    _check_logits(probe_logits(checkpoint), unmerged_PV, TOLERANCE, "the merged model", out)
    if dtype is not None:
        checkpoint = with_dtype(checkpoint, dtype)
    _round_weights(checkpoint)
    with atomic_folder(out) as temporary:
        save_model(temporary, checkpoint)
        saved_PV = probe_logits(load_model(temporary))
        _check_logits(saved_PV, probe_logits(checkpoint), TOLERANCE, "the saved merged model", out)


@torch.no_grad()
def _round_weights(checkpoint: Checkpoint) -> None:
    """Round the weights in memory as they will be on disk, so that the two can be compared. Rotary tables are no
    weights: they are computed in float32 wherever the model is loaded."""
    dtype = checkpoint_dtype(checkpoint.hub_config)
    for parameter in checkpoint.model.parameters():
        parameter.copy_(parameter.to(dtype))


def export_weights(folder: Path, out: Path, dtype: torch.dtype | None = None) -> None:
    """Save a model whose weights are complete as it is, or in another dtype.

    Raises:
        ValueError: `out` exists.
    """
    _check_out(out)
    checkpoint = load_model(folder)
    if dtype is not None:
        checkpoint = with_dtype(checkpoint, dtype)
    with atomic_folder(out) as temporary:
        save_model(temporary, checkpoint)


def with_dtype(checkpoint: Checkpoint, dtype: torch.dtype) -> Checkpoint:
    """The same checkpoint, to be saved in this dtype. ValueError for a model that no config.json describes."""
    if checkpoint.hub_config is None:
        raise ValueError("only models in the layout of a published family can be saved in another dtype than float32")
    return replace(checkpoint, hub_config={**checkpoint.hub_config, "dtype": str(dtype).removeprefix("torch.")})


def export_adapter(folder: Path, out: Path) -> None:
    """Save an adapter as PEFT loads it: the adapter with its tokenizer and chat files.

    Raises:
        ValueError: the folder holds no adapter, or one that PEFT cannot load onto its base; or `out` exists.
        AdapterMismatchError: the copy gives other logits; `out` is not created.
    """
    _check_export(folder, out)
    if is_adapter(base_folder(read_adapter(folder))):
        raise ValueError(f"the base of {folder} is an adapter itself, which PEFT cannot load; add --merge")
    checkpoint = load_model(folder, merged=False)
    if find_module_names(checkpoint) is OWN:
        raise ValueError(f"{folder}: PEFT does not know the architecture; add --merge to export a full model")
    if checkpoint.model.embedding_rows is not None and getattr(checkpoint.model.head, "bias", None) is not None:
        raise ValueError(f"{folder}: peft drops the bias of an output matrix whose rows are trained; add --merge")
    with atomic_folder(out) as temporary:
        for name in EXPORTED:
            if (folder / name).exists():
                shutil.copyfile(folder / name, temporary / name)
        if not (temporary / TOKENIZER_CONFIG).exists():  # without it PEFT does not resize the embedding for new tokens
            write_json(temporary / TOKENIZER_CONFIG, {"tokenizer_class": "PreTrainedTokenizerFast"})
        _check_logits(
            probe_logits(load_model(temporary, merged=False)),
            probe_logits(checkpoint),
            0.0,
            "the copy of the adapter",
            out,
        )


def _check_export(folder: Path, out: Path) -> None:
    if not is_adapter(folder):
        raise ValueError(f"{folder} holds no adapter; its weights are complete already")
    _check_out(out)


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists already; give a new or empty folder: --out DIR")


def _check_logits(
    actual_PV: torch.Tensor, expected_PV: torch.Tensor, tolerance: float, subject: str, folder: Path
) -> None:
    """AdapterMismatchError if logits differ by more than `tolerance` times the largest."""
    difference = float((actual_PV - expected_PV).abs().max()) if actual_PV.shape == expected_PV.shape else torch.inf
    if not difference <= tolerance * float(expected_PV.abs().max()):
        raise AdapterMismatchError(
            f"{folder}: {subject} gives other logits than the trained model (difference up to {difference:.2g}), so it "
            "was not published; internal error: please report it"
        )
