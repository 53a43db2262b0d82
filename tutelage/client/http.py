"""HTTP requests to one endpoint, with a hard time limit and an API key that is never shown.

Built on http.client: one POST of JSON needs no more, no redirect is followed with the key, and a connection can be
cancelled from another thread.
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

MAX_REPLY = 64 << 20  # bytes
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MIN_SECRET = 16  # characters; a shorter key ("none", for a local server) may occur in an answer by chance
_MAX_SHOWN = 300  # characters of an endpoint's message
_ROUTES = ("/chat/completions", "/completions")


class Reply(NamedTuple):
    """A reply of the endpoint; header names are in lower case."""

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
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        if self._key and self._address.scheme == "http" and not _is_local(self._address.hostname or ""):
            raise ValueError(f"url: the API key would be sent to {self._address.hostname} unencrypted; use https")

    def post(self, path: str, body: bytes) -> Reply:
        """The reply to a POST of JSON to a path below the address; HttpError where none arrives in time."""
        connection, target, headers = self._connection()
        headers |= {"Content-Type": "application/json", "Connection": "close", "User-Agent": "tutelage"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        timed_out = threading.Event()
        sockets: list[socket.socket] = []

        def time_out() -> None:
            timed_out.set()
            for opened in sockets:
                _shut_down(opened)

        timer = threading.Timer(self._timeout, time_out)
        timer.daemon = True
        timer.start()
        try:
            connection.connect()
            sockets.append(connection.sock)  # kept: the connection drops it before all is read
            with self._lock:
                self._open.update(sockets)
            connection.request("POST", f"{target}{path}", body, headers)
            reply = connection.getresponse()
            content = reply.read(MAX_REPLY + 1)
            if len(content) > MAX_REPLY:
                raise HttpError("reply too large", f"more than {MAX_REPLY:,} bytes")
            if timed_out.is_set() or reply.length:
                raise ConnectionError("incomplete reply")
        except (OSError, HTTPException) as error:
            if timed_out.is_set() or isinstance(error, TimeoutError):
                raise HttpError("timeout", f"no reply within {duration(self._timeout)}") from None
            raise HttpError("broken connection", self.redacted(str(error) or type(error).__name__)) from None
        finally:
            timer.cancel()
            connection.close()
            with self._lock:
                self._open.difference_update(sockets)
        if len(self._key) >= _MIN_SECRET:
            content = content.replace(self._key.encode(), b"[key]")
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, content)

    def cancel(self) -> None:
        """End all requests in flight, as if their connections had broken."""
        with self._lock:
            for opened in self._open:
                _shut_down(opened)

    def redacted(self, text: str) -> str:
        """A text that is safe to show: without the key, on one line, shortened where it is long."""
        plain = " ".join((text.replace(self._key, "[key]") if self._key else text).split())
        return plain if len(plain) <= _MAX_SHOWN else f"{plain[: _MAX_SHOWN - 3]}..."

    def _connection(self) -> tuple[HTTPConnection, str, dict[str, str]]:
        """A connection that is not open yet, the prefix of a request's path, and headers; through the proxy of the
        environment, if there is one."""
        scheme, host, port = self._address.scheme, self._address.hostname or "", self._address.port
        connect = HTTPSConnection if scheme == "https" else HTTPConnection
        proxy_url = (
            None if _is_local(host) or urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
        )
        if not proxy_url:
            return connect(host, port, timeout=self._timeout), self._address.path, {}
        proxy = urlsplit(proxy_url if "://" in proxy_url else f"http://{proxy_url}")
        connection = connect(proxy.hostname or "", proxy.port, timeout=self._timeout)
        headers = {}
        if proxy.username:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        if scheme == "https":  # the proxy cannot read what is sent through the tunnel
            connection.set_tunnel(host, port, headers)
            return connection, self._address.path, {}
        return connection, self.url, headers


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


def _shut_down(opened: socket.socket) -> None:
    with suppress(OSError):  # it may be closed already
        # Not the shutdown of the TLS socket, which would wait for the other side.
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
