"""What an endpoint answered: read from its reply, and kept in a file so that nothing is paid twice."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import msgspec

from tutelage.files import explain


class Choice(msgspec.Struct, frozen=True):
    """One of the answers to a question. `raw` is all that came with it, such as log-probabilities and tool calls."""

    raw: dict[str, Any]

    @property
    def text(self) -> str:
        """What was written; "" where it is a tool call alone."""
        return (self.raw["message"].get("content") if "message" in self.raw else self.raw["text"]) or ""

    @property
    def finish(self) -> str | None:
        """Why it ends there: "length" where it was cut off."""
        return self.raw.get("finish_reason")


class Answer(msgspec.Struct, frozen=True):
    """What came back for a question: at least one choice, and how many tokens were read and written for them, None
    where the endpoint does not say."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text

    @property
    def tokens(self) -> int | None:
        """What was read and written; None where the endpoint does not say."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens

    @property
    def truncated(self) -> bool:
        """Whether a choice was cut off where the tokens it might take ended."""
        return any(choice.finish == "length" for choice in self.choices)


class _Message(msgspec.Struct):
    content: str | None = None


class _RawChoice(msgspec.Struct):
    finish_reason: str | None = None
    message: _Message | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Reply(msgspec.Struct):
    choices: list[dict[str, Any]]
    usage: _Usage | None = None


def read_answer(content: bytes) -> Answer:
    """The answer in the content of a reply; ValueError, which says what is wrong, where there is none."""
    try:
        reply = msgspec.json.decode(content, type=_Reply)
        found = [msgspec.convert(choice, _RawChoice) for choice in reply.choices]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # of another layout, or no JSON at all
        raise ValueError(str(error)) from None
    if not found:
        raise ValueError("it holds no choices")
    if any(choice.message is msgspec.UNSET and choice.text is msgspec.UNSET for choice in found):
        raise ValueError("a choice holds neither a message nor a text")
    usage = reply.usage or _Usage()
    return Answer(tuple(map(Choice, reply.choices)), usage.prompt_tokens, usage.completion_tokens)


def read_complaint(content: bytes) -> str:
    """What an endpoint says is wrong, as it put it."""
    text = content[:4096].decode("utf-8", "replace")
    try:
        found = msgspec.json.decode(content)
        inner = found.get("error", found) if isinstance(found, dict) else found
        said = inner.get("message") if isinstance(inner, dict) else inner
        return said if isinstance(said, str) and said else text
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text


class _Kept(msgspec.Struct, frozen=True):
    key: str
    answer: Answer


class KeptAnswers:
    """Answers in a file of JSON lines that only grows. A process that is killed leaves at most one broken line, which
    is passed over and counted in `broken`. Where the answers stand is held in memory, and not what they say.

    Raises:
        DiskError: the file cannot be read, or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken = 0
        self._lock = threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)
            self._read()
        except OSError as error:
            raise explain(error, path) from error

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Answer | None:
        """The answer that was kept under a key."""
        with self._lock:
            place = self._places.get(key)
        if place is None:
            return None
        return msgspec.json.decode(os.pread(self._file.fileno(), place[1], place[0]), type=_Kept).answer

    def put(self, key: str, answer: Answer) -> None:
        """Keeps an answer; DiskError where the disk has no room for it."""
        line = msgspec.json.encode(_Kept(key, answer)) + b"\n"
        with self._lock:
            try:
                left = line
                while left:
                    left = left[self._file.write(left) :]
                end = self._file.tell()
            except OSError as error:
                raise explain(error, self.path) from error
            self._places[key] = (end - len(line), len(line))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _read(self) -> None:
        offset, line = 0, b"\n"
        with self.path.open("rb") as file:
            for line in file:
                try:
                    self._places[msgspec.json.decode(line, type=_Kept).key] = (offset, len(line))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.broken += bool(line.strip())
                offset += len(line)
        if not line.endswith(b"\n"):
            self._file.write(b"\n")  # what follows must not become a part of the broken line
