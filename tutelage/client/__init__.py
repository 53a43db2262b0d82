"""A client for OpenAI-compatible endpoints: judges, teachers, remote rollouts.

A question is the body of a request without its model: {"messages": [...], "temperature": 0} for chat completions,
{"prompt": "...", "logprobs": 1} for plain ones. Answers are cached on disk under a hash of model, body and sample
number, so a killed run resumes without paying twice, also where the endpoint has moved. Another sample number asks the
same question again.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from tutelage.client.adaptive_limit import AdaptiveLimit
from tutelage.client.http import HttpError, HttpSender, Reply
from tutelage.client.responses import Answer, Choice, ResponseCache, read_answer, read_error
from tutelage.config import Settings, SettingsError
from tutelage.files import to_json
from tutelage.progress import duration, status

__all__ = ["Answer", "BudgetError", "Choice", "Client", "EndpointError", "EndpointSettings", "Failure", "Usage"]

Question = Mapping[str, Any]
Name = TypeVar("Name")

MAX_BACKOFF = 60.0  # seconds between two attempts, where the endpoint does not ask for more
MAX_RETRY_AFTER = 600.0  # seconds; the run stops if an endpoint asks to wait longer
MAX_FAILURES_IN_A_ROW = 3  # at least; more without an answer between them are the endpoint's fault
STATUS_INTERVAL = 10.0  # seconds between two messages about failed attempts
_NUMBER = re.compile(r"\d{1,9}(\.\d+)?")
_RETRYABLE = (408, 409, 425, 429)
_FATAL = {
    401: "API key not accepted",
    402: "payment required",
    403: "forbidden",
    404: "no such address or model; correct url or model",
}


class EndpointSettings(Settings, frozen=True, kw_only=True):
    """Which model answers, and the budget of a run.

    url:              the address without /chat/completions, as "http://localhost:8000/v1".
    model:            its name at the endpoint.
    key_variable:     the environment variable that holds the API key. The key is never written or shown.
    parallel:         concurrent requests, at most; halved where the endpoint is busy, raised again with each answer.
    timeout:          seconds for one request, from connecting to the last byte.
    attempts:         how often a request is sent where the endpoint is busy, fails or is unreachable.
    backoff:          seconds before the second attempt, doubled before each further one, with jitter; Retry-After of
                      the endpoint is respected too.
    max_requests:     of a run, retries included; cached answers cost none.
    max_tokens_total: of a run, prompt and completion tokens; requests in flight when they are spent come on top.
    prompt_price, completion_price: of a million tokens, in any currency.
    max_cost:         of a run, in that currency; requests in flight come on top.
    """

    url: str
    model: str
    key_variable: str | None = None
    parallel: Annotated[int, msgspec.Meta(ge=1)] = 8
    timeout: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    attempts: Annotated[int, msgspec.Meta(ge=1)] = 8
    backoff: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    max_requests: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_tokens_total: Annotated[int, msgspec.Meta(ge=0)] | None = None
    prompt_price: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    completion_price: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_cost: Annotated[float, msgspec.Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        if self.max_cost is not None and not self.prompt_price and not self.completion_price:
            raise SettingsError("max_cost needs prompt_price and completion_price, per million tokens")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of so many tokens."""
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6


class EndpointError(ValueError):
    """The endpoint cannot be used any more; `str(error)` is one sentence. Earlier answers stay in the cache."""


class BudgetError(EndpointError):
    """The budget of requests, tokens or money is spent."""


class Failure(NamedTuple):
    """Why a question has no answer: `reason` in a few words that can be counted, `detail` in the endpoint's words."""

    reason: str
    detail: str


@dataclass(slots=True)
class Usage:
    """What a run used: requests, of which `retries`; answers, of which `truncated`; `cached` answers of earlier runs;
    questions that `failed`; prompt and completion tokens."""

    requests: int = 0
    retries: int = 0
    answers: int = 0
    truncated: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def to_dict(self) -> dict[str, int]:
        """Plain data, ready for JSON."""
        return asdict(self)


