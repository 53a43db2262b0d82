"""Find and load model folders: config, weights, tokenizer and chat files. An adapter is saved in the layout of PEFT,
with the place of its base."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import torch

from tutelage import tokenizer as tokenizers
from tutelage.chat import ChatConfig, read_chat_config
from tutelage.chat.render.config import write_chat_config
from tutelage.config import SettingsError, convert
from tutelage.files import read_json, write_json
from tutelage.io.hub import HubError, download
from tutelage.model.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Adapter,
    attach,
    is_adapter,
    read_adapter,
    vocabulary_of,
    write_adapter,
)
from tutelage.model.carried import CARRIED
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.families import FAMILIES, read_config, write_config
from tutelage.model.heads import add_head
from tutelage.model.hf_model import (
    HFModel,
    hf_module_names,
    load_hf_model,
    read_hf_config,
)
from tutelage.model.lora import LoraSettings, add_lora, merge_lora
from tutelage.model.save import CONFIG, MTP, config_tables, model_tensors, save_model
from tutelage.model.sizes import ModelConfig
from tutelage.model.tensor_map import (
    OWN,
    ModuleNames,
    is_redundant,
    modern_name,
)
from tutelage.model.transformer import Transformer
from tutelage.model.vocab_extension import extend_vocabulary, resize_vocabulary, with_context
from tutelage.model.weights import (
    INDEX,
    WEIGHTS,
    check_finite,
    load_tensors,
    read_tensor,
    save_tensors,
    tensor_files,
    weights_fingerprint,
)
from tutelage.process import best_device
from tutelage.tokenizer import Tokenizer

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "Checkpoint",
    "add_head",
    "extend_vocabulary",
    "find_checkpoint",
    "holds_model",
    "is_adapter",
    "load_chat_files",
    "load_config",
    "load_model",
    "load_tensors",
    "save_adapter",
    "save_model",
    "save_tensors",
    "with_context",
    "with_lora",
]

# Files to download of a published model: no pickles, and no weights in other formats.
DOWNLOADED = ["*.json", "*.safetensors", "*.jinja", "additional_chat_templates/*.jinja", *CARRIED]


HUB_NAME = re.compile(r"([\w-][\w.-]*(?:/[\w.-]+)?)(?:@([\w./-]+))?")


def find_checkpoint(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: `name` itself; or the local copy of the model of that name on the Hugging Face hub,
    downloaded if needed, at `revision`, or at that of a name such as "owner/name@revision".

    Raises:
        ValueError: there is no such folder, and the download failed.
    """
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_file():
        raise ValueError(f"{name} is a file, but a model is a folder; give the folder")
    match = HUB_NAME.fullmatch(str(name))
    if match is None:
        raise ValueError(f"there is no model folder {name}; give a folder, or the name of a model on the hub")
    try:
        return download(match[1], "model", revision or match[2], DOWNLOADED)
    except HubError as error:
        raise ValueError(f"there is no folder {name}, and {error}") from error


def is_hub_name(name: str) -> bool:
    """Whether a text has the form of a model's name on the hub, with its owner: "owner/name"."""
    return "/" in name and HUB_NAME.fullmatch(name) is not None


def load_config(folder: Path) -> ModelConfig:
    """The config of the model in a folder.

    Raises:
        ValueError: there is no model, or its config is not supported.
    """
    if is_adapter(folder) and not (folder / CONFIG).exists():  # PEFT saves no config.json; take the base's
        adapter = read_adapter(folder)
        base = load_config(base_folder(adapter))
        return msgspec.structs.replace(base, vocab=vocabulary_of(adapter, base.vocab))
    return _read_config(folder)[0]


def holds_model(folder: Path) -> bool:
    """Whether a folder holds a model or an adapter."""
    return (folder / CONFIG).exists() or is_adapter(folder)


def _read_config(folder: Path) -> tuple[ModelConfig, dict[str, Any] | None]:
    """The config, and the family's config.json if it is one."""
    path = folder / CONFIG
    if not folder.is_dir():
        raise ValueError(f"there is no model folder {folder}; `tutelage run` creates one for every stage")
    if not path.exists():
        raise ValueError(f"{folder} has no {CONFIG}, so it is not a model; give the folder of a finished stage")
    table = read_json(path)
    if not isinstance(table, dict):
        raise ValueError(f"{path} is not a JSON object; download or create it again")
    if "model_type" in table:
        native = table["model_type"] in FAMILIES
        return read_config(table, str(path)) if native else read_hf_config(folder, table), table
    try:
        return convert(table, ModelConfig, str(path)), None
    except SettingsError as error:
        raise ValueError(f"{error} (another version saved this file)") from error


