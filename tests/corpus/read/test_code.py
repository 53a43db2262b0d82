from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.corpus.read.code import code_documents, language_of
from tutelage.ledger import Ledger


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("a/b/main.py", "Python"), ("Makefile", "Make"), ("x.RS", "Rust"), ("lib.hpp", "C++"), ("a.tsx", "TypeScript"),
        ("src/CMakeLists.txt", "CMake"), ("photo.jpeg", None), ("noname", None), (".gitignore", None),
    ],
)  # fmt: skip
def test_the_language_is_told_by_the_name(name: str, language: str | None) -> None:
    assert language_of(name) == language


def test_a_tree_is_read_in_order_and_what_is_no_source_is_counted(tmp_path: Path) -> None:
    files = {
        "src/b.c": b"int b;", "src/a.py": "é = 1".encode(), "src/latin.py": "# Grüße".encode("latin-1"),
        "node_modules/x.js": b"x", "logo.png": b"\x89PNG", "empty.py": b"\n", "packed.py": bytes(range(30)) * 30,
        "big.json": b" " * (2 << 20),
    }  # fmt: skip
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    ledger = Ledger("read")
    documents = list(code_documents(str(tmp_path), ledger))
    ledger.check()
    assert [(d.id, d.meta["language"]) for d in documents] == [
        ("src/a.py", "Python"),
        ("src/b.c", "C"),
        ("src/latin.py", "Python"),
    ]
    assert documents[0].text == "é = 1"
    assert ledger.rows_read == len(files) + 1
    assert {reason: dropped.rows for reason, dropped in ledger.dropped.items()} == {
        "in a folder of what others wrote or a build made": 1,
        "no language known by that name": 1,
        "empty": 1,
        "not text": 1,
        "larger than 1 MiB": 1,
        "a link, or nothing to read": 1,
    }
