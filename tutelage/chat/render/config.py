"""The chat settings in a model's folder, beside tokenizer.json: the chat template and two small settings files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tutelage.files import read_json, write_json, write_text

TEMPLATE, TOKENIZER_CONFIG, GENERATION_CONFIG = "chat_template.jinja", "tokenizer_config.json", "generation_config.json"
CHAT_SETTINGS, OTHER_TEMPLATES = "chat_settings.json", "additional_chat_templates"
_SPECIAL_TOKENS_MAP = "special_tokens_map.json"


# What a template is given by us, and no setting can be.
RESERVED = ("messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now")


def template_settings(settings: object) -> str:
    """Variables for a chat template, such as `{"enable_thinking": false}`, as a JSON object in text with sorted names.

    ValueError where they are no such object, or name what only the renderer gives a template."""
    if not isinstance(settings, Mapping) or not all(isinstance(name, str) for name in settings):
        raise ValueError('template settings are names with values, such as {"enable_thinking": false}')
    for name in settings:
        if name in RESERVED or name.endswith("_token"):
            raise ValueError(f"'{name}' is no template setting: the renderer gives it to the template")
    return msgspec.json.encode(settings, order="sorted").decode()


class ChatSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How conversations were written for training, so that later prompts are written alike: chat_settings.json.

    template_settings: variables of the chat template.
    fold_system:       whether a system message opens the first question, for a template that takes none.
    system:            the system message that all trained conversations share; `chat` opens with it.
    """

    template_settings: dict[str, Any] = {}
    fold_system: bool = False
    system: str = ""


@dataclass(frozen=True)
class ChatConfig:
    """Read with a model and written back with it, so that a fine-tuned model keeps the settings of its base.

    template:          the Jinja source of its chat template; None where it has none.
    tokenizer_config:  tokenizer_config.json, without the template.
    generation_config: generation_config.json.
    settings:          how conversations are written for it.
    other_templates:   further templates by name ("tool_use"), which are kept and not used.
    """

    template: str | None = None
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    generation_config: Mapping[str, Any] = field(default_factory=dict)
    settings: ChatSettings = field(default_factory=ChatSettings)
    other_templates: Mapping[str, str] = field(default_factory=dict)

    def token(self, name: str) -> str:
        """The text of a named special token ("bos_token", "eos_token" ...); "" where there is none."""
        value = self.tokenizer_config.get(name)
        content = value.get("content") if isinstance(value, dict) else value
        return content if isinstance(content, str) else ""


def read_chat_config(folder: Path) -> ChatConfig:
    """The chat settings of a model's folder; what is missing stays empty. ValueError where a file is broken."""
    config = _object(folder / TOKENIZER_CONFIG)
    config = {**_object(folder / _SPECIAL_TOKENS_MAP), **config}
    inside = config.pop("chat_template", None)
    named = _named_templates(inside, folder)
    path = folder / TEMPLATE
    template: str | None
    if path.exists():
        try:
            template = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text ({error}); fetch it again") from None
    else:
        template = inside if isinstance(inside, str) else named.get("default")
        if named and template is None:
            raise ValueError(
                f"{folder / TOKENIZER_CONFIG} has chat templates {', '.join(named)} and none named 'default'"
            )
    try:
        settings = msgspec.convert(_object(folder / CHAT_SETTINGS), ChatSettings)
    except msgspec.ValidationError as error:
        raise ValueError(f"{folder / CHAT_SETTINGS}: {error}; correct or remove it") from None
    named.pop("default", None)
    return ChatConfig(template, config, _object(folder / GENERATION_CONFIG), settings, named)


def write_chat_config(folder: Path, config: ChatConfig) -> None:
    """Write what `read_chat_config` reads, each file complete or not at all."""
    if config.template is not None:
        write_text(folder / TEMPLATE, config.template)
    if config.tokenizer_config:
        write_json(folder / TOKENIZER_CONFIG, dict(config.tokenizer_config), sort=False)
    if config.generation_config:
        write_json(folder / GENERATION_CONFIG, dict(config.generation_config), sort=False)
    for name, template in config.other_templates.items():
        (folder / OTHER_TEMPLATES).mkdir(exist_ok=True)
        write_text(folder / OTHER_TEMPLATES / f"{name}.jinja", template)
    if config.settings != ChatSettings():
        write_json(folder / CHAT_SETTINGS, msgspec.to_builtins(config.settings))


def _named_templates(inside: Any, folder: Path) -> dict[str, str]:
    """The templates of a folder that have names: a list in tokenizer_config.json, or files of a folder."""
    if inside is not None and not isinstance(inside, str | list):
        raise ValueError(f"{folder / TOKENIZER_CONFIG}: 'chat_template' is not a text")
    listed = inside if isinstance(inside, list) else []
    named = {str(entry.get("name")): str(entry.get("template")) for entry in listed if isinstance(entry, dict)}
    for name in named:
        if not re.fullmatch(r"[\w-]+", name):  # it becomes the name of a file
            raise ValueError(f"{folder / TOKENIZER_CONFIG}: a chat template is named {name!r}; use letters and digits")
    files = sorted((folder / OTHER_TEMPLATES).glob("*.jinja"))
    return named | {path.stem: path.read_text(encoding="utf-8") for path in files}


def _object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a JSON object; fetch it again")
    return value
