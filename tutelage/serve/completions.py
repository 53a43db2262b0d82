"""POST /v1/completions: texts or token ids to continue, also without an answer, for their own log-probabilities."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tutelage.engine.text_stream import TextStream
from tutelage.serve.answers import (
    DONE,
    LOWEST_LOGPROB,
    PING,
    Answering,
    finish_reason,
    sse,
    sse_error,
    start,
    token_text,
)
from tutelage.serve.errors import ApiError
from tutelage.serve.logits import LogitRules
from tutelage.serve.prompt_logprobs import TokenLogprob, prompt_logprobs
from tutelage.serve.schema import CompletionRequest, logit_bias, sampling_settings, stop_strings
from tutelage.serve.served_model import ServedModel
from tutelage.serve.worker import Ask, Progress
from tutelage.tokenizer import Tokenizer

DEFAULT_MAX_TOKENS = 16  # as OpenAI's API has it


@dataclass(frozen=True)
class Prompt:
    """A prompt: its ids, and how many of the first are not part of the text that was sent."""

    ids: list[int]
    hidden: int
    text: str


@dataclass
class _Choice:
    """A choice; `length` counts the characters of the tokens written so far, for `text_offset`."""

    prompt: int
    text: str = ""
    length: int = 0
    ids: list[int] = field(default_factory=list)
    logprobs: dict[str, list[Any]] = field(default_factory=lambda: _no_logprobs())
    finish_reason: str | None = None

    def add(self, tokenizer: Tokenizer, token: int, logprob: float | None, top: list[tuple[int, float]]) -> None:
        """Note the log-probabilities of a token."""
        text = token_text(tokenizer, token)
        others = {token_text(tokenizer, other): max(value, LOWEST_LOGPROB) for other, value in top}
        if logprob is not None:
            logprob = max(logprob, LOWEST_LOGPROB)
            others.setdefault(text, logprob)
        values = (text, logprob, others if logprob is not None else None, self.length)
        for entries, value in zip(self.logprobs.values(), values, strict=True):
            entries.append(value)
        self.length += len(tokenizer.token_text(token))


def _no_logprobs() -> dict[str, list[Any]]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


class CompletionAnswer:
    """The answer to a completion request, whole or streamed."""

    def __init__(
        self, request: CompletionRequest, model: ServedModel, prompts: list[Prompt], answering: Answering | None
    ) -> None:
        self.request, self.model, self.prompts, self.answering = request, model, prompts, answering
        self.id, self.created, self.count = f"cmpl-{secrets.token_hex(12)}", int(time.time()), request.n or 1
        self.choices = [_Choice(number // self.count) for number in range(len(prompts) * self.count)]

    async def whole(self) -> dict[str, Any]:
        """The answer as one object. Raises ApiError where the engine fails."""
        await self._echo()
        if self.answering is None:
            for choice in self.choices:
                choice.finish_reason = "length"
        else:
            async for event in self.answering.events(pings=False):
                assert event is not None
                self._read(event)
        entries = [self._entry(number) for number in range(len(self.choices))]
        return {**self._head(), "choices": entries, **self._usage()}

    async def stream(self) -> AsyncIterator[bytes]:
        """The answer as server-sent events; an error ends them without [DONE]."""
        options = self.request.stream_options
        with_usage = bool(options and options.include_usage)
        extra = {"usage": None} if with_usage else {}
        try:
            await self._echo()
            if self.request.echo:
                for number, choice in enumerate(self.choices):
                    choice.finish_reason = "length" if self.answering is None else None
                    yield sse({**self._head(), "choices": [self._entry(number)], **extra})
            if self.answering is not None:
                async for event in self.answering.events(pings=True):
                    if event is None:
                        yield PING
                        continue
                    self._read(event)
                    choice = self.choices[event.choice]
                    if choice.text or choice.finish_reason is not None:
                        yield sse({**self._head(), "choices": [self._entry(event.choice)], **extra})
        except ApiError as error:
            yield sse_error(error)
            return
        if with_usage:
            yield sse({**self._head(), "choices": [], **self._usage()})
        yield DONE

    async def _echo(self) -> None:
        """Begin every choice with its prompt, if that was asked for."""
        if not self.request.echo:
            return
        for number, prompt in enumerate(self.prompts):
            scored: list[TokenLogprob] = []
            if self.request.logprobs is not None:
                score = partial(prompt_logprobs, prompt=prompt.ids, top=self.request.logprobs)
                call = self.model.worker.call(lambda engine, score=score: score(engine.model))  # type: ignore[misc]
                scored = await asyncio.wrap_future(call)
            for choice in self.choices[number * self.count : (number + 1) * self.count]:
                choice.text = prompt.text
                for token, (logprob, others) in list(zip(prompt.ids, scored, strict=False))[prompt.hidden :]:
                    choice.add(self.model.checkpoint.tokenizer, token, logprob, others)

    def _read(self, event: Progress) -> None:
        choice = self.choices[event.choice]
        choice.text += "".join(piece.text for piece in event.pieces)
        choice.ids += [token for token, _, _ in event.tokens]
        if self.request.logprobs is not None:
            for token, logprob, top in event.tokens:
                choice.add(self.model.checkpoint.tokenizer, token, logprob, top)
        if event.finish_reason is not None:
            choice.finish_reason = finish_reason(event.finish_reason)

    def _entry(self, number: int) -> dict[str, Any]:
        """What a choice has written since the last call."""
        choice = self.choices[number]
        logprobs = choice.logprobs if self.request.logprobs is not None else None
        entry = {
            "index": number,
            "text": choice.text,
            "logprobs": logprobs,
            "finish_reason": choice.finish_reason,
        }
        if self.request.return_token_ids:
            entry["token_ids"] = choice.ids
        choice.text, choice.ids, choice.logprobs = "", [], _no_logprobs()
        return entry

    def _usage(self) -> dict[str, Any]:
        if self.answering is not None:
            return {"usage": self.answering.usage.wire(), "timings": self.answering.timings()}
        tokens = sum(len(prompt.ids) for prompt in self.prompts)
        return {"usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}}

    def _head(self) -> dict[str, Any]:
        head = {"id": self.id, "object": "text_completion", "created": self.created, "model": self.model.name}
        return head if self.answering is None else {**head, "system_fingerprint": self.answering.ticket.weights}


async def answer_completion(request: CompletionRequest, model: ServedModel, arrived: float) -> CompletionAnswer:
    """Begin to answer a completion request.

    Raises:
        ApiError: it is wrong, or too many wait.
    """
    texts = _texts(request.prompt)
    if model.adapter is not None and request.echo and request.logprobs is not None:
        raise ApiError(400, f"{model.name} is an adapter, and its prompts are not scored; merge it first", "echo")
    count = len(texts) * (request.n or 1)
    model.worker.admit(count)
    try:
        loop = asyncio.get_running_loop()
        prompts, asks = await loop.run_in_executor(model.tokenise, _asks, request, model, texts)
    except BaseException:
        model.worker.release(count)
        raise
    if request.max_tokens == 0:
        model.worker.release(count)
        return CompletionAnswer(request, model, prompts, None)
    tokens = sum(len(prompt.ids) for prompt in prompts)
    return CompletionAnswer(request, model, prompts, start(model, asks, arrived, request.n or 1, tokens))


def _texts(prompt: str | list[str | int | list[int]]) -> list[str | list[int]]:
    """The prompts of a request: one text, texts, the ids of one, or lists of ids."""
    if isinstance(prompt, str):
        return [prompt]
    if prompt and all(isinstance(token, int) for token in prompt):
        return [[token for token in prompt if isinstance(token, int)]]
    texts = [text for text in prompt if not isinstance(text, int)]
    if not texts or len(texts) < len(prompt):
        raise ApiError(400, "prompt must be a text, a list of texts, or ids of tokens", "prompt")
    return texts


def _asks(
    request: CompletionRequest, model: ServedModel, texts: list[str | list[int]]
) -> tuple[list[Prompt], list[Ask]]:
    tokenizer, vocabulary = model.checkpoint.tokenizer, model.checkpoint.model.token_count
    wanted = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    bias, stops = logit_bias(request, vocabulary), stop_strings(request)
    prompts, asks = [], []
    for text in texts:
        if isinstance(text, str):
            ids = model.text_prompt(text)
            prompt = Prompt(ids, len(ids) - len(tokenizer.encode(text)), text)
        elif all(0 <= token < vocabulary for token in text):
            prompt = Prompt(text, 0, tokenizer.decode(text))
        else:
            raise ApiError(400, f"a token id is not below {vocabulary}", "prompt")
        model.check_room(prompt.ids, wanted, "prompt", least=0)
        prompts.append(prompt)
        for number in range(request.n or 1) if wanted else ():
            stop_ids = frozenset[int]() if request.ignore_eos else model.stop_ids
            stop_ids |= frozenset(request.stop_token_ids or ())
            rules = LogitRules(bias, None, request.logprobs or 0)
            stream = TextStream(tokenizer, stops, markers={})
            asks.append(Ask(prompt.ids, stop_ids, sampling_settings(request, wanted), stream, rules, number))
    return prompts, asks
