"""A local model on the engine as a teacher."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tutelage.chat import make_renderer
from tutelage.client import Answer, Choice, EndpointError, Failure, question_key
from tutelage.client.responses import ResponseCache
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.scheduler import pages_for
from tutelage.engine.text_stream import TextStream
from tutelage.model.hub import find_checkpoint, folder_fingerprint, load_model
from tutelage.records import Conversation, message
from tutelage.synth.teacher import LocalTeacher, Result

# Fields of a request, and what they set here. Log-probabilities are not given; who asks for them reads the text.
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "max_tokens": "max_tokens",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
}
_USUAL_TOKENS = 1024  # of a question and its answer


def cache_pages(parallel: int, context: int) -> int:
    """Pages of the key-value cache: room for questions of the usual length, and for one that fills the context. The
    engine keeps what it has read until they are full, so more would only be memory: 6 GiB for SmolLM2-135M."""
    return max(pages_for(context + 1), parallel * pages_for(min(context + 1, _USUAL_TOKENS)))


class LocalModel:
    """A model on the engine, in a thread of its own. Answers are cached in a file, if one is given; each depends on its
    question and sample number only, never on what else runs.

    Raises:
        ValueError: the model cannot be loaded.
    """

    def __init__(self, settings: LocalTeacher, cache: Path | None) -> None:
        folder = find_checkpoint(settings.path)
        checkpoint = load_model(folder)
        self.model = f"{folder.name}@{folder_fingerprint(folder)[:8]}"
        self.parallel = settings.parallel
        self._renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
        pages = cache_pages(settings.parallel, checkpoint.model.config.context)
        self._engine = Engine(checkpoint.model, EngineSettings(max_rows=settings.parallel, pages=pages))
        self._cache = None if cache is None else ResponseCache(cache)
        self._queue = queue.SimpleQueue[Any]()
        self._counts = dict.fromkeys(("requests", "answers", "cached", "prompt_tokens", "completion_tokens"), 0)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, body: Mapping[str, Any], sample: int, purpose: str, about: Any) -> Future[Result]:
        """As `Teacher.submit`; the future raises ValueError where the model cannot do what is asked."""
        future: Future[Result] = Future()
        key = question_key({"model": self.model, **body}, sample)
        if self._cache is not None and (cached := self._cache.get(key)):
            self._counts["cached"] += 1
            future.set_result(cached)
        else:
            self._queue.put((key, body, sample, future))
        return future

    def _run(self) -> None:
        running: dict[int, tuple[Any, ...]] = {}
        try:
            while self._take_jobs(running):
                for request in self._engine.step():
                    if request.state == "finished":
                        key, prompt_tokens, request, stream, future = running.pop(request.number)
                        answer = self._answer(prompt_tokens, request, stream)
                        if self._cache is not None:
                            self._cache.put(key, answer)
                        future.set_result(answer)
        except Exception as error:  # else the thread would end, and its questions wait for ever
            for *_, future in running.values():
                future.set_exception(error)
            while (job := self._queue.get()) is not None:
                job[-1].set_exception(error)

    def _take_jobs(self, running: dict[int, tuple[Any, ...]]) -> bool:
        """Queue what was submitted; wait where nothing runs. Returns False at the end."""
        if self._stopped:
            for _, _, request, _, future in running.values():
                self._engine.cancel(request)
                future.set_exception(EndpointError("stop requested"))
            running.clear()
        while not running or not self._queue.empty():
            job = self._queue.get()
            if job is None:
                return False
            self._add(running, *job)
        return True

    def _add(self, running: dict[int, Any], key: str, body: Any, sample: int, future: Future[Result]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            if self._stopped:
                raise EndpointError("stop requested")
            given = {name: body[field] for field, name in _SAMPLING.items() if body.get(field) is not None}
            if unknown := body.keys() - _SAMPLING.keys() - {"messages", "stop", "logprobs", "top_logprobs"}:
                raise ValueError(f"a local model has no sampling field '{min(unknown)}'; leave it out")
            turns = tuple(message(turn["role"], turn["content"]) for turn in body["messages"])
            [prompt] = self._renderer.render_prompts([Conversation(turns, "a question")])
            stops = body.get("stop") or ()
            stream = TextStream(
                self._renderer.tokenizer, (stops,) if isinstance(stops, str) else tuple(stops), markers={}
            )
            number = int(key[:8], 16)
            request = self._engine.add(
                prompt.ids, self._renderer.stop_ids, SamplingSettings(**given), number, sample, stream
            )
        except ValueError as error:
            if isinstance(error, EndpointError):
                future.set_exception(error)
            else:  # one prompt that is too long must not end the others
                future.set_result(Failure("refused by the model", str(error)))
            return
        self._counts["requests"] += 1
        running[request.number] = (key, len(prompt.ids), request, stream, future)

    def _answer(self, prompt_tokens: int, request: Any, stream: Any) -> Answer:
        generation = request.generation
        finish = "stop" if generation.finish_reason == "stop" else "length"
        raw = {"message": {"role": "assistant", "content": stream.text()}, "finish_reason": finish}
        self._counts["answers"] += 1
        self._counts["prompt_tokens"] += prompt_tokens
        self._counts["completion_tokens"] += len(generation.tokens)
        return Answer((Choice(raw),), prompt_tokens, len(generation.tokens))

    def stop(self) -> None:
        """As `Teacher.stop`."""
        self._stopped = True

    def close(self) -> None:
        """As `Teacher.close`."""
        self._stopped = True
        self._queue.put(None)
        self._thread.join()
        if self._cache is not None:
            self._cache.close()

    def usage(self) -> dict[str, int]:
        """As `Teacher.usage`."""
        return dict(self._counts)
