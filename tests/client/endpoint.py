"""A small OpenAI-compatible endpoint in a thread, started by `test_*.py`. It judges texts by a rule, and can fail in
every way in which real ones do."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD_WORDS = frozenset("planet energy number history cell river theorem light grammar atom".split())


def rule_score(text: str) -> int:
    """From 0 to 5: how many different good words a text holds."""
    return min(5, len(GOOD_WORDS & set(text.lower().replace(".", " ").split())))


def judged(body: dict[str, Any]) -> str:
    """The judge's answer: a reason, and the score of the text between the document tags."""
    prompt = body["messages"][-1]["content"]
    document = prompt.split("<document>\n", 1)[1].split("\n</document>", 1)[0]
    return f"It holds words I like.\nScore: {rule_score(document)}"


class Endpoint:
    """`answer` writes the text for the body of a request. `faults` are used one for each request, from the first on:
    a status, "drop", "hang", "drip", "half", "garbage", "no choices", "cut off", "echo", or headers for a 429.

    seen: bodies, in order; headers: those of each; in_flight and max_in_flight: concurrent requests.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], str] = judged, delay: float = 0.0) -> None:
        self.answer, self.delay = answer, delay
        self.faults: list[Any] = []
        self.always: Any = None
        self.usage = True
        self.seen: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.in_flight = self.max_in_flight = 0
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Endpoint:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def asked(self) -> Counter[str]:
        """How often each prompt came."""
        return Counter(body["messages"][-1]["content"] for body in self.seen)


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # the client has gone

        def do_CONNECT(self) -> None:
            with endpoint.lock:
                endpoint.paths.append(self.path)
                endpoint.headers.append(dict(self.headers.items()))
            self.send_error(403)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with endpoint.lock:
                endpoint.seen.append(body)
                endpoint.paths.append(self.path)
                endpoint.headers.append(dict(self.headers.items()))
                endpoint.times.append(time.monotonic())
                endpoint.in_flight += 1
                endpoint.max_in_flight = max(endpoint.max_in_flight, endpoint.in_flight)
                fault = endpoint.faults.pop(0) if endpoint.faults else endpoint.always
            try:
                time.sleep(endpoint.delay)
                self._reply(body, fault)
            finally:
                with endpoint.lock:
                    endpoint.in_flight -= 1

        def _reply(self, body: dict[str, Any], fault: Any) -> None:
            if fault == "drop":
                # So that the other side gets a reset and not an end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif fault == "hang":
                endpoint.released.wait(30)
            elif fault == "drip":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not endpoint.released.wait(0.05):
                    self.wfile.write(b".")
            elif isinstance(fault, dict):
                self._send(fault.get("status", 429), {"error": {"message": "slow down"}}, fault)
            elif isinstance(fault, int):
                self._send(fault, {"error": {"message": f"trouble {fault}"}})
            elif fault == "echo":
                echoed = f"wrong key {self.headers['Authorization']}"
                self._send(400, {"error": {"message": echoed}})
            elif fault == "garbage":
                self._send(200, b'{"choices": [')
            elif fault == "no choices":
                self._send(200, {"choices": []})
            elif fault == "half":
                self._send(200, self._answer(body, "stop"), cut=True)
            else:
                self._send(200, self._answer(body, "length" if fault == "cut off" else "stop"))

        def _answer(self, body: dict[str, Any], finish: str) -> dict[str, Any]:
            text = endpoint.answer(body)
            written = {"text": text, "logprobs": {"tokens": [text]}} if "prompt" in body else {}
            choice = written or {"message": {"role": "assistant", "content": text}}
            reply: dict[str, Any] = {"id": "x", "choices": [{"index": 0, "finish_reason": finish, **choice}]}
            if endpoint.usage:
                reply["usage"] = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
            return reply

        def _send(self, status: int, value: Any, headers: dict[str, Any] | None = None, cut: bool = False) -> None:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for name, header in (headers or {}).items():
                if name != "status":
                    self.send_header(name, str(header))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)

    return Handler
