"""Runs the web application until it is told to stop: Ctrl-C or SIGTERM let running answers end."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from tutelage.chat import make_renderer
from tutelage.config import Settings
from tutelage.engine.adapters import request_adapter
from tutelage.engine.engine import Engine
from tutelage.engine.engine import EngineSettings as EngineSettings
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import can_chat
from tutelage.model.adapter import is_adapter, read_adapter
from tutelage.model.hub import Checkpoint, base_folder, find_module_names, load_chat_files
from tutelage.process import keep_freed_memory
from tutelage.serve.app import build_app
from tutelage.serve.errors import ApiError
from tutelage.serve.http import LOCAL_HOSTS
from tutelage.serve.metrics import Metrics
from tutelage.serve.protocol import ImpatientProtocol
from tutelage.serve.served_model import ServedModel
from tutelage.serve.speculate import make_engine
from tutelage.serve.tools import ServerTools
from tutelage.serve.worker import EngineWorker
from tutelage.tools.tool import Tool

API_KEY = "TUTELAGE_API_KEY"
CONNECTIONS = 1000
CLOSE_SECONDS = 5  # after the last answers were ended, for their last bytes to be sent


class ServeSettings(Settings, frozen=True, kw_only=True):
    """How a server is run.

    host, port:    where it listens; port 0 takes a free one.
    allow_hosts:   further names under which it may be asked; "*" allows all.
    api_key:       what clients must send; "" asks for none.
    max_queue:     most answers that wait for the engine; more get 429.
    max_queue_tokens: most prompt tokens that wait for the engine.
    max_body:      most bytes of a request.
    drain_seconds: how long running answers may go on after SIGTERM.
    engine:        rows, pages and chunks of the engine.
    weights_from:  the folder that POST /v1/weights may read new weights from; None: it is refused.
    speculate:     guess tokens: "ngram", or the name of a smaller model; None: do not.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    allow_hosts: tuple[str, ...] = ()
    api_key: str = ""
    max_queue: int = 64
    max_queue_tokens: int = 1 << 20
    max_body: int = 4 << 20
    drain_seconds: float = 30.0
    engine: EngineSettings = EngineSettings(max_rows=16, chunk_tokens=256)
    speculate: str | None = None
    weights_from: str | None = None


def serve_model(name: str, checkpoint: Checkpoint, settings: ServeSettings) -> ServedModel:
    """A model with its engine's thread running."""
    keep_freed_memory()
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config) if can_chat(checkpoint) else None
    metrics = Metrics()
    engine = make_engine(checkpoint, settings.engine, settings.speculate)
    warm_up(engine)
    worker = EngineWorker(engine, settings.max_queue, settings.max_queue_tokens, metrics)
    return ServedModel(name, checkpoint, renderer, worker, metrics)


def warm_up(engine: Engine) -> None:
    """Write two tokens: kernels are compiled and memory is there before the first request comes."""
    engine.add([0, 0], frozenset(), SamplingSettings(max_tokens=2))
    engine.run()


def serve_adapter(name: str, folder: Path, models: Mapping[Path, ServedModel]) -> ServedModel:
    """A LoRA adapter over one of the models, in whose engine its requests run. `models` are by the folder that each was
    loaded from: an adapter served as a model has its base's weights too, and changed.

    Raises:
        ValueError: the folder holds no adapter, its base is not among the models, or it trains more than LoRA pairs.
    """
    if not is_adapter(folder):
        raise ValueError(f"{folder} holds no LoRA adapter; serve it as a model")
    adapter = read_adapter(folder)
    source = base_folder(adapter).resolve()
    base = models.get(source)
    if base is None:
        raise ValueError(f"the adapter {folder} was trained on {source}, which is not served; add it to the models")
    pairs = request_adapter(base.checkpoint.model, find_module_names(base.checkpoint), adapter)
    tokenizer, chat_config = load_chat_files(folder)
    if tokenizer.backend.get_vocab() != base.checkpoint.tokenizer.backend.get_vocab():
        raise ValueError(f"the adapter {folder} has another tokenizer than its base; serve it as a model of its own")
    checkpoint = replace(base.checkpoint, tokenizer=tokenizer, chat_config=chat_config)
    renderer = make_renderer(tokenizer, chat_config) if can_chat(checkpoint) else None
    return ServedModel(name, checkpoint, renderer, base.worker, Metrics(), pairs)


def read_api_key(path: Path | None) -> str:
    """The API key: the content of a file, or of the environment variable; "" where neither is given.

    Raises:
        ValueError: it is empty, or no key that a header can carry.
    """
    if path is None and API_KEY not in os.environ:
        return ""
    where = str(path) if path else API_KEY
    key = (path.read_text(encoding="utf-8") if path else os.environ[API_KEY]).strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{where} holds no API key; a key is letters, digits and signs without blanks")
    return key


def check_network(settings: ServeSettings) -> None:
    """Raises ValueError where other machines can reach the server, and there is no key."""
    if not is_local(settings.host) and not settings.api_key:
        raise ValueError(f"--host {settings.host} can be reached from other machines; give --api-key-file or {API_KEY}")


def allowed_hosts(settings: ServeSettings) -> frozenset[str] | None:
    """The Host headers that are answered; None for all. A server that listens on all addresses is asked by names that
    it cannot know, so these must be allowed by name."""
    if "*" in settings.allow_hosts:
        return None
    own = [] if settings.host in ("0.0.0.0", "::") else [settings.host]
    return frozenset(name.lower() for name in (*LOCAL_HOSTS, *own, *settings.allow_hosts))


def weights_folder(settings: ServeSettings) -> Path | None:
    """The folder that new weights may be read from.

    Raises:
        ValueError: anybody could replace the weights, since there is no key.
    """
    if settings.weights_from is None:
        return None
    if not settings.api_key:
        raise ValueError(f"--weights-from needs a key: give --api-key-file or {API_KEY}")
    return Path(settings.weights_from)


def is_local(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """A server that calls `drain` at the first signal."""

    drain: Callable[[], None]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self.drain()
        super().handle_exit(sig, frame)


def run_app(app: ASGIApp, listener: socket.socket, drain: Callable[[], None], drain_seconds: float) -> None:
    """Answer requests until a signal comes, then until the last answer has ended, or `drain_seconds` have passed."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=int(drain_seconds) + CLOSE_SECONDS,
    )
    server = _Server(config)
    server.drain = drain
    # uvicorn raises its signals again once it has stopped; by then everything is done.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        asyncio.run(server.serve(sockets=[listener]))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ValueError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(CONNECTIONS)  # from here on clients wait instead of being refused
    except OSError as error:
        listener.close()
        raise ValueError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port") from None
    return listener


def serve(
    models: Mapping[str, ServedModel], settings: ServeSettings, listener: socket.socket, tools: Sequence[Tool] = ()
) -> None:
    """Serve models, and tools that they may call, until a signal comes; at the end their threads have ended."""
    app = build_app(
        models,
        allowed_hosts(settings),
        settings.api_key,
        settings.max_body,
        ServerTools(tools),
        weights_folder(settings),
    )
    timers: list[threading.Timer] = []

    def drain() -> None:
        for model in models.values():
            model.worker.drain()
        timer = threading.Timer(settings.drain_seconds, end_all)
        timer.daemon = True
        timer.start()
        timers.append(timer)

    def end_all() -> None:
        for model in models.values():
            model.worker.fail_all(ApiError(503, "the server is shutting down"))

    try:
        run_app(app, listener, drain, settings.drain_seconds)
    finally:
        for timer in timers:
            timer.cancel()
        for model in models.values():
            model.close()
