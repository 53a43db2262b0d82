"""The server's own tools: GET /v1/tools lists them, POST /v1/tools/call runs calls for the chat page, or any client.

A client puts the schemas into `tools` of a chat, and the results into messages of role "tool"; the prefix cache keeps
what was computed of the conversation meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tutelage.records import Conversation, Message, ToolCall, ToolResult, message
from tutelage.serve.errors import ApiError
from tutelage.serve.served_model import ServedModel, find_served
from tutelage.tools.environment import ToolLimits, ToolState, tool_environment
from tutelage.tools.tool import Tool

MAX_CALLS = 16  # of a request


class _Call(msgspec.Struct):
    name: str
    arguments: str
    id: str = ""


class _Request(msgspec.Struct):
    calls: list[_Call]
    model: str | None = None


@dataclass(frozen=True, eq=False)
class ServerTools:
    """What the models of a server may call. Calls run in threads of their own, as many at once as `parallel`."""

    tools: Sequence[Tool] = ()
    limits: ToolLimits = field(default_factory=lambda: ToolLimits(calls=MAX_CALLS))
    parallel: int = 4
    pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", ThreadPoolExecutor(self.parallel, "tools"))

    def listed(self) -> dict[str, Any]:
        """The answer to GET /v1/tools."""
        return {"object": "list", "data": [json.loads(tool.schema) for tool in self.tools]}

    async def call(self, body: bytes, models: Mapping[str, ServedModel]) -> dict[str, Any]:
        """The answer to POST /v1/tools/call: the results of some calls, in their order, as the model is told them.

        Raises:
            ApiError: 400 for a wrong request, 404 for an unknown model.
        """
        try:
            request = msgspec.json.decode(body, type=_Request)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ApiError(400, f"calls must be a list of {{id, name, arguments}}: {error}", "calls") from None
        if not 0 < len(request.calls) <= MAX_CALLS:
            raise ApiError(400, f"{len(request.calls)} calls; send from 1 to {MAX_CALLS}", "calls")
        model = find_served(models, request.model)
        if model.renderer is None:
            raise ApiError(400, f"{model.name} is a base model and calls no tools", "model", "not_a_chat_model")
        next_turn = tool_environment(self.tools, model.renderer, self.limits)
        calls = tuple(ToolCall(call.name, call.arguments, call.id) for call in request.calls)
        asked = Conversation((message("user", "?"), Message("assistant", calls)))
        loop = asyncio.get_running_loop()
        turns, state = await loop.run_in_executor(self.pool, next_turn, asked, ToolState())
        results = [part for turn in turns or () for part in turn.content if isinstance(part, ToolResult)]
        rows = [
            {"id": result.call_id, "text": result.text, "status": record.status, "seconds": round(record.seconds, 3)}
            for result, record in zip(results, state.calls, strict=True)
        ]
        return {"object": "list", "data": rows}
