"""One request to an endpoint over HTTP: within its time whatever happens, and with a key that nobody gets to see.

It stands on http.client: one POST of JSON needs no more, no redirect is followed with the key in hand, and a connection
can be cut off from outside.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
import threading
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from tutelage.progress import duration

LARGEST_REPLY = 64 << 20  # bytes
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = 16  # characters; a shorter key ("none", for a server on this machine) may well be a word of an answer
_SHOWN = 300  # characters of what an endpoint says
_CALLS = ("/chat/completions", "/completions")


class Reply(NamedTuple):
    """What an endpoint sent; names of headers in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class BrokenError(Exception):
    """No whole reply came. `reason` is a few words that can be counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Wire:
    """Sends requests to one endpoint, from any number of threads.

    url:          what stands before /chat/completions.
    key_variable: the environment variable that holds the API key.
    seconds:      for one request, from connecting to the last byte.

    Raises:
        ValueError: the address is none; or there is no key, or it would travel unprotected.
    """

    def __init__(self, url: str, key_variable: str | None, seconds: float) -> None:
        self._address = _split(url)
        self.url = self._address.geturl()
        self._key = "" if key_variable is None else _read_key(key_variable)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        if self._key and self._address.scheme == "http" and not _is_here(self._address.hostname or ""):
            raise ValueError(f"url: the API key would travel to {self._address.hostname} for all to read; use https")

    def post(self, path: str, body: bytes) -> Reply:
        """The reply to JSON that is sent to a path below the address; BrokenError where none came, or not in time."""
        connection, target, headers = self._connection()
        headers |= {"Content-Type": "application/json", "Connection": "close", "User-Agent": "tutelage"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        late = threading.Event()
        opened: list[socket.socket] = []

        def cut_off() -> None:
            late.set()
            for one in opened:
                _cut(one)

        clock = threading.Timer(self._seconds, cut_off)
        clock.daemon = True
        clock.start()
        try:
            connection.connect()
            opened.append(connection.sock)  # kept: the connection lets go of it before all is read
            with self._lock:
                self._open.update(opened)
            connection.request("POST", f"{target}{path}", body, headers)
            reply = connection.getresponse()
            content = reply.read(LARGEST_REPLY + 1)
            if len(content) > LARGEST_REPLY:
                raise BrokenError("reply too large", f"more than {LARGEST_REPLY:,} bytes")
            if late.is_set() or reply.length:
                raise ConnectionError("the reply ends early")
        except (OSError, HTTPException) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise BrokenError("no reply in time", f"none within {duration(self._seconds)}") from None
            raise BrokenError("broken connection", self.hidden(str(error) or type(error).__name__)) from None
        finally:
            clock.cancel()
            connection.close()
            with self._lock:
                self._open.difference_update(opened)
        if len(self._key) >= _SECRET:
            content = content.replace(self._key.encode(), b"[key]")
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, content)

    def cut(self) -> None:
        """Ends all requests that are under way, as if their connections had broken."""
        with self._lock:
            for one in self._open:
                _cut(one)

    def hidden(self, text: str) -> str:
        """A text as it may be shown: without the key, in one line, and cut where it is long."""
        plain = " ".join((text.replace(self._key, "[key]") if self._key else text).split())
        return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 3]}..."

    def _connection(self) -> tuple[HTTPConnection, str, dict[str, str]]:
        """A connection that is not open yet, what stands before the path of a request, and headers; by the proxy that
        the environment names, if it does."""
        scheme, host, port = self._address.scheme, self._address.hostname or "", self._address.port
        make = HTTPSConnection if scheme == "https" else HTTPConnection
        named = None if _is_here(host) or urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
        if not named:
            return make(host, port, timeout=self._seconds), self._address.path, {}
        proxy = urlsplit(named if "://" in named else f"http://{named}")
        connection = make(proxy.hostname or "", proxy.port, timeout=self._seconds)
        headers = {}
        if proxy.username:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        if scheme == "https":  # what follows is then for the endpoint alone to read
            connection.set_tunnel(host, port, headers)
            return connection, self._address.path, {}
        return connection, self.url, headers


def _split(url: str) -> SplitResult:
    """The parts of an address; ValueError where no key and no request may go there."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url is no address ({error}); write it as http://localhost:8000/v1") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("url may hold no user, password or '?...': it is shown; name the key's variable instead")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(f"url is {url}; write it as http://localhost:8000/v1 or https://...")
    path = parts.path.rstrip("/")
    for call in _CALLS:
        path = path.removesuffix(call)
    return parts._replace(path=path, scheme=parts.scheme.lower(), netloc=parts.netloc.lower())


def _read_key(variable: str) -> str:
    # What is given may be the key itself, by mistake: it is never repeated.
    key = os.environ.get(variable, "").strip() if _NAME.fullmatch(variable) else ""
    if not key:
        raise ValueError(
            "key_variable names no environment variable that holds a key; put the key into one (export NAME=...), and "
            "give its name, never the key itself"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("the API key in the environment variable has characters that no key has; copy it once more")
    return key


def _is_here(host: str) -> bool:
    """Whether a host is this machine, by its name alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _cut(one: socket.socket) -> None:
    with suppress(OSError):  # it may have ended by itself
        socket.socket.shutdown(one, socket.SHUT_RDWR)  # that of TLS would first want the other side to agree
