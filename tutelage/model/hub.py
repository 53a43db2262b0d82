"""A model's folder: its settings, weights, tokenizer and chat files, in the layout that `transformers` reads where the
model fits a published family, in our own where it does not. Written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import torch

from tutelage import tokenizer as tokenizers
from tutelage.chat.source import ChatSource, read_source, write_source
from tutelage.config import SettingsError, convert, to_plain
from tutelage.files import read_json, write_json
from tutelage.model.families import FAMILIES, read_config, write_config
from tutelage.model.foreign import ForeignModel, grow_foreign, load_foreign, read_foreign_config, write_foreign
from tutelage.model.layout import cut, is_harmless
from tutelage.model.sizes import LongScaling, ModelConfig
from tutelage.model.transformer import Transformer
from tutelage.model.weights import INDEX, WEIGHTS, load_tensors, read_tensor, save_tensors, tensor_files, write_weights
from tutelage.process import best_device
from tutelage.tokenizer import Tokenizer

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "Checkpoint",
    "extend_vocabulary",
    "find_checkpoint",
    "load_config",
    "load_model",
    "load_tensors",
    "save_model",
    "save_tensors",
    "with_context",
]

CONFIG = "config.json"
# What is fetched of a published model: no pickles, and no weights in other layouts.
FETCHED = ["*.json", "*.safetensors", "*.jinja"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model together with the tokenizer it reads and writes with, and what its folder says of chats.

    model:      where its architecture is none of ours, a `ForeignModel`, which answers to the same calls.
    hub_config: the config.json of its family as it was read; None for a model made here.
    """

    model: Transformer
    tokenizer: Tokenizer
    source: ChatSource = field(default_factory=ChatSource)
    hub_config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self.model.tokens = self.tokenizer.vocab_size


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a model: `name` itself, or where the model of that name on the Hugging Face hub was fetched to.

    Raises:
        ValueError: there is no such folder, and nothing could be fetched.
    """
    if Path(name).is_dir():
        return Path(name)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        raise ValueError(f"there is no model folder {name}; give a folder, or the owner/name of a model on the hub")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(
            f"there is no folder {name}; to fetch a model of that name from the hub: pip install 'tutelage[hub]'"
        ) from None
    try:
        return Path(snapshot_download(str(name), allow_patterns=FETCHED))
    except Exception as error:  # whatever the network and the hub can come up with
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"there is no folder {name}, and no model of that name could be fetched from the hub ({reason})"
        ) from error


def load_config(folder: Path) -> ModelConfig:
    """The shape of the model in a folder; ValueError where there is none."""
    return _read_config(folder)[0]


def _read_config(folder: Path) -> tuple[ModelConfig, dict[str, Any] | None]:
    """The settings, and the family's config.json where it is one."""
    path = folder / CONFIG
    if not folder.is_dir():
        raise ValueError(f"there is no model folder {folder}; `tutelage run` makes one for every stage")
    if not path.exists():
        raise ValueError(f"{folder} holds no {CONFIG}, so it is no model; give the folder of a finished stage")
    table = read_json(path)
    if not isinstance(table, dict):
        raise ValueError(f"{path} is no JSON object; fetch or make it again")
    if "model_type" in table:
        native = table["model_type"] in FAMILIES
        return read_config(table, str(path)) if native else read_foreign_config(folder, table), table
    try:
        return convert(table, ModelConfig, str(path)), None
    except SettingsError as error:
        raise ValueError(f"{error} (this file was not written by this version)") from error


def load_model(folder: Path, device: str | None = None, *, dtype: torch.dtype | None = None) -> Checkpoint:
    """Read a model's folder, tensor by tensor, to `device`, or to the best there is. Weights become `dtype`, float32
    where it is None, however they are kept.

    Raises:
        ValueError: the folder is missing, is no model, or its files do not fit together; the sentence says which.
    """
    device = device or best_device()
    config, table = _read_config(folder)
    tokenizer = _load_tokenizer(folder)
    if tokenizer.vocab_size > config.vocab:
        raise ValueError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab}; "
            "the files are of different models"
        )
    if config.foreign_parameters is not None:
        foreign = load_foreign(folder, config, device, dtype or torch.float32)
        return Checkpoint(cast(Transformer, foreign), tokenizer, read_source(folder), table)
    with torch.device("meta"):
        model = Transformer(config).to(dtype or torch.float32)
    model.to_empty(device=device)
    _fill(folder, model, table)
    model.reset_rotations()
    return Checkpoint(model, tokenizer, read_source(folder), table)