class Client:
    """Asks one endpoint, from any number of threads. The end of its `with` block cancels requests in flight.

    cache: a file of answers; a question is sent only if it has none there.

    Raises:
        ValueError: the address is invalid; or there is no key, or it would be sent unencrypted.
        DiskError: the cache cannot be opened.
    """

    def __init__(self, settings: EndpointSettings, cache: Path | None = None) -> None:
        self.settings = settings
        self.usage = Usage()
        self._http = HttpSender(settings.url, settings.key_variable, settings.timeout)
        self._cache = ResponseCache(cache) if cache is not None else None
        self._lock = threading.Lock()
        self._limit = AdaptiveLimit(settings.parallel)
        self._stopped = threading.Event()
        self._stop_error: EndpointError | None = None
        self._backoff_until = 0.0
        self._failures_in_a_row = 0
        self._status_at = float("-inf")

    def ask(self, question: Question, sample: int = 0) -> Answer | Failure:
        """The answer to a question, from the cache if it is there. Samples of different numbers are asked for apart.

        Raises:
            EndpointError: the endpoint cannot be used any more.
            DiskError: the answer cannot be cached.
        """
        body = {"model": self.settings.model, **question}
        path = "/completions" if "prompt" in question else "/chat/completions"
        key = question_key(body, sample)
        cached = self._cache.get(key) if self._cache is not None else None
        if cached is not None:
            with self._lock:
                self.usage.cached += 1
            return cached
        answer = self._send(path, to_json(body, indent=None, sort=False))
        if self._cache is not None and isinstance(answer, Answer):
            self._cache.put(key, answer)
        return answer

    def call(self, path: str, body: Question) -> bytes:
        """POST to another path below the address, with the same retries; the content of the reply.

        Raises:
            EndpointError: it was refused, or the endpoint cannot be used any more.
        """
        failure = Failure("", "")
        for attempt in range(self.settings.attempts):
            self._wait(attempt)
            self._count(attempt)
            try:
                reply = self._http.post(path, to_json(body, indent=None, sort=False))
            except HttpError as error:
                failure = Failure(error.reason, error.detail)
                continue
            if reply.status == 200:
                return reply.content
            failure = Failure(f"status {reply.status}", self._http.redacted(read_error(reply.content)))
            if reply.status not in _RETRYABLE and reply.status < 500:
                break
        raise self._fatal(f"{path}: {failure.reason} ({failure.detail})")

    def ask_all(
        self, questions: Iterable[tuple[Name, Question]], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Name, Answer | Failure]]:
        """The answer to each question, with its name, in the order in which they arrive. Once `stop()` is true no more
        questions are sent; answers in flight are still yielded.

        Raises:
            EndpointError: the endpoint cannot be used any more; answers in flight are yielded first.
            DiskError: an answer cannot be cached.
        """
        waiting: dict[Future[Answer | Failure], Name] = {}

        def finished() -> Iterator[tuple[Name, Answer | Failure]]:
            while not (done := wait(waiting, 0.2, FIRST_COMPLETED).done):
                if stop():
                    self._stop(EndpointError("stop requested"))
            for future in done:
                name = waiting.pop(future)
                try:
                    answer = future.result()
                except EndpointError:  # raised after the others are yielded
                    continue
                yield name, answer

        complete = False
        with ThreadPoolExecutor(self.settings.parallel) as threads:
            try:
                for name, question in questions:
                    if stop() or self._stopped.is_set():
                        break
                    waiting[threads.submit(self.ask, question)] = name
                    if len(waiting) == self.settings.parallel:
                        yield from finished()
                while waiting:
                    yield from finished()
                complete = True
            finally:
                if not complete:  # the caller has left the loop: nobody waits for requests in flight
                    self._stop(EndpointError("the caller left the loop"))
                    self._http.cancel()
        if self._stop_error is not None and not stop():
            raise self._stop_error

    def stop(self) -> None:
        """Send nothing more: questions that are not sent yet raise EndpointError, those in flight are answered."""
        self._stop(EndpointError("stop requested"))

    def models(self) -> list[str]:
        """The names of the endpoint's models.

        Raises:
            EndpointError: it does not list them.
        """
        try:
            reply = self._http.get("/models")
            names = [str(model["id"]) for model in msgspec.json.decode(reply.content)["data"]]
        except (HttpError, msgspec.DecodeError, KeyError, TypeError) as error:
            raise self._fatal(f"it does not list its models ({error}); name one: model=NAME") from None
        return names

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop(EndpointError("the client was closed"))
        self._http.close()
        if self._cache is not None:
            self._cache.close()

    def _stop(self, error: EndpointError) -> EndpointError:
        """Send nothing more; the first error is the one that is raised."""
        with self._lock:
            self._stop_error = self._stop_error or error
            self._stopped.set()
            return self._stop_error

    def _fatal(self, reason: str) -> EndpointError:
        return self._stop(EndpointError(f"{self._http.url} cannot be used: {reason}{self._cache_note()}"))

    def _cache_note(self) -> str:
        return "" if self._cache is None else f"; answers so far are cached in {self._cache.path} for the next run"

    def _send(self, path: str, body: bytes) -> Answer | Failure:
        failure = Failure("", "")
        for attempt in range(self.settings.attempts):
            self._wait(attempt)
            try:
                with self._limit as epoch:
                    self._count(attempt)
                    answer = self._read_reply(self._http.post(path, body), epoch)
            except HttpError as error:
                if error.reason == "timeout":
                    self._limit.busy(epoch)
                if self._stopped.is_set() and self._stop_error is not None:
                    raise self._stop_error from None
                failure = Failure(error.reason, error.detail)
                self._report(failure)
                continue
            if isinstance(answer, Failure):
                return self._failed(answer)
            self._limit.succeeded()
            with self._lock:
                self._failures_in_a_row = 0
                self.usage.answers += 1
                self.usage.truncated += answer.truncated
                self.usage.prompt_tokens += answer.prompt_tokens or 0
                self.usage.completion_tokens += answer.completion_tokens or 0
            return answer
        return self._failed(failure)

    def _report(self, failure: Failure) -> None:
        """Print at intervals why answers are slow."""
        with self._lock:
            due = time.monotonic() - self._status_at >= STATUS_INTERVAL
            self._status_at = time.monotonic() if due else self._status_at
        if due:
            status(f"{self._http.url}: {failure.reason} ({failure.detail})")

    def _failed(self, failure: Failure) -> Failure:
        with self._lock:
            self.usage.failed += 1
            self._failures_in_a_row += 1
            count = self._failures_in_a_row
        if count >= max(MAX_FAILURES_IN_A_ROW, self.settings.parallel):
            raise self._fatal(f"{count} questions in a row failed ({failure.reason}: {failure.detail})")
        return failure

    def _wait(self, attempt: int) -> None:
        """Wait until the next attempt may be sent."""
        if attempt:
            longest = min(MAX_BACKOFF, self.settings.backoff * 2 ** (attempt - 1))
            self._sleep(longest * random.uniform(0.5, 1.0))  # jitter: not all retries at once
        while (seconds := self._backoff_until - time.monotonic()) > 0:
            self._sleep(seconds + random.uniform(0.0, min(1.0, self.settings.backoff)))  # not all at the same moment

    def _count(self, attempt: int) -> None:
        """Charge an attempt to the budget."""
        with self._lock:
            if self._stop_error is not None:
                raise self._stop_error
            spent = self._spent_budget()
            if not spent:
                self.usage.requests += 1
                self.usage.retries += attempt > 0
                return
        raise self._stop(BudgetError(f"the budget of {spent} is spent{self._cache_note()}"))

    def _spent_budget(self) -> str:
        """Which budget is spent, in words; "" where none is."""
        settings = self.settings
        tokens = self.usage.prompt_tokens + self.usage.completion_tokens
        if settings.max_requests is not None and self.usage.requests >= settings.max_requests:
            return f"{settings.max_requests:,} requests"
        if settings.max_tokens_total is not None and tokens >= settings.max_tokens_total:
            return f"{settings.max_tokens_total:,} tokens"
        cost = settings.cost(self.usage.prompt_tokens, self.usage.completion_tokens)
        if settings.max_cost is not None and cost >= settings.max_cost:
            return f"{settings.max_cost:g} in money"
        return ""

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds) and self._stop_error is not None:
            raise self._stop_error

    def _read_reply(self, reply: Reply, epoch: int) -> Answer | Failure:
        """The answer in a reply; HttpError where another attempt may succeed, EndpointError where none will."""
        message = self._http.redacted(read_error(reply.content)) if reply.status != 200 else ""
        if reply.status in _FATAL:
            raise self._fatal(f"{_FATAL[reply.status]} (status {reply.status}: {message})")
        if 300 <= reply.status < 400:
            location = self._http.redacted(reply.headers.get("location", "nowhere"))
            raise self._fatal(f"it redirects to {location}; if that is right, use it as url")
        if reply.status == 429 and b"insufficient_quota" in reply.content:
            raise self._fatal(f"quota exceeded ({message})")
        if reply.status in _RETRYABLE or reply.status >= 500:
            self._limit.busy(epoch)
            self._back_off(retry_after_seconds(reply.headers.get("retry-after", ""), datetime.now(UTC)))
            raise HttpError(f"status {reply.status}", message)
        if reply.status != 200:
            return Failure(f"refused with status {reply.status}", message)
        try:
            answer = read_answer(reply.content)
        except ValueError as error:
            excerpt = reply.content[:200].decode("utf-8", "replace")
            raise HttpError("invalid response", self._http.redacted(f"{error}: {excerpt}")) from None
        budgets = self.settings.max_tokens_total, self.settings.max_cost
        if answer.tokens is None and budgets != (None, None):
            raise self._fatal("it reports no token counts; leave max_tokens_total and max_cost out")
        return answer

    def _back_off(self, seconds: float) -> None:
        """Respect a Retry-After: no thread sends anything before it is over."""
        if seconds > MAX_RETRY_AFTER:
            raise self._fatal(f"rate limited; retry in {duration(seconds)}")
        if seconds > STATUS_INTERVAL:
            status(f"rate limited; waiting {duration(seconds)}")
        with self._lock:
            self._backoff_until = max(self._backoff_until, time.monotonic() + seconds)


def question_key(body: Question, sample: int) -> str:
    """The key of an answer in the cache: a hash of the body, which names the model, and of the sample number."""
    return hashlib.sha256(to_json([body, sample] if sample else [body], indent=None)).hexdigest()[:32]


def retry_after_seconds(retry_after: str, now: datetime) -> float:
    """The seconds of a Retry-After header, which is a number or a date; 0 where it is neither."""
    if _NUMBER.fullmatch(retry_after.strip()):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
    except ValueError:
        return 0.0
