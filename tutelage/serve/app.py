"""The web application: routes, and the errors they answer with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tutelage.serve.chat_completions import ChatAnswer, answer_chat
from tutelage.serve.chat_page import chat_page
from tutelage.serve.completions import CompletionAnswer, answer_completion
from tutelage.serve.errors import KINDS, ApiError
from tutelage.serve.http import EventStream, Guard, error_response, read_body, until_disconnect
from tutelage.serve.metrics import prometheus_text
from tutelage.serve.schema import ChatRequest, CompletionRequest, SamplingRequest, read_request
from tutelage.serve.served_model import ServedModel, find_served
from tutelage.serve.tools import ServerTools
from tutelage.serve.weights import check_replaceable, read_weights_request, replace_weights, weights_file

CALL_SECONDS = 10.0  # to wait for the engine's thread, which answers between two steps


@dataclass(frozen=True)
class Api:
    """The endpoints over the models by name; `max_body` is the largest body of a request in bytes, `weights_from` the
    folder that new weights may be read from."""

    models: Mapping[str, ServedModel]
    max_body: int
    tools: ServerTools
    weights_from: Path | None = None

    async def chat(self, request: Request) -> ASGIApp:
        """POST /v1/chat/completions"""
        return await self._answer(request, ChatRequest, answer_chat)

    async def complete(self, request: Request) -> ASGIApp:
        """POST /v1/completions"""
        return await self._answer(request, CompletionRequest, answer_completion)

    async def list_models(self, request: Request) -> Response:
        """GET /v1/models"""
        return _json({"object": "list", "data": [_model_card(model) for model in self.models.values()]})

    async def one_model(self, request: Request) -> Response:
        """GET /v1/models/NAME"""
        return _json(_model_card(find_served(self.models, request.path_params["name"])))

    async def health(self, request: Request) -> Response:
        """GET /health: 503 while the server shuts down."""
        if any(model.worker.draining for model in self.models.values()):
            raise ApiError(503, "the server is shutting down")
        return _json({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """GET /metrics"""
        text = prometheus_text({name: (model.metrics, model.gauges()) for name, model in self.models.items()})
        return Response(text, media_type="text/plain; version=0.0.4")

    async def slots(self, request: Request) -> Response:
        """GET /slots: what the engines are working on."""
        rows: list[dict[str, Any]] = []
        for model in self.models.values():
            async with asyncio.timeout(CALL_SECONDS):
                rows += await asyncio.wrap_future(model.worker.call(model.slots))
        return _json(rows)

    async def take_weights(self, request: Request) -> Response:
        """POST /v1/weights"""
        asked = read_weights_request(await read_body(request, self.max_body))
        model = find_served(self.models, asked.model)
        path = weights_file(asked.path, self.weights_from)
        check_replaceable(model)
        digest = await asyncio.wrap_future(model.worker.call(partial(replace_weights, path=path)))
        return _json({"model": model.name, "weights": digest})

    async def list_tools(self, request: Request) -> Response:
        """GET /v1/tools"""
        return _json(self.tools.listed())

    async def call_tools(self, request: Request) -> Response:
        """POST /v1/tools/call"""
        return _json(await self.tools.call(await read_body(request, self.max_body), self.models))

    async def page(self, request: Request) -> Response:
        """GET /: the chat page."""
        return HTMLResponse(chat_page())

    async def _answer(
        self,
        request: Request,
        kind: type[ChatRequest] | type[CompletionRequest],
        begin: Callable[..., Awaitable[ChatAnswer | CompletionAnswer]],
    ) -> ASGIApp:
        arrived = time.monotonic()
        asked: SamplingRequest = read_request(await read_body(request, self.max_body), kind)
        answer = await begin(asked, find_served(self.models, asked.model), arrived)
        cancel = answer.answering.cancel if answer.answering else _nothing
        if asked.stream:
            return EventStream(answer.stream(), cancel)
        return await _whole(answer, cancel, request)


async def _whole(answer: ChatAnswer | CompletionAnswer, cancel: Callable[[], None], request: Request) -> Response:
    """The whole answer, unless the client leaves before: then nobody reads what is returned."""
    task = asyncio.create_task(answer.whole())
    gone = asyncio.create_task(until_disconnect(request.receive))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        return _json(task.result()) if task.done() else Response(status_code=499)
    finally:
        task.cancel()
        gone.cancel()
        cancel()


def build_app(
    models: Mapping[str, ServedModel],
    hosts: frozenset[str] | None,
    key: str,
    max_body: int,
    tools: ServerTools | None = None,
    weights_from: Path | None = None,
) -> Starlette:
    """The application. `hosts` and `key` as for `Guard`, `weights_from` as for `Api`."""
    api = Api(models, max_body, tools or ServerTools(), weights_from)
    routes = [
        Route("/", api.page),
        Route("/health", api.health),
        Route("/metrics", api.metrics),
        Route("/slots", api.slots),
        Route("/v1/models", api.list_models),
        Route("/v1/models/{name:path}", api.one_model),
        Route("/v1/tools", api.list_tools),
        Route("/v1/tools/call", api.call_tools, methods=["POST"]),
        Route("/v1/chat/completions", _Endpoint(api.chat), methods=["POST"]),
        Route("/v1/completions", _Endpoint(api.complete), methods=["POST"]),
        Route("/v1/weights", api.take_weights, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {
        ApiError: lambda request, error: error_response(error),
        HTTPException: _http_error,
        Exception: _internal_error,
    }
    middleware = [Middleware(partial(Guard, hosts=hosts, key=key))]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


@dataclass(frozen=True)
class _Endpoint:
    """An endpoint whose result is an ASGI application of its own."""

    answer: Callable[[Request], Awaitable[ASGIApp]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response: ASGIApp
        try:
            response = await self.answer(Request(scope, receive))
        except ApiError as error:
            response = error_response(error)
        await response(scope, receive, send)


def _model_card(model: ServedModel) -> dict[str, Any]:
    chats = model.renderer is not None
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "tutelage",
        "context": model.context,
        "chats": chats,
        "system": model.checkpoint.chat_config.settings.system if chats else "",
    }


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _nothing() -> None:
    pass


def _http_error(request: Request, error: HTTPException) -> Response:
    status = error.status_code if error.status_code in KINDS else 400
    return error_response(ApiError(status, f"{request.method} {request.url.path[:100]}: {error.detail}"))


def _internal_error(request: Request, error: Exception) -> Response:
    return error_response(ApiError(500, f"internal error: {type(error).__name__}"))
