from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.corpus.consent import licence_of
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
        "vendored or build folder": 1,
        "unknown language": 1,
        "empty": 1,
        "not text": 1,
        "larger than 1 MiB": 1,
        "link or special file": 1,
    }


MIT = b"MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy of this software"


def licences(folder: Path, files: dict[str, bytes]) -> dict[str, str | None]:
    """The licence of each source in a tree, as the step `licence` would find it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    found = code_documents(str(folder), Ledger("read"))
    return {one.id: licence_of(one) for one in found if one.id.endswith((".py", ".c"))}


def test_a_licence_holds_for_its_folder_and_those_below(tmp_path: Path) -> None:
    found = licences(
        tmp_path,
        {
            "LICENSE": MIT,
            "a.py": b"a = 1",
            "own.py": b"# SPDX-License-Identifier: Apache-2.0\na = 1",
            "deep/er/b.py": b"b = 1",
            "gpl/COPYING": b"GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991\n ... GNU Lesser General Public License",
            "gpl/c.c": b"int c;",
            "gpl/more/d.c": b"int d;",
            "rust/Cargo.toml": b'[package]\nlicense = "MIT OR Apache-2.0"\n',
            "rust/e.py": b"e = 1",
            "odd/LICENSE": b"You may use this on Sundays.",
            "odd/f.py": b"f = 1",
            "node_modules/LICENSE": b"nothing",
        },
    )
    assert found == {
        "a.py": "MIT", "own.py": "Apache-2.0", "deep/er/b.py": "MIT", "gpl/c.c": "GPL-2.0", "gpl/more/d.c": "GPL-2.0",
        "rust/e.py": "MIT OR Apache-2.0", "odd/f.py": None,
    }  # fmt: skip


def test_a_tree_without_a_licence_has_none(tmp_path: Path) -> None:
    assert licences(tmp_path, {"a.py": b"a", "pyproject.toml": b"[project]\nname='x'", "license.py": MIT}) == {
        "a.py": None,
        "license.py": "MIT",  # its own text says so
    }


def test_a_single_file_is_a_tree_of_one(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a = 1")
    ledger = Ledger("read")
    assert [document.id for document in code_documents(str(tmp_path / "a.py"), ledger)] == ["a.py"]


def test_a_file_that_cannot_be_opened_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a = 1")
    ledger, found = Ledger("read"), code_documents(str(tmp_path), Ledger("read"))
    assert len(list(found)) == 1
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe({"/tree/a.py": b"a = 1", "/tree/b.py": b"b = 1"})
    found = code_documents("memory://tree", ledger)
    assert next(found).id == "a.py"
    memory.rm("/tree/b.py")
    assert list(found) == []
    assert {reason: dropped.rows for reason, dropped in ledger.dropped.items()} == {"unreadable file": 1}
    ledger.check()
