"""The web application of `tutelage annotate`: the page, and what it asks for."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tutelage.annotate.annotation_page import annotation_page
from tutelage.annotate.service import AnnotationDraft, AnnotationService, SubmitRequest
from tutelage.serve.errors import ApiError
from tutelage.serve.http import Guard, error_response, read_body

MAX_BODY = 1 << 20
T = TypeVar("T")


class _Next(msgspec.Struct):
    person: str = ""
    number: int | None = None


class _Draft(msgspec.Struct):
    number: int
    draft: AnnotationDraft
    person: str = ""


class _Submit(msgspec.Struct):
    submission: SubmitRequest
    person: str = ""


class _Check(msgspec.Struct):
    number: int
    text: str
    person: str = ""


@dataclass(frozen=True)
class _Api:
    """The endpoints. `keys` are those of the annotators by name; with none, the page asks for a name."""

    service: AnnotationService
    keys: Mapping[str, str]

    async def page(self, request: Request) -> Response:
        """GET /"""
        settings = self.service.state.settings
        return HTMLResponse(annotation_page(settings, keyed=bool(self.keys)))

    async def next(self, request: Request) -> Any:
        """POST /api/next"""
        asked = await _read(request, _Next)
        person = self._person(request, asked.person)
        if asked.number is None:
            return await asyncio.to_thread(self.service.next, person)
        return await asyncio.to_thread(self.service.item, person, asked.number)

    async def draft(self, request: Request) -> Any:
        """POST /api/draft"""
        asked = await _read(request, _Draft)
        person = self._person(request, asked.person)
        return await asyncio.to_thread(self.service.save_draft, person, asked.number, asked.draft)

    async def submit(self, request: Request) -> Any:
        """POST /api/submit"""
        asked = await _read(request, _Submit)
        return await asyncio.to_thread(self.service.submit, self._person(request, asked.person), asked.submission)

    async def check(self, request: Request) -> Any:
        """POST /api/check"""
        asked = await _read(request, _Check)
        person = self._person(request, asked.person)
        return await asyncio.to_thread(self.service.check, person, asked.number, asked.text)

    def _person(self, request: Request, named: str) -> str:
        """Who asks: the owner of the key, or with no keys the name that the page sends."""
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            raise ApiError(403, f"a page of {origin[:100]} cannot write here")
        if not self.keys:
            return named
        _, _, given = request.headers.get("authorization", "").partition(" ")
        for person, key in self.keys.items():
            if hmac.compare_digest(given.strip().encode(), key.encode()):
                return person
        raise ApiError(401, "the key is missing or wrong; open the link that you were given")


def annotation_app(service: AnnotationService, hosts: frozenset[str] | None, keys: Mapping[str, str]) -> Starlette:
    """The application; `hosts` as for `Guard`, `keys` by the names of the annotators."""
    api = _Api(service, keys)
    endpoints = {"next": api.next, "draft": api.draft, "submit": api.submit, "check": api.check}
    posts = [Route(f"/api/{name}", partial(_answer, call), methods=["POST"]) for name, call in endpoints.items()]
    handlers: dict[Any, Any] = {
        ApiError: lambda request, error: error_response(error),
        HTTPException: lambda request, error: error_response(ApiError(404, f"there is no {request.url.path[:100]}")),
    }
    middleware = [Middleware(partial(Guard, hosts=hosts))]
    return Starlette(routes=[Route("/", api.page), *posts], middleware=middleware, exception_handlers=handlers)


async def _answer(endpoint: Callable[[Request], Awaitable[Any]], request: Request) -> Response:
    return Response(msgspec.json.encode(await endpoint(request)), media_type="application/json")


async def _read(request: Request, kind: type[T]) -> T:
    body = await read_body(request, MAX_BODY)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(400, f"malformed request: {error}") from None
