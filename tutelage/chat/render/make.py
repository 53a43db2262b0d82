"""Which renderer a model has, and what a fine-tuned model's folder says of it."""

from __future__ import annotations

import os

from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Renderer
from tutelage.chat.render.template import END, NATIVE_JINJA, TEMPLATE_TOKENS
from tutelage.tokenizer import Tokenizer


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


def chat_tokenizer(tokenizer: Tokenizer, config: ChatConfig) -> Tokenizer:
    """The tokenizer a model chats with: as it is where the model has a template, else with Tutelage's tokens."""
    return tokenizer if has_own_template(config) else tokenizer.extend(TEMPLATE_TOKENS)


def has_own_template(config: ChatConfig) -> bool:
    """Whether a model has a chat template that is not Tutelage's."""
    return config.template is not None and config.template != NATIVE_JINJA


def trained_config(config: ChatConfig, renderer: Renderer) -> ChatConfig:
    """What a fine-tuned model's folder says: the template it was trained with, and that generation stops at the tokens
    that were trained as ends."""
    ends = sorted(renderer.stop_ids)
    generation = {**config.generation_config, "eos_token_id": ends if len(ends) > 1 else ends[0]}
    settings = dict(config.tokenizer_config)
    if not has_own_template(config):
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings, "eos_token": END}
    return ChatConfig(config.template or NATIVE_JINJA, settings, generation)
