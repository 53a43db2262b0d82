"""A model that is served: its checkpoint, its renderer, its engine's thread, and how requests become prompts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tutelage.chat import Renderer
from tutelage.chat.formats.tools import read_tools
from tutelage.chat.formats.turns import clean, read_messages
from tutelage.chat.render.config import template_settings
from tutelage.engine.adapters import LoraAdapter
from tutelage.engine.engine import Engine
from tutelage.engine.scheduler import pages_for
from tutelage.io.row import BrokenRow
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation
from tutelage.serve.errors import ApiError
from tutelage.serve.grammar import GrammarCompiler
from tutelage.serve.metrics import Metrics
from tutelage.serve.schema import ChatRequest
from tutelage.serve.worker import EngineWorker
from tutelage.tokenizer import END_OF_TEXT


@dataclass(eq=False)
class ServedModel:
    """One model behind the API.

    renderer: None for a base model, which completes texts and cannot chat.
    adapter:  LoRA pairs over the model of another `ServedModel`, whose worker it shares.
    tokenise: a thread for rendering and tokenising: a long prompt must not hold up the others' streams.
    """

    name: str
    checkpoint: Checkpoint
    renderer: Renderer | None
    worker: EngineWorker
    metrics: Metrics
    adapter: LoraAdapter | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    tokenise: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "tokenise"))

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its answer."""
        return self.checkpoint.model.config.context

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """Compiles JSON schemas; ApiError where the library is missing."""
        assert self.renderer is not None, "only chats have grammars"
        return GrammarCompiler(self.checkpoint.tokenizer, self.stop_ids)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer: those that training trained as ends, those of the checkpoint's own settings,
        and the end of a text."""
        known = self.checkpoint.tokenizer.special_tokens
        declared = self.checkpoint.chat_config.generation_config.get("eos_token_id")
        ids = [*declared] if isinstance(declared, list) else [] if declared is None else [declared]
        ids += [known[END_OF_TEXT]] if END_OF_TEXT in known else []
        return frozenset(ids) | (self.renderer.stop_ids if self.renderer else frozenset())

    def gauges(self) -> dict[str, float]:
        """Figures of the moment, read without waiting for the engine."""
        engine = self.worker.engine
        guesses = engine.speculation
        return {
            "requests_running": len(engine.scheduler.running),
            "requests_waiting": len(engine.scheduler.waiting),
            "pages_free": engine.pool.available - len(engine.pool.cached),
            "pages_cached": len(engine.pool.cached),
            "pages_total": engine.pool.total,
            "drafted_tokens": 0 if guesses is None else guesses.drafted,
            "accepted_tokens": 0 if guesses is None else guesses.accepted,
        }

    def chat_prompt(self, request: ChatRequest) -> list[int]:
        """The ids that a chat is continued from, by the renderer that training used.

        Raises:
            ApiError: 400, where the messages are no conversation or the template cannot write them.
        """
        if self.renderer is None:
            message = f"{self.name} is a base model and has no chat template; use /v1/completions"
            raise ApiError(400, message, "model", "not_a_chat_model")
        conversation = read_conversation(request)
        try:
            ids = _plain(self.renderer.render_prompts([conversation])[0].ids)
            if conversation.tools:
                without = self.renderer.render_prompts([replace(conversation, tools=())])[0].ids
        except (ValueError, RecursionError) as error:
            raise ApiError(400, _without_name(str(error)), "messages") from None
        if conversation.tools and ids == _plain(without):
            message = f"the chat template of {self.name} does not show functions to the model; leave out tools"
            raise ApiError(400, message, "tools", "unsupported_parameter")
        return ids

    def text_prompt(self, text: str) -> list[int]:
        """The ids of a text to continue, opened as documents are in training.

        Raises:
            ApiError: 400, where the tokenizer cannot encode the text.
        """
        try:
            ids = _plain(self.checkpoint.tokenizer.encode(text))
        except ValueError as error:
            raise ApiError(400, f"the prompt cannot be encoded: {error}", "prompt") from None
        return [*_plain(self.checkpoint.tokenizer.document_edges[0]), *ids]

    def check_room(self, prompt: Sequence[int], max_tokens: int | None, param: str, least: int = 1) -> int:
        """How many tokens the answer may have.

        Raises:
            ApiError: 400, `context_length_exceeded`: nothing is cut silently.
        """
        if not prompt:
            raise ApiError(400, "the prompt is empty; there is nothing to continue from", param)
        room = self.context - len(prompt)
        wanted = least if max_tokens is None else max_tokens
        if room < max(wanted, least):
            message = (
                f"the prompt has {len(prompt)} tokens and the answer may have {wanted}, but the context of {self.name} "
                f"holds {self.context}; shorten the prompt, or lower max_tokens"
            )
            raise ApiError(400, message, param, "context_length_exceeded")
        pool = self.worker.engine.pool
        if pages_for(len(prompt) + 1) > pool.total:
            message = f"the prompt has {len(prompt)} tokens, more than the server's cache holds"
            raise ApiError(400, message, param, "context_length_exceeded")
        return room if max_tokens is None else max_tokens

    def slots(self, engine: Engine) -> list[dict[str, Any]]:
        """Every request of this model that the engine has, running ones first; to be called in the engine's thread."""
        return [
            {
                "model": self.name,
                "state": request.state,
                "prompt_tokens": request.prompt_length,
                "computed_tokens": request.computed,
                "cached_tokens": request.generation.cached_tokens,
                "generated_tokens": len(request.generation.tokens),
                "pages": len(request.pages),
            }
            for request in (*engine.scheduler.running, *engine.scheduler.waiting)
            if request.adapter is self.adapter
        ]

    def close(self) -> None:
        """End its threads."""
        self.worker.stop()
        self.tokenise.shutdown(wait=False, cancel_futures=True)


def read_conversation(request: ChatRequest) -> Conversation:
    """The messages and tools of a request, read as a row of training data is.

    Raises:
        ApiError: 400; `param` is the field that is wrong.
    """
    if not request.messages:
        raise ApiError(400, "messages is empty", "messages")
    try:
        turns, _ = clean(read_messages(request.messages, "messages"))
    except BrokenRow as error:
        raise ApiError(400, str(error), "messages") from None
    except RecursionError:
        raise ApiError(400, "the messages are nested too deeply", "messages") from None
    if not turns:
        raise ApiError(400, "messages has nothing but empty system messages", "messages")
    offered = request.tools if request.tool_choice != "none" else None
    try:
        tools = read_tools({"tools": offered or []})
    except BrokenRow as error:
        raise ApiError(400, str(error), "tools") from None
    try:
        settings = template_settings(request.chat_template_kwargs) if request.chat_template_kwargs else ""
    except ValueError as error:
        raise ApiError(400, str(error), "chat_template_kwargs") from None
    return Conversation(tuple(turns), tools=tools, template_settings=settings)


def find_served(models: Mapping[str, ServedModel], name: str | None) -> ServedModel:
    """The model that a request names; the first one where it names none. ApiError 404 for another name."""
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        known = ", ".join(models)
        raise ApiError(404, f"no model is named {name[:100]!r}; this server has {known}", "model", "model_not_found")
    return models[name]


def _plain(ids: Any) -> list[int]:
    return [int(token) for token in ids]


def _without_name(message: str) -> str:
    return message.removeprefix("conversation without id, ").removeprefix("conversation without id: ")
