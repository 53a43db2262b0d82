"""Requests of the OpenAI API: read from JSON, checked, and turned into the settings of the engine.

A field that this server does not have and that would change the answer is refused by name. Other unknown fields are
ignored. A field that is null counts as absent.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from tutelage.engine.sampling import SamplingSettings
from tutelage.serve.errors import ApiError

MAX_CHOICES, MAX_STOPS, MAX_STOP_LENGTH, MAX_TOP_LOGPROBS, MAX_BIASES = 16, 16, 1000, 20, 1024
# Fields that would change the answer if they were ignored, with the values that ask for nothing.
UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none",),
    "parallel_tool_calls": (True,),
    "web_search_options": (),
    "reasoning_effort": (),
    "verbosity": (),
    "best_of": (1,),
    "suffix": ("",),
    "prefix": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "min_tokens": (0,),
}
_AT = re.compile(r"(.*?) - at `\$\.?(.*?)`(?: of `.*`)?", re.DOTALL)
T = TypeVar("T", bound="SamplingRequest")


class StreamOptions(msgspec.Struct):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class SamplingRequest(msgspec.Struct, kw_only=True):
    """What chats and completions share. `top_k`, `min_p`, `repetition_penalty` and `ignore_eos` are not OpenAI's; the
    names are those of vLLM."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    ignore_eos: bool | None = None
    seed: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class ChatRequest(SamplingRequest, kw_only=True):
    """The body of /v1/chat/completions. `chat_template_kwargs` are variables of the model's chat template."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class CompletionRequest(SamplingRequest, kw_only=True):
    """The body of /v1/completions; a prompt is a text or the ids of its tokens, and there may be several.
    `return_token_ids` asks for the ids of the answer, and `stop_token_ids` are further ids that end it, as in vLLM."""

    prompt: str | list[str | int | list[int]]
    echo: bool | None = None
    logprobs: int | None = None
    return_token_ids: bool | None = None
    stop_token_ids: list[int] | None = None


def read_request(body: bytes, kind: type[T]) -> T:
    """A request from the body of an HTTP request.

    Raises:
        ApiError: 400; `param` names the field.
    """
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(raw, dict):
        raise ApiError(400, "the body is not a JSON object", code="invalid_json")
    for name, neutral in UNSUPPORTED.items():
        if raw.get(name) is not None and raw[name] not in neutral:
            raise ApiError(400, f"'{name}' is not supported; leave it out", name, "unsupported_parameter")
    try:
        request = msgspec.convert(raw, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        message = str(error)
        found = _AT.fullmatch(message)
        missing = re.search(r"missing required field `(\w+)`", message)
        field = missing[1] if missing else found[2] if found else None
        raise ApiError(400, found[1] if found else message, field, "missing_field" if missing else "") from None
    check_request(request)
    return request


def check_request(request: SamplingRequest) -> None:
    """ApiError 400 where a field has a value that cannot be used."""
    n, stops = request.n, stop_strings(request)
    if n is not None and not 1 <= n <= MAX_CHOICES:
        raise ApiError(400, f"n is {n}; it must lie between 1 and {MAX_CHOICES}", "n")
    if len(stops) > MAX_STOPS or not all(0 < len(stop) <= MAX_STOP_LENGTH for stop in stops):
        limits = f"{MAX_STOPS} texts of 1 to {MAX_STOP_LENGTH} characters"
        raise ApiError(400, f"stop must be at most {limits}", "stop")
    for name, low, high in (("temperature", 0, 100), ("presence_penalty", -2, 2), ("frequency_penalty", -2, 2)):
        value = getattr(request, name)
        if value is not None and not low <= value <= high:
            raise ApiError(400, f"{name} is {value}; it must lie between {low} and {high}", name)
    for name in ("max_tokens", "max_completion_tokens"):
        value = getattr(request, name, None)
        # lm-eval scores prompts with max_tokens=1; 0 asks for the prompt's own log-probabilities alone.
        least = 0 if isinstance(request, CompletionRequest) and request.echo else 1
        if value is not None and not least <= value < 2**31:
            raise ApiError(400, f"{name} is {value}; it must be at least {least}", name)
    top = request.logprobs if isinstance(request, CompletionRequest) else getattr(request, "top_logprobs", None)
    name = "logprobs" if isinstance(request, CompletionRequest) else "top_logprobs"
    if top is not None and not 0 <= top <= MAX_TOP_LOGPROBS:
        raise ApiError(400, f"{name} is {top}; it must lie between 0 and {MAX_TOP_LOGPROBS}", name)
    if isinstance(request, ChatRequest) and request.top_logprobs is not None and not request.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", "top_logprobs")
    if request.stream_options is not None and not request.stream:
        raise ApiError(400, "stream_options needs stream: true", "stream_options")


def stop_strings(request: SamplingRequest) -> tuple[str, ...]:
    """The stop strings of a request."""
    return (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())


def sampling_settings(request: SamplingRequest, max_tokens: int) -> SamplingSettings:
    """The engine's settings for a request. Without a seed a random one is drawn; without a temperature it is 1.

    Raises:
        ApiError: 400, where the engine refuses a value.
    """
    seed = secrets.randbits(63) if request.seed is None else request.seed % 2**63
    given = {
        name: value
        for name in ("top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
        if (value := getattr(request, name)) is not None
    }
    top_k = request.top_k if request.top_k is not None and request.top_k > 0 else None  # -1 and 0 mean all in vLLM
    temperature = 1.0 if request.temperature is None else request.temperature
    try:
        return SamplingSettings(temperature=temperature, top_k=top_k, max_tokens=max_tokens, seed=seed, **given)
    except ValueError as error:
        raise ApiError(400, str(error), str(error).partition(" ")[0]) from None


def logit_bias(request: SamplingRequest, vocabulary: int) -> dict[int, float]:
    """The bias of each token; ApiError 400 where a token does not exist."""
    biases = {}
    for name, value in (request.logit_bias or {}).items():
        if not (name.isascii() and name.isdecimal() and len(name) < 10 and int(name) < vocabulary):
            raise ApiError(400, f"{name[:40]!r} is not a token id below {vocabulary}", "logit_bias")
        if not -100 <= value <= 100:
            raise ApiError(400, f"the bias of token {name} is {value}; it must lie between -100 and 100", "logit_bias")
        biases[int(name)] = value
    if len(biases) > MAX_BIASES:
        raise ApiError(400, f"logit_bias has {len(biases)} tokens; at most {MAX_BIASES}", "logit_bias")
    return biases
