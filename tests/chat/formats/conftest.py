from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.chat.formats import read_conversations
from tutelage.ledger import Ledger
from tutelage.records import Conversation

Write = Callable[..., Path]
Read = Callable[..., tuple[list[Conversation], Ledger]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes rows, one a line: bytes and strings as they are, all else as JSON."""

    def written(*rows: object, name: str = "chat.jsonl") -> Path:
        lines = [
            row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else json.dumps(row).encode()
            for row in rows
        ]
        (tmp_path / name).write_bytes(b"".join(line + b"\n" for line in lines))
        return tmp_path / name

    return written


@pytest.fixture(scope="session")
def read() -> Read:
    """The conversations of a file, broken rows left out, and the ledger, which adds up."""

    def read_file(path: Path, max_broken: float = 1.0, format: str | None = None) -> tuple[list[Conversation], Ledger]:
        ledger = Ledger("chat")
        conversations = list(read_conversations(path, ledger, max_broken, format))
        ledger.check()
        assert ledger.rows_out == len(conversations)
        return conversations, ledger

    return read_file
