"""A model's folder: its settings, weights, tokenizer and chat files, in the layout that `transformers` reads where the
model fits a published family, in our own where it does not; or an adapter, in PEFT's layout, and where its base is.
Written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import torch

from tutelage import tokenizer as tokenizers
from tutelage.chat.render.config import ChatConfig, read_chat_config, write_chat_config
from tutelage.config import SettingsError, convert, to_plain
from tutelage.files import read_json, write_json
from tutelage.model.adapter import (
    ADAPTER_BASE,
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Adapter,
    attach,
    is_adapter,
    read_adapter,
    vocabulary_of,
    write_adapter,
)
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.extension import extend_vocabulary, resized, with_context
from tutelage.model.families import FAMILIES, read_config, write_config
from tutelage.model.foreign import ForeignModel, load_foreign, read_foreign_config, write_foreign
from tutelage.model.layout import OWN, Modules, cut, is_harmless
from tutelage.model.lora import LoraSettings, add_lora, merge_lora
from tutelage.model.sizes import ModelConfig
from tutelage.model.transformer import Transformer
from tutelage.model.weights import (
    INDEX,
    WEIGHTS,
    load_tensors,
    read_tensor,
    refuse_not_finite,
    save_tensors,
    tensor_files,
    weights_mark,
    write_weights,
)
from tutelage.process import best_device
from tutelage.tokenizer import Tokenizer

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "Checkpoint",
    "extend_vocabulary",
    "find_checkpoint",
    "holds_model",
    "is_adapter",
    "load_config",
    "load_model",
    "load_tensors",
    "save_adapter",
    "save_model",
    "save_tensors",
    "with_context",
    "with_lora",
]

CONFIG = "config.json"
# What is fetched of a published model: no pickles, and no weights in other layouts.
FETCHED = ["*.json", "*.safetensors", "*.jinja"]


def find_checkpoint(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: `name` itself, or where the model of that name on the Hugging Face hub was fetched to, at
    `revision` where one is given.

    Raises:
        ValueError: there is no such folder, and nothing could be fetched.
    """
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_file():
        raise ValueError(f"{name} is a file; a model is a folder: give that")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", str(name)):
        raise ValueError(f"there is no model folder {name}; give a folder, or the name of a model on the hub")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(
            f"there is no folder {name}; to fetch a model of that name from the hub: pip install 'tutelage[hub]'"
        ) from None
    try:
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=FETCHED))
    except Exception as error:  # whatever the network and the hub can come up with
        raise ValueError(f"there is no folder {name}, and {_not_fetched(error)}") from error


