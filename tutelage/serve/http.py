"""HTTP rules in front of every endpoint: Host, API key, body size, and streams that notice when their client leaves."""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tutelage.serve.errors import ApiError

BODY_SECONDS = 30.0  # for a whole request body to arrive
SEND_SECONDS = 60.0  # for a reader to take the next part of a stream
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]", "::1")
# Without a key: whether the server lives, and the page itself, which holds no secret.
OPEN_PATHS = ("/", "/health")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)
_PORT = re.compile(r":\d{1,5}\Z")


@dataclass(frozen=True)
class Guard:
    """ASGI middleware: refuses foreign Host headers, so that no web page reaches the server under a name of its own
    (DNS rebinding), and requests without the key. It sends no CORS headers, so browsers show answers to no other page.

    hosts: the names under which the server may be asked, without port; None allows all.
    key:   what `Authorization: Bearer KEY` must carry; "" asks for none.
    basic: no path is open, and browsers ask for the key, as a password of any user: for pages without a field for it.
    """

    app: ASGIApp
    hosts: frozenset[str] | None
    key: str = ""
    basic: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
            await send(message)

        try:
            self._check(Headers(scope=scope), scope["path"])
        except ApiError as error:
            response = error_response(error)
            if self.basic and error.status == 401:
                response.headers["WWW-Authenticate"] = 'Basic realm="tutelage", charset="UTF-8"'
            return await response(scope, receive, send_guarded)
        await self.app(scope, receive, send_guarded)

    def _check(self, headers: Headers, path: str) -> None:
        host = _PORT.sub("", headers.get("host", "")).lower()
        if self.hosts is not None and host not in self.hosts:
            message = f"this server does not answer to the host {host[:100]!r}; allow it with --allow-host"
            raise ApiError(403, message)
        if self.key and (self.basic or path not in OPEN_PATHS):
            kind, _, given = headers.get("authorization", "").partition(" ")
            if self.basic and kind.lower() == "basic":
                kind, given = "bearer", _password(given)
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.key.encode()):
                raise ApiError(401, "the API key is missing or wrong; send Authorization: Bearer KEY")


def _password(given: str) -> str:
    """The password of Basic credentials (RFC 7617); "" where they are none."""
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def error_response(error: ApiError) -> Response:
    """The response of an error."""
    return Response(error.body(), error.status, error.headers(), "application/json")


async def read_body(request: Request, limit: int) -> bytes:
    """The JSON body of a request.

    Raises:
        ApiError: 415 where it is not JSON, 413 where it is larger than `limit` bytes, 408 where it does not arrive.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Also what keeps other sites' forms out: a browser sends JSON to a foreign server only after asking it.
        raise ApiError(415, f"the content type is {kind[:60]!r}; send application/json")
    too_large = ApiError(413, f"the body is larger than {limit} bytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {BODY_SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise ApiError(400, "the client disconnected before its body was complete") from None
    return bytes(body)


async def until_disconnect(receive: Receive) -> None:
    """Return when the client has left. The request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True)
class EventStream:
    """A response of server-sent events. It ends when the client leaves, or takes nothing for SEND_SECONDS; `cancel` is
    called at its end, however it came."""

    events: AsyncIterator[bytes]
    cancel: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tasks = [asyncio.create_task(self._write(send)), asyncio.create_task(until_disconnect(receive))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with suppress(OSError, TimeoutError):
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            self.cancel()

    async def _write(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for event in self.events:
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
