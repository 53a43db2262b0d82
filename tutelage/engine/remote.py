"""The engine's interface over any OpenAI-compatible endpoint: vLLM, llama.cpp, Tutelage's own server, a service.

Prompts are sent as ids. A server that offers the ids of its answers (`return_token_ids`) is asked for them; from others
the text is encoded again, which may cut it otherwise than the model did, and `exact` says so.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tutelage.client import Answer, Client, Failure
from tutelage.engine.engine import check_prompt
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.tokenizer import Tokenizer

# What differs from these is sent; a service that does not know a field would refuse it.
_DEFAULTS = SamplingSettings()
_OPTIONAL = ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")


@dataclass(eq=False)
class RemoteRequest:
    """One prompt for an endpoint. `exact`: the generation's tokens are the ids that the model wrote."""

    prompt: list[int]
    settings: SamplingSettings
    stop_ids: frozenset[int]
    question: dict[str, Any]
    generation: Generation
    state: Literal["waiting", "finished"] = "waiting"
    exact: bool = False


class RemoteEngine:
    """Runs requests at an endpoint, as many at once as its settings allow.

    context: of the model there; longer prompts are refused here, as the engine does.
    """

    def __init__(self, client: Client, tokenizer: Tokenizer, context: int) -> None:
        self.client, self.tokenizer, self.context = client, tokenizer, context
        self.waiting: list[RemoteRequest] = []

    def add(
        self,
        prompt: Sequence[int] | np.ndarray,
        stop_ids: frozenset[int],
        settings: SamplingSettings,
        prompt_id: int = 0,
        sample: int = 0,
        position: int = 0,
    ) -> RemoteRequest:
        """Queue a prompt. Its seed there is a function of (seed, prompt_id, sample, position); `position` is how many
        tokens of the sample were written before, by other requests, and end the prompt.

        Raises:
            ValueError: the prompt is empty, or leaves no room in the context.
        """
        ids = [int(token) for token in prompt]
        check_prompt(ids, self.context, "the prompt")
        key = f"{settings.seed} {prompt_id} {sample}" + (f" {position}" if position else "")
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") >> 1
        changed = {name: getattr(settings, name) for name in _OPTIONAL}
        question = {
            "prompt": ids,
            "max_tokens": min(settings.max_tokens, self.context - len(ids)),
            "temperature": settings.temperature,
            "seed": seed,
            "logprobs": 1,
            "return_token_ids": True,
            **({"stop_token_ids": sorted(stop_ids)} if stop_ids else {}),
            **{name: value for name, value in changed.items() if value != getattr(_DEFAULTS, name)},
        }
        generation = Generation(weights=f"remote {self.client.settings.model}")
        request = RemoteRequest(ids, settings, stop_ids, question, generation)
        self.waiting.append(request)
        return request

    def cancel(self, request: RemoteRequest) -> None:
        """End a request that is not sent yet; one that was sent is waited for."""
        if request.state == "waiting":
            self.waiting.remove(request)
            request.state, request.generation.finish_reason = "finished", "cancelled"

    def run(self, progress: Callable[[list[RemoteRequest]], None] = lambda requests: None) -> None:
        """Send everything, and wait until nothing is left; `progress` gets each request that ended.

        Raises:
            EndpointError: the endpoint cannot be used.
            ValueError: it refused a request, or its answer contradicts itself; the others have their answers.
        """
        asked, self.waiting = self.waiting, []
        problems = []
        for request, answer in self.client.ask_all([(request, request.question) for request in asked]):
            if isinstance(answer, Failure):
                problems.append(f"{answer.reason}: {answer.detail}")
            elif problem := self._read(request, answer):
                problems.append(problem)
            else:
                request.state = "finished"
                progress([request])
        if problems:
            raise ValueError(f"{self.client.settings.url}: {problems[0]}")

    def _read(self, request: RemoteRequest, answer: Answer) -> str | None:
        """Fill a generation from the first choice of an answer; returns what is wrong with it, if anything."""
        generation, settings, raw = request.generation, request.settings, answer.choices[0].raw
        generation.weights = answer.system_fingerprint or generation.weights
        ids = _answer_ids(raw)
        if ids is not None and answer.completion_tokens not in (None, len(ids)):
            return f"it sent {len(ids)} ids and counts {answer.completion_tokens} tokens"
        request.exact = ids is not None
        tokens = self.tokenizer.encode(raw.get("text") or "").tolist() if ids is None else ids
        stop = next((place for place, token in enumerate(tokens) if token in request.stop_ids), None)
        if stop is not None:  # a server that does not know the stop ids writes on
            generation.stop_token = tokens[stop]
            tokens = tokens[: stop + 1]
        generation.tokens = tokens
        logprobs = (raw.get("logprobs") or {}).get("token_logprobs")
        if request.exact and logprobs is not None:
            if len(logprobs) < len(tokens):
                return f"it sent {len(tokens)} ids and {len(logprobs)} log-probabilities"
            generation.logprobs = [float(value) for value in logprobs[: len(tokens)]]
            generation.sample_logprobs = _sample_logprobs(generation.logprobs, settings)
        full = len(request.prompt) + len(tokens) >= self.context
        ended = stop is not None or raw.get("finish_reason") == "stop"
        generation.finish_reason = "stop" if ended else "context" if full else "length"
        return None


def generate_remote(
    engine: RemoteEngine, prompts: Sequence[np.ndarray], stop_ids: frozenset[int], settings: SamplingSettings
) -> list[Generation]:
    """`engine.generate` at an endpoint: continue every prompt; results are in the prompts' order."""
    requests = [engine.add(prompt, stop_ids, settings, prompt_id=number) for number, prompt in enumerate(prompts)]
    engine.run()
    return [request.generation for request in requests]


def _answer_ids(raw: Mapping[str, Any]) -> list[int] | None:
    """The ids of an answer, where the server gives them: as such, or as its names of tokens."""
    if isinstance(raw.get("token_ids"), list):
        return [int(token) for token in raw["token_ids"]]
    names = (raw.get("logprobs") or {}).get("tokens") or []
    if names and all(str(name).startswith("token_id:") for name in names):
        return [int(name.removeprefix("token_id:")) for name in names]
    return None


def _sample_logprobs(logprobs: list[float], settings: SamplingSettings) -> list[float]:
    """Under the distribution that was drawn from, where it is known: endpoints send those at temperature 1, without
    truncation and penalties. NaN elsewhere, so that no ratio is computed from them by mistake."""
    if settings.temperature == 0:
        return [0.0] * len(logprobs)
    plain = settings.temperature == 1 and settings.distribution[1:] == _DEFAULTS.distribution[1:]
    return list(logprobs) if plain else [math.nan] * len(logprobs)
