"""Any endpoint that speaks the layout of OpenAI's API: judges, teachers, remote rollouts.

A question is the body of a request without its model: {"messages": [...], "temperature": 0} for chat completions,
{"prompt": "...", "logprobs": 1} for plain ones. Answers are kept on the disk, under everything that decides them, so
that a run that was killed goes on without paying twice; to ask the same again, give each question another `seed`.
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

from tutelage.client.answers import Answer, Choice, KeptAnswers, read_answer, read_complaint
from tutelage.client.wire import BrokenError, Reply, Wire
from tutelage.config import Settings
from tutelage.files import to_json
from tutelage.progress import duration, status

__all__ = ["Answer", "BudgetError", "Choice", "Client", "EndpointError", "EndpointSettings", "Failure", "Usage"]

Question = Mapping[str, Any]
Name = TypeVar("Name")

LONGEST_WAIT = 60.0  # seconds between two attempts, where the endpoint does not ask for more
LONGEST_REST = 600.0  # seconds for which an endpoint may ask to be left alone; where it asks for more the run stops
FAILURES_IN_A_ROW = 3  # at least; so many without an answer between them are not the questions' fault
SECONDS_BETWEEN_WORDS = 10.0  # about what goes wrong, while it is tried again
_NUMBER = re.compile(r"\d{1,9}(\.\d+)?")
_AGAIN = (408, 409, 425, 429)
_HOPELESS = {
    401: "it does not accept the API key",
    402: "it wants to be paid",
    403: "it does not allow this",
    404: "it knows no such address or model; correct url or model",
}


class EndpointSettings(Settings, frozen=True, kw_only=True):
    """Which model answers, and what it may cost.

    url:           what stands before /chat/completions, as "http://localhost:8000/v1".
    model:         its name at the endpoint.
    key_variable:  the environment variable that holds the API key, which is never written or shown.
    parallel:      requests under way at a time.
    seconds:       for one request, from connecting to the last byte.
    attempts:      how often a request is sent where the endpoint is busy, broken or gone.
    wait:          seconds before the second attempt, and twice as many before each further one; a part is left to
                   chance. Where the endpoint says how long to wait, that holds too.
    most_requests: of a run, repeated ones too; answers that were kept cost none.
    most_tokens:   of a run, read and written; what is under way when they are spent comes on top.
    """

    url: str
    model: str
    key_variable: str | None = None
    parallel: Annotated[int, msgspec.Meta(ge=1)] = 8
    seconds: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    attempts: Annotated[int, msgspec.Meta(ge=1)] = 8
    wait: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    most_requests: Annotated[int, msgspec.Meta(ge=0)] | None = None
    most_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None


class EndpointError(ValueError):
    """The endpoint cannot be asked any more; `str(error)` is one sentence. What it answered before is kept."""


class BudgetError(EndpointError):
    """All requests or tokens that a run may take are spent."""


class Failure(NamedTuple):
    """Why a question has no answer: `reason` in a few words that can be counted, `detail` as the endpoint put it."""

    reason: str
    detail: str


@dataclass(slots=True)
class Usage:
    """What a run took: requests sent, those of them that were `repeated`; answers, those of them that were `truncated`;
    `cached` answers, kept from before; questions that `failed`; tokens that were read and written."""

    requests: int = 0
    repeated: int = 0
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
    """Asks one endpoint, from any number of threads. At the end of its `with` block what is under way is cut off.

    answers: a file in which answers are kept, and looked up before anything is asked.

    Raises:
        ValueError: the address is none; or there is no key, or it would travel unprotected.
        DiskError: the file of answers cannot be opened.
    """

    def __init__(self, settings: EndpointSettings, answers: Path | None = None) -> None:
        self.settings = settings
        self.usage = Usage()
        self._wire = Wire(settings.url, settings.key_variable, settings.seconds)
        self._kept = KeptAnswers(answers) if answers is not None else None
        self._lock = threading.Lock()
        self._under_way = threading.BoundedSemaphore(settings.parallel)
        self._over = threading.Event()
        self._why: EndpointError | None = None
        self._rest_until = 0.0
        self._failed_in_a_row = 0
        self._told_at = float("-inf")

    def ask(self, question: Question) -> Answer | Failure:
        """The answer to a question, from those that are kept where it is among them.

        Raises:
            EndpointError: the endpoint cannot be asked any more.
            DiskError: the answer cannot be kept.
        """
        body = {"model": self.settings.model, **question}
        path = "/completions" if "prompt" in question else "/chat/completions"
        key = hashlib.sha256(to_json([self._wire.url, path, body], indent=None)).hexdigest()[:32]
        kept = self._kept.get(key) if self._kept is not None else None
        if kept is not None:
            with self._lock:
                self.usage.cached += 1
            return kept
        with self._under_way:
            found = self._ask(path, to_json(body, indent=None, sort=False))
        if self._kept is not None and isinstance(found, Answer):
            self._kept.put(key, found)
        return found

    def ask_all(
        self, questions: Iterable[tuple[Name, Question]], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Name, Answer | Failure]]:
        """The answer to each question, under its name, in the order in which they come. Once `stop()` is true nothing
        more is asked; what is under way is still given.

        Raises:
            EndpointError: the endpoint cannot be asked any more; what was under way has been given before.
            DiskError: an answer cannot be kept.
        """
        waiting: dict[Future[Answer | Failure], Name] = {}

        def finished() -> Iterator[tuple[Name, Answer | Failure]]:
            while not (done := wait(waiting, 0.2, FIRST_COMPLETED).done):
                if stop():
                    self._end(EndpointError("asked to stop"))
            for future in done:
                name = waiting.pop(future)
                try:
                    found = future.result()
                except EndpointError:  # raised once the others are through
                    continue
                yield name, found

        all_given = False
        with ThreadPoolExecutor(self.settings.parallel) as threads:
            try:
                for name, question in questions:
                    if stop() or self._over.is_set():
                        break
                    waiting[threads.submit(self.ask, question)] = name
                    if len(waiting) == self.settings.parallel:
                        yield from finished()
                while waiting:
                    yield from finished()
                all_given = True
            finally:
                if not all_given:  # whoever asked has gone: nobody waits for what is under way
                    self._abandon()
        if self._why is not None and not stop():
            raise self._why

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._abandon()
        if self._kept is not None:
            self._kept.close()

    def _abandon(self) -> None:
        self._end(EndpointError("the client was closed"))
        self._wire.cut()

    def _end(self, why: EndpointError) -> EndpointError:
        """Nothing more is sent from here on; the first reason is the one that is told."""
        with self._lock:
            self._why = self._why or why
            self._over.set()
            return self._why

    def _hopeless(self, why: str) -> EndpointError:
        return self._end(EndpointError(f"{self._wire.url} cannot be asked any more: {why}{self._where_kept()}"))

    def _where_kept(self) -> str:
        return "" if self._kept is None else f"; its answers so far are in {self._kept.path}, for the next run"

    def _ask(self, path: str, body: bytes) -> Answer | Failure:
        failure = Failure("", "")
        for attempt in range(self.settings.attempts):
            self._take_turn(attempt)
            try:
                found = self._judge_reply(self._wire.post(path, body))
            except BrokenError as error:
                if self._over.is_set() and self._why is not None:
                    raise self._why from None
                failure = Failure(error.reason, error.detail)
                self._tell(failure)
                continue
            if isinstance(found, Failure):
                return self._failed(found)
            with self._lock:
                self._failed_in_a_row = 0
                self.usage.answers += 1
                self.usage.truncated += found.truncated
                self.usage.prompt_tokens += found.prompt_tokens or 0
                self.usage.completion_tokens += found.completion_tokens or 0
            return found
        return self._failed(failure)

    def _tell(self, failure: Failure) -> None:
        """Says now and then why answers are slow to come."""
        with self._lock:
            due = time.monotonic() - self._told_at >= SECONDS_BETWEEN_WORDS
            self._told_at = time.monotonic() if due else self._told_at
        if due:
            status(f"{self._wire.url}: {failure.reason} ({failure.detail})")

    def _failed(self, failure: Failure) -> Failure:
        with self._lock:
            self.usage.failed += 1
            self._failed_in_a_row += 1
            many = self._failed_in_a_row
        if many >= max(FAILURES_IN_A_ROW, self.settings.parallel):
            raise self._hopeless(f"{many} questions in a row failed ({failure.reason}: {failure.detail})")
        return failure

    def _take_turn(self, attempt: int) -> None:
        """Waits until the next attempt may be made, and takes it from the budget."""
        if attempt:
            longest = min(LONGEST_WAIT, self.settings.wait * 2 ** (attempt - 1))
            self._pause(longest * random.uniform(0.5, 1.0))  # so that not all who were sent away come back at once
        while (rest := self._rest_until - time.monotonic()) > 0:
            self._pause(rest)
        with self._lock:
            if self._why is not None:
                raise self._why
            spent = self._spent()
            if not spent:
                self.usage.requests += 1
                self.usage.repeated += attempt > 0
                return
        raise self._end(BudgetError(f"the budget of {spent} is spent{self._where_kept()}"))

    def _spent(self) -> str:
        """Which budget is spent, in words; "" where none is."""
        tokens = self.usage.prompt_tokens + self.usage.completion_tokens
        if self.settings.most_requests is not None and self.usage.requests >= self.settings.most_requests:
            return f"{self.settings.most_requests:,} requests"
        if self.settings.most_tokens is not None and tokens >= self.settings.most_tokens:
            return f"{self.settings.most_tokens:,} tokens"
        return ""

    def _pause(self, seconds: float) -> None:
        if self._over.wait(seconds) and self._why is not None:
            raise self._why

    def _judge_reply(self, reply: Reply) -> Answer | Failure:
        """What a reply comes to; BrokenError where another attempt may come to more, EndpointError where none will."""
        told = self._wire.hidden(read_complaint(reply.content)) if reply.status != 200 else ""
        if reply.status in _HOPELESS:
            raise self._hopeless(f"{_HOPELESS[reply.status]} (status {reply.status}: {told})")
        if 300 <= reply.status < 400:
            place = self._wire.hidden(reply.headers.get("location", "nowhere"))
            raise self._hopeless(f"it sends on to {place}; give that as url if it is right")
        if reply.status == 429 and b"insufficient_quota" in reply.content:
            raise self._hopeless(f"its quota is spent ({told})")
        if reply.status in _AGAIN or reply.status >= 500:
            self._rest(seconds_of(reply.headers.get("retry-after", ""), datetime.now(UTC)))
            raise BrokenError(f"status {reply.status}", told)
        if reply.status != 200:
            return Failure(f"refused with status {reply.status}", told)
        try:
            answer = read_answer(reply.content)
        except ValueError as error:
            excerpt = reply.content[:200].decode("utf-8", "replace")
            raise BrokenError("a reply of another layout", self._wire.hidden(f"{error}: {excerpt}")) from None
        if answer.tokens is None and self.settings.most_tokens is not None:
            raise self._hopeless("it does not say how many tokens an answer took; leave most_tokens out")
        return answer

    def _rest(self, seconds: float) -> None:
        """Heeds a wish to be left alone: no thread sends anything before it is over."""
        if seconds > LONGEST_REST:
            raise self._hopeless(f"it asks to be left alone for {duration(seconds)}; come back then")
        if seconds > SECONDS_BETWEEN_WORDS:
            status(f"the endpoint asks to wait {duration(seconds)}")
        with self._lock:
            self._rest_until = max(self._rest_until, time.monotonic() + seconds)


def seconds_of(retry_after: str, now: datetime) -> float:
    """How many seconds a Retry-After asks for, which is a number or a date; 0 where it is neither."""
    if _NUMBER.fullmatch(retry_after.strip()):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
    except ValueError:
        return 0.0
