from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tutelage.chat.audit import Report

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of chats: a string as one line, a list of texts as turns of user and assistant."""

    def written(rows: Sequence[str | Sequence[str]], name: str = "chats.jsonl") -> Path:
        lines = []
        for row in rows:
            if isinstance(row, str):
                lines.append(row)
                continue
            roles = ("user", "assistant")
            messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(row)]
            lines.append(json.dumps({"messages": messages}))
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        return tmp_path / name

    return written


@pytest.fixture(scope="session")
def found_rows() -> Callable[[Report], dict[str, list[int]]]:
    """The numbers of the conversations that each check found."""
    return lambda report: {name: rows.tolist() for name, rows in report.rows.items()}
