"""What the two endpoints share: asking the engine, waiting for it, log-probabilities and usage on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tutelage.engine.requests import FinishReason
from tutelage.serve.errors import ApiError
from tutelage.serve.served_model import ServedModel
from tutelage.serve.worker import Ask, Progress, Ticket, TopTokens
from tutelage.tokenizer import Tokenizer

PING_SECONDS = 5.0
PING, DONE = b": ping\n\n", b"data: [DONE]\n\n"
LOWEST_LOGPROB = -9999.0  # JSON has no infinity; OpenAI's API writes this


@dataclass
class Usage:
    """Counts of token ids, for all choices of a request. `cached` counts each prompt once."""

    prompt: int
    completion: int = 0
    cached: int = 0

    def note(self, event: Progress, counts_prompt: bool) -> None:
        """Add what a step brought."""
        self.completion += len(event.tokens)
        if event.finish_reason is not None and counts_prompt:
            self.cached += event.cached_tokens

    def wire(self) -> dict[str, Any]:
        """The field `usage`."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclass
class Answering:
    """A request that the engine answers; `cancel` may be called at any time and more than once."""

    model: ServedModel
    ticket: Ticket
    usage: Usage
    choices: int
    open: set[int] = field(default_factory=set)

    def timings(self) -> dict[str, float]:
        """The field `timings`, which is not OpenAI's: seconds from the arrival of the request to the first and to the
        last token, by the engine's clock."""
        ticket = self.ticket
        first, total = (max(0.0, moment - ticket.arrived) for moment in (ticket.first_token, ticket.last_token))
        return {"first_token": round(first, 6), "total": round(total, 6)}

    def cancel(self) -> None:
        """Tell the engine that nobody waits for the rest."""
        if self.open:
            self.model.worker.cancel(self.ticket)

    async def events(self, pings: bool) -> AsyncIterator[Progress | None]:
        """What the engine writes, until every choice has ended; None where nothing came for a while.

        Raises:
            ApiError: the engine failed, or the server shuts down.
        """
        while self.open:
            try:
                async with asyncio.timeout(PING_SECONDS if pings else None):
                    event = await self.ticket.events.get()
            except TimeoutError:
                yield None
                continue
            if isinstance(event, ApiError):
                self.open.clear()
                raise event
            self.usage.note(event, event.choice % self.choices == 0)
            if event.finish_reason is not None:
                self.open.discard(event.choice)
            yield event


def start(model: ServedModel, asks: Sequence[Ask], arrived: float, choices: int, prompt_tokens: int) -> Answering:
    """Give admitted asks to the engine; every `choices` of them have the same prompt."""
    ticket = Ticket(list(asks), asyncio.get_running_loop(), arrived, model.adapter)
    model.worker.submit(ticket)
    return Answering(model, ticket, Usage(prompt_tokens), choices, set(range(len(asks))))


def finish_reason(reason: FinishReason, calls: int = 0) -> str:
    """OpenAI's name for why an answer ended: of a streamed and of a whole one."""
    if reason == "stop":
        return "tool_calls" if calls else "stop"
    return "length"


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token for `logprobs`; one that is only a part of a character is written as `bytes:\\xe2\\x82`."""
    data = tokenizer.token_bytes(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def chat_logprob(tokenizer: Tokenizer, token: int, logprob: float, top: TopTokens) -> dict[str, Any]:
    """An entry of a chat's `logprobs.content`."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        text, data = token_text(tokenizer, token), list(tokenizer.token_bytes(token))
        return {"token": text, "logprob": max(logprob, LOWEST_LOGPROB), "bytes": data}

    return {**entry(token, logprob), "top_logprobs": [entry(*other) for other in top]}


def sse(value: dict[str, Any]) -> bytes:
    """One server-sent event; JSON has no line breaks."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def sse_error(error: ApiError) -> bytes:
    """The event that ends a stream that failed; no [DONE] follows."""
    return b"data: " + error.body() + b"\n\n"