def load_model(
    folder: Path, device: str | None = None, *, dtype: torch.dtype | None = None, merged: bool = True, mtp: bool = False
) -> Checkpoint:
    """Load a model folder, one tensor at a time.

    If the folder holds an adapter, its base is loaded too.

    device: default is the best one available.
    dtype:  weights are cast to it; None is float32.
    merged: merge an adapter into its base; otherwise it is loaded as it was trained.
    mtp:    load the blocks of multi-token prediction too, where the folder has them.

    Raises:
        ValueError: the folder is missing, is not a model, or its files do not fit together; the message says which.
    """
    device = device or best_device()
    if is_adapter(folder):
        return _load_adapter(folder, device, dtype, merged)
    config, table = _read_config(folder)
    tokenizer = _load_tokenizer(folder)
    if tokenizer.vocab_size > config.vocab:
        raise ValueError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab}; "
            "the files belong to different models"
        )
    if config.hf_parameters is not None:
        hf_model = load_hf_model(folder, config, device, dtype or torch.float32)
        return Checkpoint(cast(Transformer, hf_model), tokenizer, read_chat_config(folder), table, folder)
    further = load_tensors(folder / MTP, device) if mtp and (folder / MTP).exists() else {}
    depth = len({name.split(".")[1] for name in further})
    with torch.device("meta"):
        model = Transformer(msgspec.structs.replace(config, mtp=depth)).to(dtype or torch.float32)
    model.to_empty(device=device)
    _load_weights(folder, model, table)
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("mtp_blocks.")}
    if {name: tensor.shape for name, tensor in own.items()} != {name: tensor.shape for name, tensor in further.items()}:
        raise ValueError(f"{folder / MTP} does not match the {CONFIG} beside it; remove it, or save the model again")
    model.load_state_dict(further, strict=False)
    model.reset_rotations()
    return Checkpoint(model, tokenizer, read_chat_config(folder), table, folder)


def _load_adapter(folder: Path, device: str, dtype: torch.dtype | None, merged: bool) -> Checkpoint:
    adapter = read_adapter(folder)
    base = load_model(base_folder(adapter), device, dtype=dtype)
    modules = find_module_names(base)
    tokenizer, chat_config = _adapter_chat_files(folder, base.tokenizer, base.chat_config)
    config = load_config(folder)
    base = with_context(base, config.context)
    model = resize_vocabulary(base.model, max(config.vocab, tokenizer.vocab_size))
    attach(model, modules, adapter)
    if merged:
        merge_lora(model)
    return replace(base, model=model, tokenizer=tokenizer, chat_config=chat_config)


def load_chat_files(folder: Path) -> tuple[Tokenizer, ChatConfig]:
    """The tokenizer and the chat settings of a model; of an adapter, those of its base where it brings none.

    Raises:
        ValueError: a file is missing or broken.
    """
    if not is_adapter(folder):
        return _load_tokenizer(folder), read_chat_config(folder)
    return _adapter_chat_files(folder, *load_chat_files(base_folder(read_adapter(folder))))


def _adapter_chat_files(folder: Path, tokenizer: Tokenizer, chat_config: ChatConfig) -> tuple[Tokenizer, ChatConfig]:
    """Those of an adapter, given those of its base."""
    if not (folder / tokenizers.FILE_NAME).exists():
        return tokenizer, chat_config
    config = read_chat_config(folder)
    merged = ChatConfig(
        config.template or chat_config.template,
        {**chat_config.tokenizer_config, **config.tokenizer_config},
        config.generation_config or chat_config.generation_config,
        config.settings,
        {**chat_config.other_templates, **config.other_templates},
    )
    return _load_tokenizer(folder), merged


def base_folder(adapter: Adapter) -> Path:
    """The folder of an adapter's base; also found if it was moved together with the adapter.

    Raises:
        ValueError: it does not exist, or is not the model that the adapter was trained on.
    """
    adapter_folder = adapter.folder.resolve()
    sibling = adapter_folder.parent / Path(adapter.base).name
    moved = not Path(adapter.base).is_dir() and sibling != adapter_folder and holds_model(sibling)
    try:
        folder = sibling if moved else find_checkpoint(adapter.base, adapter.revision)
    except ValueError as error:
        raise ValueError(
            f"{adapter.folder} holds an adapter, and its base was not found: {error}; put it back, or set "
            f"base_model_name_or_path in {adapter.folder / ADAPTER_CONFIG}"
        ) from error
    if adapter.base_fingerprint not in (None, folder_fingerprint(folder)):
        raise ValueError(
            f"{folder} is not the model that the adapter in {adapter.folder} was trained on: its weights changed; "
            "train the adapter again, or restore the old weights"
        )
    return folder


def folder_fingerprint(folder: Path) -> str:
    """The fingerprint of the weights in a folder of a model or an adapter."""
    weights = folder / ADAPTER_WEIGHTS
    return weights_fingerprint(
        dict.fromkeys(load_tensors(weights), weights) if is_adapter(folder) else tensor_files(folder)
    )


