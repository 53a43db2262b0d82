"""HTTP requests to one endpoint, by httpx2, with a hard time limit and an API key that is never shown.

The requests of all threads run in one event loop, in a thread of its own: there a request can be cancelled whatever it
waits for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import httpx2

from tutelage.progress import duration

MAX_REPLY = 64 << 20  # bytes
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MIN_SECRET = 16  # characters; a shorter key ("none", for a local server) may occur in an answer by chance
_MAX_SHOWN = 300  # characters of an endpoint's message
_ROUTES = ("/chat/completions", "/completions")


class Reply(NamedTuple):
    """A reply of the endpoint; header names in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class HttpError(Exception):
    """No usable reply arrived. `reason` is a few words that can be counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class HttpSender:
    """Sends requests to one endpoint, from any number of threads.

    url:          the address without /chat/completions.
    key_variable: the environment variable that holds the API key.
    timeout:      seconds for one request, from connecting to the last byte.

    Raises:
        ValueError: the address is invalid; or there is no key, or it would be sent unencrypted.
    """

    def __init__(self, url: str, key_variable: str | None, timeout: float) -> None:
        self._address = _split(url)
        self.url = self._address.geturl()
        self._key = "" if key_variable is None else _read_key(key_variable)
        self._timeout = timeout
        local = _is_local(self._address.hostname or "")
        if self._key and self._address.scheme == "http" and not local:
            raise ValueError(f"url: the API key would be sent to {self._address.hostname} unencrypted; use https")
        # The client follows no redirect, so the key goes nowhere else. Proxies come from the environment.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx2.AsyncClient(trust_env=not local, timeout=None, limits=limits)
        self._requests: set[asyncio.Task[Reply]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def get(self, path: str) -> Reply:
        """The reply to a GET of a path below the address; HttpError where none arrives in time."""
        return self._send("GET", path, b"")

    def post(self, path: str, body: bytes) -> Reply:
        """The reply to a POST of JSON to a path below the address; HttpError where none arrives in time."""
        return self._send("POST", path, body)

    def _send(self, method: str, path: str, body: bytes) -> Reply:
        try:
            return asyncio.run_coroutine_threadsafe(self._tracked(method, path, body), self._loop).result()
        except TimeoutError:
            raise HttpError("timeout", f"no reply within {duration(self._timeout)}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, CancelledError) as error:
            raise HttpError("broken connection", self.redacted(str(error) or type(error).__name__)) from None

    async def _tracked(self, method: str, path: str, body: bytes) -> Reply:
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            return await self._request(method, path, body)
        finally:
            self._requests.discard(task)

    async def _request(self, method: str, path: str, body: bytes) -> Reply:
        headers = {"Content-Type": "application/json", "User-Agent": "tutelage", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        content = bytearray()
        async with (
            asyncio.timeout(self._timeout),
            self._client.stream(method, f"{self.url}{path}", content=body, headers=headers) as reply,
        ):
            async for chunk in reply.aiter_raw():
                content += chunk
                if len(content) > MAX_REPLY:
                    raise HttpError("reply too large", f"more than {MAX_REPLY:,} bytes")
        if len(self._key) >= _MIN_SECRET:
            content = content.replace(self._key.encode(), b"[key]")
        return Reply(reply.status_code, reply.headers, bytes(content))

    def cancel(self) -> None:
        """End all requests in flight, as if their connections had broken."""
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result()

    def close(self) -> None:
        """Cancel all requests, and end the event loop. No further request may be sent."""
        self.cancel()
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel(self) -> None:
        # Not the tasks that these started: one that is cancelled before its first step leaves a coroutine unawaited.
        tasks = list(self._requests)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def redacted(self, text: str) -> str:
        """A text that is safe to show: without the key, on one line, shortened where it is long."""
        plain = " ".join((text.replace(self._key, "[key]") if self._key else text).split())
        return plain if len(plain) <= _MAX_SHOWN else f"{plain[: _MAX_SHOWN - 3]}..."


def _split(url: str) -> SplitResult:
    """The parts of an address; ValueError where it is invalid or contains a secret."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url is not an address ({error}); write it as http://localhost:8000/v1") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("url must not contain a user, password or '?...': it is shown; use key_variable for the key")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(f"url is {url}; write it as http://localhost:8000/v1 or https://...")
    path = parts.path.rstrip("/")
    for route in _ROUTES:
        path = path.removesuffix(route)
    return parts._replace(path=path, scheme=parts.scheme.lower(), netloc=parts.netloc.lower())


def _read_key(variable: str) -> str:
    # The value may be the key itself, by mistake, so it is never shown.
    key = os.environ.get(variable, "").strip() if _NAME.fullmatch(variable) else ""
    if not key:
        raise ValueError(
            "key_variable is not the name of an environment variable with a key; export NAME=..., and give the name, "
            "never the key itself"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("the API key in the environment variable has invalid characters; copy it again")
    return key


def _is_local(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
