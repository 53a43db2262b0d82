"""Answers of an endpoint: parsed from its replies, and cached in a file so that nothing is paid twice."""

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
        """The text; "" for a tool call alone."""
        return (self.raw["message"].get("content") if "message" in self.raw else self.raw["text"]) or ""

    @property
    def finish_reason(self) -> str | None:
        """Why it ends there: "length" where it was truncated."""
        return self.raw.get("finish_reason")


class Answer(msgspec.Struct, frozen=True):
    """The answer to a question: at least one choice, the prompt and completion tokens, and what the endpoint calls its
    state (Tutelage's own: the digest of the weights); None where it does not report them."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    system_fingerprint: str | None = None

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text

    @property
    def tokens(self) -> int | None:
        """Prompt and completion tokens; None where the endpoint does not report them."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens

    @property
    def truncated(self) -> bool:
        """Whether a choice was truncated at its token limit."""
        return any(choice.finish_reason == "length" for choice in self.choices)


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
    system_fingerprint: str | None = None


def read_answer(content: bytes) -> Answer:
    """The answer in the content of a reply; ValueError, which says what is wrong, where it is invalid."""
    try:
        reply = msgspec.json.decode(content, type=_Reply)
        choices = [msgspec.convert(choice, _RawChoice) for choice in reply.choices]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    if not choices:
        raise ValueError("no choices")
    if any(choice.message is msgspec.UNSET and choice.text is msgspec.UNSET for choice in choices):
        raise ValueError("a choice has neither a message nor a text")
    usage = reply.usage or _Usage()
    return Answer(
        tuple(map(Choice, reply.choices)), usage.prompt_tokens, usage.completion_tokens, reply.system_fingerprint
    )


def read_error(content: bytes) -> str:
    """The error message in a reply, or the reply itself where none is found."""
    text = content[:4096].decode("utf-8", "replace")
    try:
        reply = msgspec.json.decode(content)
        error = reply.get("error", reply) if isinstance(reply, dict) else reply
        message = error.get("message") if isinstance(error, dict) else error
        return message if isinstance(message, str) and message else text
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text


class _Entry(msgspec.Struct, frozen=True):
    key: str
    answer: Answer


class ResponseCache:
    """Answers in an append-only file of JSON lines. A killed process leaves at most one broken line, which is skipped
    and counted in `broken`. Memory holds the offsets of the answers, not their text.

    Raises:
        DiskError: the file cannot be read, or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken = 0
        self._lock = threading.Lock()
        self._offsets: dict[str, tuple[int, int]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)
            self._read()
        except OSError as error:
            raise explain(error, path) from error

    def __len__(self) -> int:
        return len(self._offsets)

    def get(self, key: str) -> Answer | None:
        """The answer of a key; None where there is none."""
        with self._lock:
            entry = self._offsets.get(key)
        if entry is None:
            return None
        return msgspec.json.decode(os.pread(self._file.fileno(), entry[1], entry[0]), type=_Entry).answer

    def put(self, key: str, answer: Answer) -> None:
        """Add an answer; DiskError where the disk is full."""
        line = msgspec.json.encode(_Entry(key, answer)) + b"\n"
        with self._lock:
            try:
                left = line
                while left:
                    left = left[self._file.write(left) :]
                end = self._file.tell()
            except OSError as error:
                raise explain(error, self.path) from error
            self._offsets[key] = (end - len(line), len(line))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> None:
        offset, line = 0, b"\n"
        with self.path.open("rb") as file:
            for line in file:
                try:
                    self._offsets[msgspec.json.decode(line, type=_Entry).key] = (offset, len(line))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.broken += bool(line.strip())
                offset += len(line)
        if not line.endswith(b"\n"):
            self._file.write(b"\n")  # the next entry must not become part of the broken line
