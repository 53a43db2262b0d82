"""From a trained adapter to what others load: as it is in memory, as it reads back, merged, and exported, a model must
give the same logits, or nothing is published (new tokens and tied embeddings break this chain elsewhere)."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from tutelage import tokenizer as tokenizers
from tutelage.chat.render.config import GENERATION_CONFIG, TEMPLATE, TOKENIZER_CONFIG
from tutelage.files import atomic_folder, write_json
from tutelage.model.adapter import ADAPTER_BASE, ADAPTER_CONFIG, ADAPTER_WEIGHTS, is_adapter, read_adapter
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.hub import CONFIG, WEIGHTS, base_of, load_model, modules_of, save_adapter, save_model
from tutelage.model.layout import OWN
from tutelage.model.lora import LoraSettings, merge_lora
from tutelage.model.weights import INDEX

PROBE_TOKENS = 64
# Of the largest logit: float32 sums in another order. What reads back must be the same bit for bit.
TOLERANCE = 1e-4
EXPORTED = (
    ADAPTER_WEIGHTS, ADAPTER_BASE, ADAPTER_CONFIG, tokenizers.FILE_NAME, TEMPLATE, TOKENIZER_CONFIG, GENERATION_CONFIG,
    CONFIG,
)  # fmt: skip


class BrokenChain(ValueError):
    """What was written does not compute what was trained."""


@torch.no_grad()
def probe(checkpoint: Checkpoint) -> torch.Tensor:
    """Logits after some tokens, [P, V] in float32: every second from all over the vocabulary, those between from its
    end, where new tokens stand."""
    model, known = checkpoint.model, checkpoint.tokenizer.vocab_size
    positions_N = torch.arange(min(PROBE_TOKENS, model.config.context), device=model.embedding.weight.device)
    tokens_N = torch.where(positions_N % 2 == 1, known - 1 - positions_N // 2 % known, positions_N * 7919 % known)
    hidden_ND = model.hidden(tokens_N, positions_N, model.within_segments((len(tokens_N),)))
    return model.logits(hidden_ND).float()


def publish_adapter(folder: Path, checkpoint: Checkpoint, base: Path, settings: LoraSettings) -> None:
    """Write what was trained beside the model in `base` into a stage's folder, once it is proven that who reads it
    there, or merges it, computes what the model in memory computes.

    Raises:
        BrokenChain: they differ; the folder is left as it was.
    """
    temporary = folder / ".adapter.new"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        save_adapter(temporary, checkpoint, base, settings)
        check_adapter(temporary, checkpoint)
        last = (ADAPTER_CONFIG, CONFIG)  # where one of these stands, all is there
        for name in (*last, WEIGHTS, INDEX):
            (folder / name).unlink(missing_ok=True)
        for path in folder.glob("model-*-of-*.safetensors"):
            path.unlink()
        for path in sorted(temporary.iterdir(), key=lambda path: path.name in last):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_adapter(folder: Path, live: Checkpoint) -> None:
    """Compare what an adapter's folder gives with the model in memory: beside its base bit for bit, merged closely.

    Raises:
        BrokenChain: they differ.
    """
    weight = live.model.embedding.weight
    found = load_model(folder, str(weight.device), dtype=weight.dtype, merged=False)
    _check(probe(found), probe(live), 0.0, "the adapter that was written", folder)
    if weight.dtype != torch.float32:  # merging is proven in numbers that can tell it from rounding
        found = load_model(folder, str(weight.device), merged=False)
    beside = probe(found)
    merge_lora(found.model)
    _check(probe(found), beside, TOLERANCE, "the adapter merged into its base", folder)


def export_merged(folder: Path, out: Path) -> None:
    """Write the base of an adapter with the adapter merged into it, in float32: a model like any other.

    Raises:
        ValueError: the folder holds no adapter, or `out` is taken.
        BrokenChain: the merged model, read back, gives other logits than the adapter beside its base; nothing is left.
    """
    _refuse_to_export(folder, out)
    checkpoint = load_model(folder, merged=False)
    beside = probe(checkpoint)
    merge_lora(checkpoint.model)
    with atomic_folder(out) as temporary:
        save_model(temporary, checkpoint)
        _check(probe(load_model(temporary)), beside, TOLERANCE, "the merged model that was written", out)


def export_adapter(folder: Path, out: Path) -> None:
    """Write an adapter's folder as PEFT loads it: the adapter, and the tokenizer and chat files that belong to it.

    Raises:
        ValueError: the folder holds no adapter, or one that PEFT could not put beside its base; or `out` is taken.
        BrokenChain: the copy gives other logits; nothing is left.
    """
    _refuse_to_export(folder, out)
    if is_adapter(base_of(read_adapter(folder))):
        raise ValueError(f"the base of {folder} is an adapter itself, which PEFT does not load; add --merge")
    checkpoint = load_model(folder, merged=False)
    if modules_of(checkpoint, f"{folder} is of an architecture that is not built in") is OWN:
        raise ValueError(f"{folder} is of no architecture that PEFT knows; add --merge for a whole model")
    with atomic_folder(out) as temporary:
        for name in EXPORTED:
            if (folder / name).exists():
                shutil.copyfile(folder / name, temporary / name)
        if not (temporary / TOKENIZER_CONFIG).exists():  # PEFT makes room for new tokens only where it finds one
            write_json(temporary / TOKENIZER_CONFIG, {"tokenizer_class": "PreTrainedTokenizerFast"})
        _check(probe(load_model(temporary, merged=False)), probe(checkpoint), 0.0, "the copy of the adapter", out)


def _refuse_to_export(folder: Path, out: Path) -> None:
    if not is_adapter(folder):
        raise ValueError(f"{folder} holds no adapter: its weights are whole already")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already; name a new or empty folder: --out DIR")


def _check(found_PV: torch.Tensor, expected_PV: torch.Tensor, tolerance: float, what: str, where: Path) -> None:
    """BrokenChain where logits differ by more than a share of the largest."""
    difference = float((found_PV - expected_PV).abs().max()) if found_PV.shape == expected_PV.shape else torch.inf
    if not difference <= tolerance * float(expected_PV.abs().max()):
        raise BrokenChain(
            f"{where}: {what} gives other logits than what was trained (they differ by up to {difference:.2g}), so it "
            "was not published; this is an error of ours: please report it"
        )
