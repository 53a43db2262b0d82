"""Conversations: files of them (formats), rendered to tokens and loss weights (render), and their faults (audit).

These names are imported when they are first used, so that `tutelage --help` imports no tokenizer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.chat.formats import read_conversations as read_conversations
    from tutelage.chat.render import RENDERING as RENDERING
    from tutelage.chat.render.config import ChatConfig as ChatConfig
    from tutelage.chat.render.config import read_chat_config as read_chat_config
    from tutelage.chat.render.documents import render_documents as render_documents
    from tutelage.chat.render.layout import VerificationError as VerificationError
    from tutelage.chat.render.make import chat_tokenizer as chat_tokenizer
    from tutelage.chat.render.make import make_renderer as make_renderer
    from tutelage.chat.render.renderer import Rendered as Rendered
    from tutelage.chat.render.renderer import Renderer as Renderer
    from tutelage.chat.render.renderer import TrainOn as TrainOn

_MODULES = {
    "read_conversations": "formats",
    "RENDERING": "render",
    "ChatConfig": "render.config",
    "read_chat_config": "render.config",
    "render_documents": "render.documents",
    "VerificationError": "render.layout",
    "chat_tokenizer": "render.make",
    "make_renderer": "render.make",
    "Rendered": "render.renderer",
    "Renderer": "render.renderer",
    "TrainOn": "render.renderer",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
