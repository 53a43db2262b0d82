"""A server over tiny random models, for the tests of serving: it listens on a free port of this machine."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import torch
import uvicorn

from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.engine.engine import EngineSettings
from tutelage.model.hub import Checkpoint
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.serve.app import build_app
from tutelage.serve.protocol import ImpatientProtocol
from tutelage.serve.served_model import ServedModel
from tutelage.serve.server import ServeSettings, allowed_hosts, listen, serve_model, weights_folder
from tutelage.serve.tools import ServerTools
from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings, train
from tutelage.tools.tool import Tool

TEXTS = ['Where was Nora born? {"name": "Bo", "age": 3}', "Good day, you are well. 0123456789"] * 8
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Good day"}]}


def tiny_checkpoint(seed: int = 0, context: int = 512, chats: bool = True) -> Checkpoint:
    """A random model; its weights are large, so that the next token depends on those before it."""
    tokenizer = train(TEXTS, TokenizerSettings(vocab=300), (END_OF_TEXT,))
    tokenizer = tokenizer.extend(TEMPLATE_TOKENS) if chats else tokenizer
    shape = ModelSettings(depth=2, width=32, heads=4, context=context)
    model = initialise(Transformer(resolve(shape, tokenizer.vocab_size)), seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return Checkpoint(model, tokenizer)


@dataclass(frozen=True)
class Served:
    """A running server: its address, and the models that it serves."""

    url: str
    port: int
    models: Mapping[str, ServedModel]

    @property
    def model(self) -> ServedModel:
        """The first model."""
        return next(iter(self.models.values()))

    def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        """A POST of JSON."""
        return httpx2.post(f"{self.url}{path}", json=body, headers=headers, timeout=60, trust_env=False)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """A GET."""
        return httpx2.get(f"{self.url}{path}", headers=headers, timeout=60, trust_env=False)

    def stream(self, path: str, body: Any) -> list[Any]:
        """The events of a streamed answer, decoded; the last is the text "[DONE]" where it ended well."""
        events: list[Any] = []
        body = {**body, "stream": True}
        with httpx2.stream("POST", f"{self.url}{path}", json=body, timeout=60, trust_env=False) as response:
            assert response.status_code == 200, response.read()
            for block in "".join(response.iter_text()).split("\n\n"):
                if block.startswith("data: "):
                    text = block.removeprefix("data: ")
                    events.append(text if text == "[DONE]" else json.loads(text))
        return events

    def settle(self) -> None:
        """Wait until the engine has nothing left, then check that every page is accounted for."""
        for model in self.models.values():
            engine = model.worker.engine
            deadline = time.monotonic() + 60
            while model.worker.choices or engine.scheduler.running or engine.scheduler.waiting:
                assert time.monotonic() < deadline, "the engine never came to rest"
                time.sleep(0.01)
            model.worker.call(lambda engine: engine.check()).result(60)
            assert engine.pool.available == engine.pool.total


@contextmanager
def serving(
    checkpoints: Mapping[str, Checkpoint] | None = None, settings: ServeSettings | None = None
) -> Iterator[Served]:
    """Serve models, by default one tiny model, until the block ends."""
    settings = settings or ServeSettings(engine=EngineSettings(max_rows=4, chunk_tokens=64, min_prefix=16))
    checkpoints = checkpoints or {"tiny": tiny_checkpoint()}
    models = {name: serve_model(name, checkpoint, settings) for name, checkpoint in checkpoints.items()}
    with run_server(models, settings) as served:
        yield served


@contextmanager
def run_server(
    models: Mapping[str, ServedModel], settings: ServeSettings, tools: Sequence[Tool] = ()
) -> Iterator[Served]:
    """Serve models that are ready until the block ends, then end their threads."""
    app = build_app(
        models,
        allowed_hosts(settings),
        settings.api_key,
        settings.max_body,
        ServerTools(tools),
        weights_folder(settings),
    )
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", http=ImpatientProtocol)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Served(f"http://127.0.0.1:{port}", port, models)
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(30)
        for model in models.values():
            model.close()
