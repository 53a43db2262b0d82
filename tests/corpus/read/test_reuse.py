from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from tutelage.corpus.read import documents
from tutelage.corpus.read.reuse import read_annotations
from tutelage.ledger import Ledger

TABLE = """
version = 1
[[annotations]]
path = "**"
SPDX-License-Identifier = "MIT"
[[annotations]]
path = ["data/*.py", 'odd\\*.py']
SPDX-License-Identifier = ["CC0-1.0", "MIT"]
"""


def licences(tree: Path) -> dict[str, str]:
    return {document.id: document.meta.get("license", "") for document in documents(f"{tree}/", Ledger("read"), "code")}


def write(tree: Path, **files: str) -> None:
    for name, content in files.items():
        path = tree / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_reuse_declares_the_licences_of_files(tmp_path: Path) -> None:
    write(tmp_path, a_py="x = 1", data__b_py="x = 2", data__deep__c_py="x = 3", d_py="x = 4", inner__e_py="x = 5")
    (tmp_path / "REUSE.toml").write_text(TABLE)
    (tmp_path / "LICENSE").write_text("GNU General Public License\nversion 3")
    (tmp_path / "d.py.license").write_text("SPDX-FileCopyrightText: 2024 Anna\nSPDX-License-Identifier: Apache-2.0\n")
    (tmp_path / "inner" / "REUSE.toml").write_text(TABLE.replace('"**"', '"e.py"').replace('"MIT"\n', '"BSL-1.0"\n', 1))
    found = licences(tmp_path)
    assert {PurePosixPath(name).name: licence for name, licence in found.items() if name.endswith(".py")} == {
        "a.py": "MIT",
        "b.py": "CC0-1.0 AND MIT",
        "c.py": "MIT",  # a single star does not go into folders
        "d.py": "Apache-2.0",
        "e.py": "BSL-1.0",  # the nearest table
    }


def test_files_without_reuse_have_the_licence_of_their_folder(tmp_path: Path) -> None:
    write(tmp_path, a_py="x = 1")
    (tmp_path / "REUSE.toml").write_text(TABLE.replace('"**"', '"other.py"'))
    (tmp_path / "LICENSE").write_text("GNU General Public License\nversion 3")
    assert licences(tmp_path)["a.py"] == "GPL-3.0"


@pytest.mark.parametrize(
    "content", ["not toml [", "annotations = 3", "[[annotations]]\npath = 3", "[annotations]\na = 1"]
)
def test_a_broken_table_declares_nothing(content: str) -> None:
    assert read_annotations(PurePosixPath("REUSE.toml"), content) == []


def test_a_backslash_takes_a_star_as_it_is() -> None:
    found = read_annotations(PurePosixPath("a/REUSE.toml"), TABLE)
    assert found[-1].pattern.fullmatch("odd*.py") and not found[-1].pattern.fullmatch("oddly.py")
    assert str(found[0].folder) == "a"