def _not_fetched(error: Exception) -> str:
    """Why a model was not fetched from the hub, as the end of a sentence."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "the model of that name on the hub is given only to those who accept its terms: do so on its page there"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no model of that name, or not for you; check the name"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return (
            "no model of that name was ever fetched from the hub, which cannot be reached now; check the path, or the "
            "network"
        )
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"no model of that name could be fetched from the hub ({reason})"


def load_config(folder: Path) -> ModelConfig:
    """The shape of the model in a folder; ValueError where there is none."""
    if is_adapter(folder) and not (folder / CONFIG).exists():  # where PEFT wrote it the base says so
        adapter = read_adapter(folder)
        base = load_config(base_of(adapter))
        return msgspec.structs.replace(base, vocab=vocabulary_of(adapter, base.vocab))
    return _read_config(folder)[0]


def holds_model(folder: Path) -> bool:
    """Whether a folder holds a model, or an adapter of one."""
    return (folder / CONFIG).exists() or is_adapter(folder)


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


def load_model(
    folder: Path, device: str | None = None, *, dtype: torch.dtype | None = None, merged: bool = True
) -> Checkpoint:
    """Read a model's folder, tensor by tensor, to `device`, or to the best there is. Weights become `dtype`, float32
    where it is None, however they are kept.

    Where the folder holds an adapter its base is read too, from where the adapter says it is, and the adapter is merged
    into it; with `merged` off it stands beside it, as it was trained.

    Raises:
        ValueError: the folder is missing, is no model, or its files do not fit together; the sentence says which.
    """
    device = device or best_device()
    if is_adapter(folder):
        return _load_adapter(folder, device, dtype, merged)
    config, table = _read_config(folder)
    tokenizer = _load_tokenizer(folder)
    if tokenizer.vocab_size > config.vocab:
        raise ValueError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab}; "
            "the files are of different models"
        )
    if config.foreign_parameters is not None:
        foreign = load_foreign(folder, config, device, dtype or torch.float32)
        return Checkpoint(cast(Transformer, foreign), tokenizer, read_chat_config(folder), table)
    with torch.device("meta"):
        model = Transformer(config).to(dtype or torch.float32)
    model.to_empty(device=device)
    _fill(folder, model, table)
    model.reset_rotations()
    return Checkpoint(model, tokenizer, read_chat_config(folder), table)


def _load_adapter(folder: Path, device: str, dtype: torch.dtype | None, merged: bool) -> Checkpoint:
    adapter = read_adapter(folder)
    base = load_model(base_of(adapter), device, dtype=dtype)
    modules = modules_of(base, f"{folder}: adapters are for built-in architectures, and its base is another")
    tokenizer, source = base.tokenizer, base.source
    if (folder / tokenizers.FILE_NAME).exists():
        tokenizer, own = _load_tokenizer(folder), read_chat_config(folder)
        source = ChatConfig(
            own.template or source.template,
            {**source.tokenizer_config, **own.tokenizer_config},
            own.generation_config or source.generation_config,
        )
    config = load_config(folder)
    base = with_context(base, config.context)
    model = resized(base.model, max(config.vocab, tokenizer.vocab_size))
    attach(model, modules, adapter)
    if merged:
        merge_lora(model)
    return replace(base, model=model, tokenizer=tokenizer, source=source)


def base_of(adapter: Adapter) -> Path:
    """The folder of the base that an adapter belongs beside; one that was moved together with it is found too.

    Raises:
        ValueError: it is not there, or it is not the model that the adapter was trained on.
    """
    own = adapter.folder.resolve()
    beside = own.parent / Path(adapter.base).name
    moved = not Path(adapter.base).is_dir() and beside != own and holds_model(beside)
    try:
        folder = beside if moved else find_checkpoint(adapter.base, adapter.revision)
    except ValueError as error:
        raise ValueError(
            f"{adapter.folder} holds an adapter, and its base is not to be found: {error}; put it back, or say where "
            f"it is as base_model_name_or_path in {adapter.folder / ADAPTER_CONFIG}"
        ) from error
    if adapter.mark not in (None, _mark(folder)):
        raise ValueError(
            f"{folder} is not the model that the adapter in {adapter.folder} was trained on, its weights are others; "
            "train the adapter again, or put the old weights back"
        )
    return folder


def _mark(folder: Path) -> str:
    """What the weights in a folder, a model's or an adapter's, are told from others by."""
    weights = folder / ADAPTER_WEIGHTS
    return weights_mark(dict.fromkeys(load_tensors(weights), weights) if is_adapter(folder) else tensor_files(folder))


def modules_of(checkpoint: Checkpoint, refusal: str) -> Modules:
    """What the modules of a model are called where its weights are written; ValueError, with that sentence, where it is
    not of a built-in architecture."""
    if checkpoint.model.config.foreign_parameters is not None:
        raise ValueError(refusal)
    table = write_config(checkpoint.model.config, checkpoint.hub_config)
    return OWN if table is None else FAMILIES[table["model_type"]].modules


def with_lora(checkpoint: Checkpoint, settings: LoraSettings, new_tokens: Sequence[int], seed: int) -> Checkpoint:
    """The same model, changed in place: frozen, but for low-rank pairs and the rows of `new_tokens`.

    Raises:
        ValueError: the model is not of a built-in architecture, or has no matrix that a target names.
    """
    modules = modules_of(checkpoint, "lora is for built-in architectures, and this model is another")
    add_lora(checkpoint.model, modules, settings, new_tokens, seed)
    return checkpoint


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
        refuse_not_finite(found, name, path)
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
    table, plain = _tables(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CONFIG).exists() and read_json(folder / CONFIG) != plain:
        (folder / CONFIG).unlink()  # it would stand beside weights that are not its own
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_BASE):
        (folder / name).unlink(missing_ok=True)
    checkpoint.tokenizer.save(folder)
    write_chat_config(folder, checkpoint.source)
    if checkpoint.model.config.foreign_parameters is not None:
        write_foreign(folder, cast(ForeignModel, checkpoint.model))
    else:
        write_weights(folder, _laid_out(checkpoint.model, table))
    write_json(folder / CONFIG, plain)


def _tables(checkpoint: Checkpoint) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The config.json of the family that a model is written as, None for our own layout; and what is written."""
    config = checkpoint.model.config
    if config.foreign_parameters is not None:
        table: dict[str, Any] | None = {**(checkpoint.hub_config or {}), "vocab_size": config.vocab}
    else:
        table = write_config(config, checkpoint.hub_config)
    if table is None:
        return None, to_plain(config)
    written = "torch_dtype" if "torch_dtype" in table else "dtype"  # what it was called before transformers 5
    return table, table | {written: str(checkpoint.model.embedding.weight.dtype).removeprefix("torch.")}


def save_adapter(folder: Path, checkpoint: Checkpoint, base: Path, settings: LoraSettings) -> None:
    """Write what was trained beside the model in `base`, with the tokenizer and chat files that belong to it, into a
    new folder. The weights of the base are not written again: who reads the folder finds them through it."""
    modules = modules_of(checkpoint, "only adapters of built-in architectures are written")
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.tokenizer.save(folder)
    write_chat_config(folder, checkpoint.source)
    write_adapter(folder, checkpoint.model, modules, settings, _public_name(base), _mark(base))
    write_json(folder / CONFIG, _tables(checkpoint)[1])


def _public_name(folder: Path) -> tuple[str, str | None]:
    """How others find a base: one fetched from the hub by its name there and revision, any other by its folder."""
    parts = folder.resolve().parts
    if len(parts) > 3 and parts[-2] == "snapshots" and parts[-3].startswith("models--"):
        return parts[-3].removeprefix("models--").replace("--", "/", 1), parts[-1]
    return str(folder.resolve()), None
