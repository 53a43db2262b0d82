"""Archives: what is in them is read as if it lay in a folder."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from tests.corpus.read.test_read import docx, pdf, tar
from tutelage.corpus.curation import load_curation
from tutelage.corpus.pipeline import curate
from tutelage.corpus.read import documents
from tutelage.io import decompress
from tutelage.ledger import Ledger
from tutelage.records import Document

FILES = {
    "papers/one.pdf": pdf("Some words"),
    "papers/two.docx": docx("Other words"),
    "rows.jsonl.gz": gzip.compress(b'{"text": "row one"}\nbroken\n{"text": "row two", "id": "2"}\n'),
    "__MACOSX/papers/._one.pdf": b"x",
    "picture.png": b"x",
    "inner.zip": b"x",
}


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def read(path: Path, content: bytes) -> tuple[list[Document], Ledger]:
    path.write_bytes(content)
    ledger = Ledger("read")
    found = list(documents(str(path), ledger))
    ledger.check()
    return found, ledger


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
def test_files_in_an_archive_are_read(name: str, tmp_path: Path) -> None:
    content = zipped(FILES) if name.endswith("zip") else tar(FILES)
    path = tmp_path / name
    found, ledger = read(path, gzip.compress(content) if name.endswith("gz") else content)
    assert [document.text for document in found] == ["Some words", "Other words", "row one", "row two"]
    places = [f"{path}/papers/one.pdf", f"{path}/papers/two.docx", f"{path}/rows.jsonl.gz:0", "2"]
    assert [document.id for document in found] == places
    dropped = {reason: entry.examples for reason, entry in ledger.dropped.items()}
    assert dropped == {
        "not JSON": [f"{path}/rows.jsonl.gz:20"],
        "file of unknown type in an archive": [f"{path}/picture.png", f"{path}/inner.zip"],
    }


def test_archives_that_cannot_be_read_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = zipped({"a.txt": b"Good words.", "b.txt": b"Other words."})
    assert list(read(tmp_path / "a.zip", good[:-40])[1].dropped) == ["unreadable archive"]
    hurt = good.replace(zipped({"a.txt": b"Good words."})[35:46], b"\xff" * 11)
    found, ledger = read(tmp_path / "a.zip", hurt)
    assert [document.text for document in found] == ["Other words."]
    assert list(ledger.dropped) == ["unreadable file in an archive"]
    locked = bytearray(good)
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # as if it were encrypted
        locked[locked.index(mark) + flags] |= 1
    assert list(read(tmp_path / "a.zip", bytes(locked))[1].dropped) == ["file with a password"]
    cut = tar({"a.txt": b"Good words.", "b.txt": b"words " * 1000})[:2000]
    found, ledger = read(tmp_path / "a.tar", cut)
    assert found[0].text == "Good words." and ledger.dropped
    monkeypatch.setattr(decompress, "BOMB_BYTES", 1 << 20)
    found, ledger = read(tmp_path / "a.zip", zipped({"a.txt": b"a" * (8 << 20), "b.txt": b"Words."}))
    assert [document.text for document in found] == ["Words."]
    assert list(ledger.dropped) == [decompress.BOMB]


def test_a_corpus_from_an_archive(tmp_path: Path) -> None:
    """Names are relative to the folder of the input, and options hold for what is inside."""
    (tmp_path / "in").mkdir()
    content = zipped({"x.csv": b"article,n\nFirst words,1\n", "y.pdf": pdf("Some words")})
    (tmp_path / "in" / "a.zip").write_bytes(content)
    settings = 'name = "x"\ninput = "in"\nworkers = 1\ntext = "article"\npdf_mib = 0.0001\n[steps]\n'
    (tmp_path / "r.toml").write_text(settings)
    result = curate(load_curation(tmp_path / "r.toml"), tmp_path / "out")
    assert result["read"]["rows_kept"] == 1
    assert result["read"]["dropped"]["larger than 0.0001 MiB"]["examples"] == ["in/a.zip/y.pdf"]
    assert str(tmp_path) not in (tmp_path / "out" / "curation.json").read_text()