def load_module_names(folder: Path) -> ModuleNames:
    """The module names under which the model of a folder is saved: one of a built-in architecture, or an adapter of
    one."""
    if is_adapter(folder) and not (folder / CONFIG).exists():
        return load_module_names(base_folder(read_adapter(folder)))
    config, table = _read_config(folder)
    return _module_names(config, table)


def find_module_names(checkpoint: Checkpoint) -> ModuleNames:
    """The module names under which a model is saved."""
    if checkpoint.model.config.hf_parameters is not None:
        return hf_module_names(cast(HFModel, checkpoint.model))
    return _module_names(checkpoint.model.config, checkpoint.hub_config)


def _module_names(config: ModelConfig, hub_config: Mapping[str, Any] | None) -> ModuleNames:
    table = write_config(msgspec.structs.replace(config, mtp=0), hub_config)
    return OWN if table is None else FAMILIES[table["model_type"]].modules


def with_lora(checkpoint: Checkpoint, settings: LoraSettings, new_tokens: Sequence[int], seed: int) -> Checkpoint:
    """The same model, changed in place: frozen, with LoRA pairs and trained rows for `new_tokens`.

    Raises:
        ValueError: a target is not a matrix of the model.
    """
    add_lora(checkpoint.model, find_module_names(checkpoint), settings, new_tokens, seed)
    return checkpoint


def _load_tokenizer(folder: Path) -> Tokenizer:
    other_formats = [name for name in ("tokenizer.model", "vocab.json", "vocab.txt") if (folder / name).exists()]
    if other_formats and not (folder / tokenizers.FILE_NAME).exists():
        raise ValueError(
            f"{folder} has {other_formats[0]} but no {tokenizers.FILE_NAME}; convert the tokenizer: "
            f"transformers.AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    return tokenizers.load(folder)


@torch.no_grad()
def _load_weights(folder: Path, model: Transformer, table: Mapping[str, Any] | None) -> None:
    """Copy the folder's weights into the model; at most one tensor is in memory twice."""
    expected, files = model_tensors(model, table), tensor_files(folder)
    # Files of models without a head, and some old files, omit the first component of every name.
    stem = next(iter(expected)).partition(".")[0]
    modern = {modern_name(name): name for name in files}
    file_name = {f"{stem}.{name}" if f"{stem}.{name}" in expected else name: file for name, file in modern.items()}
    missing = sorted(expected.keys() - file_name.keys())
    extra = sorted(file_name.keys() - expected.keys())
    if table is not None:
        extra = [name for name in extra if not is_redundant(name, model.config)]
    if missing or extra:
        path = next(iter(files.values())) if len(set(files.values())) == 1 else folder / INDEX
        problem = f"lacks {missing[0]}" if missing else f"contains {extra[0]}, which the model does not have"
        raise ValueError(f"{path} {problem}; it does not match the {CONFIG} beside it")
    for name, place in expected.items():
        weight = place.view
        path = files[file_name[name]]
        tensor = read_tensor(path, file_name[name])
        if tensor.shape != weight.shape:
            raise ValueError(f"{path}: {name} has shape {tuple(tensor.shape)}, expected {tuple(weight.shape)}")
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            raise ValueError(
                f"{path}: {name} has dtype {tensor.dtype}; expected floating-point numbers of 16 bits or more"
            )
        check_finite(tensor, name, path)
        place.fill(tensor)
    if "lm_head.weight" in files and "lm_head.weight" not in expected:
        head = read_tensor(files["lm_head.weight"], "lm_head.weight")
        if not torch.equal(head.to(model.embedding.weight), model.embedding.weight):
            path = files["lm_head.weight"]
            raise ValueError(
                f"{path}: lm_head.weight differs from the embedding, but tie_word_embeddings is true; set it to false "
                f"in {CONFIG}"
            )


def save_adapter(folder: Path, checkpoint: Checkpoint, base: Path, settings: LoraSettings) -> None:
    """Save an adapter of the model in `base`, with its tokenizer and chat files, into a new folder. The weights of the
    base are not saved; loading finds them through the folder's adapter config."""
    modules = find_module_names(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.tokenizer.save(folder)
    write_chat_config(folder, checkpoint.chat_config)
    write_adapter(folder, checkpoint.model, modules, settings, _hub_name(base), folder_fingerprint(base))
    write_json(folder / CONFIG, config_tables(checkpoint)[1])


def base_name(folder: Path) -> str:
    """The name of a model for others to read: "owner/name" of one from the hub, otherwise its folder's own name."""
    name, revision = _hub_name(folder)
    return name if revision is not None else folder.resolve().name


def _hub_name(folder: Path) -> tuple[str, str | None]:
    """Name and revision of a base from the hub; the folder, and no revision, of any other."""
    parts = folder.resolve().parts
    if len(parts) > 3 and parts[-2] == "snapshots" and parts[-3].startswith("models--"):
        return parts[-3].removeprefix("models--").replace("--", "/", 1), parts[-1]
    return str(folder.resolve()), None
