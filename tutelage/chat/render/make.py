"""Which renderer a model has, and what a fine-tuned model's folder says of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tutelage.chat.render.config import RESERVED, ChatConfig, ChatSettings, template_settings
from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.jinja import JinjaTemplate
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Renderer
from tutelage.chat.render.template import END, NATIVE_JINJA, TEMPLATE_TOKENS
from tutelage.tokenizer import END_OF_TEXT, Tokenizer

TOKENIZER_CLASS = "PreTrainedTokenizerFast"  # of transformers: whatever tokenizer.json says


def make_renderer(tokenizer: Tokenizer, config: ChatConfig, cache: bool | None = None) -> Renderer:
    """The renderer of a model: with its own chat template, or with Tutelage's where it has none.

    cache: whether conversations of one structure may be rendered without running the template again; where None,
           unless the environment says TUTELAGE_RENDER_CACHE=0. It changes the speed and no token.

    ValueError where its template cannot be used, or where its tokenizer lacks the tokens of Tutelage's own.
    """
    if not has_own_template(config):
        return NativeRenderer(tokenizer)
    if cache is None:
        cache = os.environ.get("TUTELAGE_RENDER_CACHE") != "0"
    return HFRenderer(tokenizer, config, cache)


def with_chat_settings(config: ChatConfig, settings: Mapping[str, Any], fold_system: bool) -> ChatConfig:
    """A model's chat settings with these variables of its template over its own, and perhaps system messages folded.

    ValueError for a variable that its template does not read.
    """
    own = config.settings
    if settings:
        template_settings(settings)
        read = JinjaTemplate(config).variables - set(RESERVED) if has_own_template(config) else frozenset()
        if unknown := sorted(settings.keys() - read):
            known = ", ".join(sorted(read)) or "no setting"
            raise ValueError(f"the chat template does not read the setting '{unknown[0]}'; it reads {known}")
    written = {**own.template_settings, **settings}
    return replace(config, settings=ChatSettings(written, fold_system or own.fold_system, own.system))


def with_system(config: ChatConfig, system: str) -> ChatConfig:
    """A model's chat settings with the system message that its conversations share."""
    settings = config.settings
    return replace(config, settings=ChatSettings(settings.template_settings, settings.fold_system, system))


def chat_tokenizer(tokenizer: Tokenizer, config: ChatConfig) -> Tokenizer:
    """The tokenizer a model chats with: as it is where the model has a template, else with Tutelage's tokens."""
    return tokenizer if has_own_template(config) else tokenizer.extend(TEMPLATE_TOKENS)


def has_own_template(config: ChatConfig) -> bool:
    """Whether a model has a chat template that is not Tutelage's."""
    return config.template is not None and config.template != NATIVE_JINJA


def base_config(tokenizer: Tokenizer) -> ChatConfig:
    """What the folder of a new base model says, so that other programs find the token that texts begin and end with in
    training; nothing where there is none."""
    if END_OF_TEXT not in tokenizer.special_tokens:
        return ChatConfig()
    tokens = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    return ChatConfig(tokenizer_config={"tokenizer_class": TOKENIZER_CLASS, **tokens})


def trained_config(config: ChatConfig, renderer: Renderer) -> ChatConfig:
    """What a fine-tuned model's folder says: the template it was trained with, and that generation stops at the tokens
    that were trained as ends."""
    ends = sorted(renderer.stop_ids)
    generation = {**config.generation_config, "eos_token_id": ends if len(ends) > 1 else ends[0]}
    tokens = dict(config.tokenizer_config)
    if not has_own_template(config):
        tokens = {"tokenizer_class": TOKENIZER_CLASS, **tokens, "eos_token": END}
    return replace(
        config, template=config.template or NATIVE_JINJA, tokenizer_config=tokens, generation_config=generation
    )