def _load_tokenizer(folder: Path) -> Tokenizer:
    others = [name for name in ("tokenizer.model", "vocab.json", "vocab.txt") if (folder / name).exists()]
    if others and not (folder / tokenizers.FILE_NAME).exists():
        raise ValueError(
            f"{folder} holds its tokenizer as {others[0]} and not as {tokenizers.FILE_NAME}; convert it: "
            f"transformers.AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    return tokenizers.load(folder)


def _laid_out(model: Transformer, table: Mapping[str, Any] | None) -> dict[str, torch.Tensor]:
    """The model's weights as its folder holds them: views of them by the names they have there."""
    own = model.state_dict()
    if table is None:
        return own
    modules = FAMILIES[table["model_type"]].modules
    return {
        name: part for ours, tensor in own.items() for name, part in cut(modules, model.config, ours, tensor).items()
    }


@torch.no_grad()
def _fill(folder: Path, model: Transformer, table: Mapping[str, Any] | None) -> None:
    """Copy the folder's weights into the model's; no more than one tensor is held twice."""
    expected, files = _laid_out(model, table), tensor_files(folder)
    # The files of models without a head, and some old ones, leave out the first part of every name.
    stem = next(iter(expected)).partition(".")[0]
    called = {f"{stem}.{name}" if f"{stem}.{name}" in expected else name: name for name in files}
    missing = sorted(expected.keys() - called.keys())
    extra = sorted(called.keys() - expected.keys())
    if table is not None:
        extra = [name for name in extra if not is_harmless(name, model.config)]
    if missing or extra:
        path = next(iter(files.values())) if len(set(files.values())) == 1 else folder / INDEX
        what = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which the model does not have"
        raise ValueError(f"{path} {what}; it does not belong to the {CONFIG} beside it")
    for name, weight in expected.items():
        path = files[called[name]]
        found = read_tensor(path, called[name])
        if found.shape != weight.shape:
            raise ValueError(f"{path}: {name} has shape {tuple(found.shape)}, expected {tuple(weight.shape)}")
        if not found.is_floating_point() or found.element_size() < 2:
            raise ValueError(f"{path}: {name} holds {found.dtype}, not floating-point numbers of 16 bits or more")
        weight.copy_(found)
    if "lm_head.weight" in files and "lm_head.weight" not in expected:
        head = read_tensor(files["lm_head.weight"], "lm_head.weight")
        if not torch.equal(head.to(model.embedding.weight), model.embedding.weight):
            path = files["lm_head.weight"]
            raise ValueError(
                f"{path}: lm_head.weight is not the embedding, although tie_word_embeddings says so; "
                f"set it to false in {CONFIG}"
            )


def save_model(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a model's folder: a model of a family in that family's layout, one made here in that of a family it fits,
    which `transformers` reads, or else in our own. The config is written last: where it stands, the weights are whole.
    """
    config = checkpoint.model.config
    foreign = config.foreign_parameters is not None
    if foreign:
        table: dict[str, Any] | None = {**(checkpoint.hub_config or {}), "vocab_size": config.vocab}
    else:
        table = write_config(config, checkpoint.hub_config)
    plain = to_plain(config)
    if table is not None:
        written = "torch_dtype" if "torch_dtype" in table else "dtype"  # what it was called before transformers 5
        plain = table | {written: str(checkpoint.model.embedding.weight.dtype).removeprefix("torch.")}
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CONFIG).exists() and read_json(folder / CONFIG) != plain:
        (folder / CONFIG).unlink()  # it would stand beside weights that are not its own
    checkpoint.tokenizer.save(folder)
    write_source(folder, checkpoint.source)
    if foreign:
        write_foreign(folder, cast(ForeignModel, checkpoint.model))
    else:
        write_weights(folder, _laid_out(checkpoint.model, table))
    write_json(folder / CONFIG, plain)


def with_context(checkpoint: Checkpoint, context: int | None) -> Checkpoint:
    """The same weights, shared, with room for `context` tokens, where that is more than the model has.

    Raises:
        ValueError: the model's positions cannot be lengthened.
    """
    config = checkpoint.model.config
    if context is None or context <= config.context:
        return checkpoint
    if config.position == "learned" or isinstance(config.rope_scaling, LongScaling) or config.foreign_parameters:
        kind = "LongRoPE" if config.rope_scaling else "own" if config.foreign_parameters else "learned"
        raise ValueError(
            f"a context of {context} is more than the {config.context} tokens of the model's {kind} positions"
        )
    longer = _with_weights(msgspec.structs.replace(config, context=context), checkpoint.model.state_dict())
    return replace(checkpoint, model=longer)


def _with_weights(config: ModelConfig, tensors: dict[str, torch.Tensor]) -> Transformer:
    """A model of these very weights."""
    with torch.device("meta"):
        model = Transformer(config)
    model.load_state_dict(tensors, assign=True)
    model.reset_rotations()
    return model


@torch.no_grad()
def extend_vocabulary(checkpoint: Checkpoint, names: tuple[str, ...], seed: int) -> Checkpoint:
    """The same model with new special tokens: every old weight stays bit for bit, shared where it is not in a matrix
    that grows, and every new token gets a row.

    A new row is the mean of the old rows (Hewitt 2021: no new token then takes much probability from the old ones) plus
    noise a tenth as wide as the old rows' spread, so that the new tokens can be told apart. Rows that the model has
    beyond its tokens, which published ones often do, are filled first. The old tokens' logits are checked to be
    unchanged.
    """
    tokenizer, old = checkpoint.tokenizer.extend(names), checkpoint.model
    known, wanted = checkpoint.tokenizer.vocab_size, tokenizer.vocab_size
    if wanted == known:
        return checkpoint
    generator = torch.Generator().manual_seed(seed)
    if old.config.foreign_parameters is not None:
        grown = grow_foreign(cast(ForeignModel, old), known, wanted, generator)
        return replace(checkpoint, model=cast(Transformer, grown), tokenizer=tokenizer)
    config = msgspec.structs.replace(old.config, vocab=max(wanted, old.config.vocab))
    tensors = dict(old.state_dict())
    for name in ("embedding.weight", "head.weight"):
        if name in tensors:
            tensor = tensors[name]
            rows = tensor[:known]
            noise = torch.randn((wanted - known, tensor.shape[1]), generator=generator).to(tensor) * rows.std() / 10
            tensors[name] = torch.cat([rows, rows.mean(dim=0, keepdim=True) + noise, tensor[wanted:]])
    new = _with_weights(config, tensors)
    _check_extension(old, new, known)
    return replace(checkpoint, model=new, tokenizer=tokenizer)


def _check_extension(old: Transformer, new: Transformer, known: int) -> None:
    length = min(32, old.config.context)
    device = old.embedding.weight.device
    tokens_N = torch.arange(length, device=device) * 7919 % known
    positions_N = torch.arange(length, device=device)
    before, after = (m.hidden(tokens_N, positions_N, m.within_segments((length,))) for m in (old, new))
    assert torch.equal(before, after), "extension changed the hidden states"
    assert torch.equal(old.head_weight[:known], new.head_weight[:known]), "extension changed an old row"
    # One more column can change how a matrix product is blocked, and with it the last bits of the others.
    bits = max(1e-5, 4 * torch.finfo(before.dtype).eps)
    close = torch.allclose(old.logits(before)[:, :known], new.logits(after)[:, :known], rtol=bits, atol=bits)
    assert close, "extension changed the logits of old tokens"
