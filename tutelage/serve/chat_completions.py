"""POST /v1/chat/completions."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tutelage.chat.formats.tools import read_tools
from tutelage.serve.answers import DONE, PING, Answering, chat_logprob, finish_reason, sse, sse_error, start
from tutelage.serve.deltas import Delta, DeltaReader, chat_text_stream, delta_reader, joined
from tutelage.serve.errors import ApiError
from tutelage.serve.grammar import Grammar
from tutelage.serve.logits import LogitRules
from tutelage.serve.schema import ChatRequest, logit_bias, sampling_settings, stop_strings
from tutelage.serve.served_model import ServedModel
from tutelage.serve.worker import Ask, Progress


@dataclass
class _Choice:
    """A choice: how its pieces are read, and what of it was written so far."""

    reader: DeltaReader
    opened: bool = False
    deltas: list[Delta] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None

    def read(self, event: Progress) -> list[Delta]:
        """The deltas of an event."""
        deltas = self.reader.read(event.pieces)
        if event.finish_reason is not None:
            deltas += self.reader.end()
            self.finish_reason = finish_reason(event.finish_reason, self.reader.calls)
        return deltas


class ChatAnswer:
    """The answer to a chat request, whole or streamed: both are made of the same deltas."""

    def __init__(self, request: ChatRequest, model: ServedModel, answering: Answering) -> None:
        assert model.renderer is not None
        self.request, self.model, self.answering = request, model, answering
        self.id, self.created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        self.choices = [_Choice(delta_reader(model.renderer)) for _ in range(request.n or 1)]

    async def whole(self) -> dict[str, Any]:
        """The answer as one object. Raises ApiError where the engine fails."""
        async for event in self.answering.events(pings=False):
            assert event is not None
            choice = self.choices[event.choice]
            choice.deltas += choice.read(event)
            choice.logprobs += self._logprobs(event)
        return {
            **self._head("chat.completion"),
            "choices": [
                {
                    "index": number,
                    "message": joined(choice.deltas),
                    "logprobs": {"content": choice.logprobs} if self.request.logprobs else None,
                    "finish_reason": choice.finish_reason,
                }
                for number, choice in enumerate(self.choices)
            ],
            "usage": self.answering.usage.wire(),
            "timings": self.answering.timings(),
        }

    async def stream(self) -> AsyncIterator[bytes]:
        """The answer as server-sent events; an error ends them without [DONE]."""
        options = self.request.stream_options
        with_usage = bool(options and options.include_usage)
        extra = {"usage": None} if with_usage else {}
        try:
            async for event in self.answering.events(pings=True):
                if event is None:
                    yield PING
                    continue
                for chunk in self._chunks(event):
                    yield sse({**chunk, **extra})
        except ApiError as error:
            yield sse_error(error)
            return
        if with_usage:
            usage, timings = self.answering.usage.wire(), self.answering.timings()
            yield sse({**self._head("chat.completion.chunk"), "choices": [], "usage": usage, "timings": timings})
        yield DONE

    def _chunks(self, event: Progress) -> list[dict[str, Any]]:
        choice = self.choices[event.choice]
        deltas = choice.read(event)
        choice.logprobs += self._logprobs(event)
        chunks = []
        if not choice.opened:
            choice.opened = True
            chunks.append(self._chunk(event.choice, {"role": "assistant", "content": ""}))
        chunks += [self._chunk(event.choice, delta, choice) for delta in deltas]
        if choice.finish_reason is not None:
            chunks.append(self._chunk(event.choice, {}, choice))
        return chunks

    def _chunk(self, number: int, delta: Delta, choice: _Choice | None = None) -> dict[str, Any]:
        """A chunk; it takes along the log-probabilities of all tokens since the last one."""
        logprobs = None
        if choice is not None and choice.logprobs:
            logprobs, choice.logprobs = {"content": choice.logprobs}, []
        reason = choice.finish_reason if choice is not None and not delta else None
        entry = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return {**self._head("chat.completion.chunk"), "choices": [entry]}

    def _logprobs(self, event: Progress) -> list[dict[str, Any]]:
        if not self.request.logprobs:
            return []
        return [chat_logprob(self.model.checkpoint.tokenizer, *token) for token in event.tokens]

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model.name}


async def answer_chat(request: ChatRequest, model: ServedModel, arrived: float) -> ChatAnswer:
    """Begin to answer a chat request.

    Raises:
        ApiError: it is wrong, or too many wait.
    """
    check_chat(request)
    count = request.n or 1
    model.worker.admit(count)
    try:
        loop = asyncio.get_running_loop()
        asks = await loop.run_in_executor(model.tokenise, _asks, request, model, count)
    except BaseException:
        model.worker.release(count)
        raise
    return ChatAnswer(request, model, start(model, asks, arrived, count, len(asks[0].prompt)))


def check_chat(request: ChatRequest) -> None:
    """ApiError 400 for what only chats have."""
    choice = request.tool_choice
    if not isinstance(choice, dict) and choice not in (None, "auto", "none", "required"):
        raise ApiError(400, "tool_choice must be auto, none, required, or name a function", "tool_choice")
    forces = choice == "required" or isinstance(choice, dict)
    constrains = (request.response_format or {}).get("type", "text") != "text"
    if forces and constrains:
        raise ApiError(400, "tool_choice asks for a call; it cannot be combined with response_format", "tool_choice")
    if (forces or constrains) and request.ignore_eos:
        field = "tool_choice" if forces else "response_format"
        raise ApiError(400, f"{field} cannot be combined with ignore_eos", "ignore_eos")


def _asks(request: ChatRequest, model: ServedModel, count: int) -> list[Ask]:
    prompt = model.chat_prompt(request)
    assert model.renderer is not None
    wanted = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    settings = sampling_settings(request, model.check_room(prompt, wanted, "messages"))
    bias = logit_bias(request, model.checkpoint.model.token_count)
    grammar: Grammar | None = None
    if request.response_format is not None and request.response_format.get("type") != "text":
        grammar = model.grammars.compile(request.response_format)
    if functions := forced_functions(request):
        reader = delta_reader(model.renderer)
        space = "\n" if reader.trims else ""
        grammar = model.grammars.compile_call(functions, reader.opening, reader.closing, space)
    tools = bool(request.tools) and request.tool_choice != "none"
    top = request.top_logprobs or 0
    return [
        Ask(
            prompt,
            frozenset() if request.ignore_eos else model.stop_ids,
            settings,
            chat_text_stream(model.renderer, prompt, stop_strings(request), tools),
            LogitRules(bias, grammar and grammar.copy(), top),
            number,
        )
        for number in range(count)
    ]


def forced_functions(request: ChatRequest) -> list[str]:
    """The functions of which one must be called, each as JSON text; none where the model chooses.

    Raises:
        ApiError: 400, where `tool_choice` names no function that is offered.
    """
    choice = request.tool_choice
    if choice != "required" and not isinstance(choice, dict):
        return []
    offered = list(read_tools({"tools": request.tools or []}))
    wanted = None
    if isinstance(choice, dict):
        function = choice.get("function")
        wanted = function.get("name") if isinstance(function, dict) else None
        offered = [tool for tool in offered if json.loads(tool)["function"]["name"] == wanted]
    if not offered:
        name = "" if wanted is None else f" named {str(wanted)[:100]!r}"
        raise ApiError(400, f"tool_choice asks for a call, and no function{name} is offered in tools", "tool_choice")
    return offered
