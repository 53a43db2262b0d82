"""A model's folder: config.json, model.safetensors and tokenizer.json, written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file

from tutelage import tokenizer as tokenizers
from tutelage.config import SettingsError, convert, to_plain
from tutelage.files import atomic_file, read_json, write_json
from tutelage.model.sizes import ModelConfig
from tutelage.model.transformer import Transformer
from tutelage.tokenizer import Tokenizer

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model together with the tokenizer it reads and writes with."""

    model: Transformer
    tokenizer: Tokenizer


def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with atomic_file(path) as temporary:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary)


def load_tensors(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read a safetensors file; ValueError where it is missing or broken."""
    try:
        return load_file(path, device=device)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; the folder {path.parent} is not a whole model") from None
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); copy or make it again") from error


def save_model(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a model's folder. The config is written last: where it stands, the weights are whole."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.tokenizer.save(folder)
    save_tensors(folder / WEIGHTS, checkpoint.model.state_dict())
    write_json(folder / CONFIG, to_plain(checkpoint.model.config))


def load_model(folder: Path, device: str = "cpu") -> Checkpoint:
    """Read a model's folder.

    Raises:
        ValueError: the folder is missing, is no model, or its files do not fit together; the sentence says which.
    """
    config = load_config(folder)
    tokenizer = tokenizers.load(folder)
    if tokenizer.vocab_size != config.vocab:
        raise ValueError(f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab}")
    with torch.device("meta"):
        model = Transformer(config)
    tensors = load_tensors(folder / WEIGHTS, device)
    _check_shapes(folder / WEIGHTS, {name: t.shape for name, t in model.state_dict().items()}, tensors)
    model.to_empty(device=device)
    model.load_state_dict(tensors, assign=True)
    model.reset_rotations()
    return Checkpoint(model, tokenizer)


def load_config(folder: Path) -> ModelConfig:
    """The shape of the model in a folder; ValueError where there is none."""
    if not folder.is_dir():
        raise ValueError(f"there is no model folder {folder}; `tutelage run` makes one for every stage")
    if not (folder / CONFIG).exists():
        raise ValueError(f"{folder} holds no {CONFIG}, so it is no model; give the folder of a finished stage")
    try:
        return convert(read_json(folder / CONFIG), ModelConfig, str(folder / CONFIG))
    except SettingsError as error:
        raise ValueError(f"{error} (this file was not written by this version)") from error


def _check_shapes(path: Path, expected: dict[str, torch.Size], found: dict[str, torch.Tensor]) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which the model does not have"
        raise ValueError(f"{path} {what}; it does not belong to the {CONFIG} beside it")
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise ValueError(f"{path}: {name} has shape {tuple(found[name].shape)}, expected {tuple(shape)}")


def with_context(checkpoint: Checkpoint, context: int | None) -> Checkpoint:
    """The same weights with room for `context` tokens, where that is more than the model has; rotary positions only."""
    config = checkpoint.model.config
    if context is None or context <= config.context:
        return checkpoint
    assert config.position == "rotary", "learned positions cannot be lengthened"
    longer = Transformer(convert(to_plain(config) | {"context": context}, ModelConfig))
    longer.load_state_dict(checkpoint.model.state_dict())
    return Checkpoint(longer.to(checkpoint.model.embedding.weight.device), checkpoint.tokenizer)


@torch.no_grad()
def extend_vocabulary(checkpoint: Checkpoint, names: tuple[str, ...], seed: int) -> Checkpoint:
    """The same model with new special tokens: every old weight is copied bit for bit, every new token gets a row.

    A new row is the mean of the old rows (Hewitt 2021: no new token then takes much probability from the old ones) plus
    noise a tenth as wide as the old rows' spread, so that the new tokens can be told apart. The old tokens' logits are
    checked to be unchanged.
    """
    tokenizer = checkpoint.tokenizer.extend(names)
    old = checkpoint.model
    if tokenizer.vocab_size == old.config.vocab:
        return checkpoint
    config = to_plain(old.config) | {"vocab": tokenizer.vocab_size}
    new = Transformer(convert(config, ModelConfig)).to(old.embedding.weight.device)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in old.state_dict().items():
        if name in ("embedding.weight", "head.weight"):
            added = tokenizer.vocab_size - old.config.vocab
            noise = torch.randn((added, tensor.shape[1]), generator=generator).to(tensor) * tensor.std() / 10
            tensor = torch.cat([tensor, tensor.mean(dim=0, keepdim=True) + noise])
        tensors[name] = tensor
    new.load_state_dict(tensors)
    _check_extension(old, new)
    return Checkpoint(new, tokenizer)


def _check_extension(old: Transformer, new: Transformer) -> None:
    length = min(32, old.config.context)
    device = old.embedding.weight.device
    tokens_N = torch.arange(length, device=device) * 7919 % old.config.vocab
    positions_N = torch.arange(length, device=device)
    before, after = (m.hidden(tokens_N, positions_N, m.within_segments((length,))) for m in (old, new))
    assert torch.equal(before, after), "extension changed the hidden states"
    assert torch.equal(old.head_weight, new.head_weight[: old.config.vocab]), "extension changed an old row"
    # One more column can change how a matrix product is blocked, and with it the last bit of the others.
    close = torch.allclose(old.logits(before), new.logits(after)[:, : old.config.vocab], rtol=1e-5, atol=1e-5)
    assert close, "extension changed the logits of old tokens"
