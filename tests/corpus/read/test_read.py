from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tutelage.corpus.read import READERS, documents, kind_of
from tutelage.files import DiskError
from tutelage.ledger import Ledger


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.warc.gz", "warc"), ("CC-MAIN.warc.wet.gz", "warc"), ("s3://bucket/a.arc.gz", "arc"), ("a.HTML", "html"),
        ("a.jsonl.zst", "json"), ("a.parquet", "parquet"), ("a.pdf", "pdf"), ("pages-articles.xml.bz2", "xml"),
        ("a.txt", "text"), ("github://owner:repo@main/src/", "code"),
    ],
)  # fmt: skip
def test_a_name_says_what_a_file_is(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_folder_is_a_tree_of_source_code(tmp_path: Path) -> None:
    assert kind_of(str(tmp_path)) == "code"


def test_what_no_reader_fits_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its name does not say what it is; say so: one of warc, arc"):
        kind_of("file.bin")
    with pytest.raises(ValueError, match="there is no reader 'wrac'.*did you mean 'warc'"):
        documents("a.txt", Ledger("read"), "wrac")
    with pytest.raises(DiskError, match="cannot read"):
        list(documents(str(tmp_path / "missing.txt"), Ledger("read")))


def test_a_named_kind_goes_before_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(gzip.compress(b'{"text": "words"}'))
    assert [document.text for document in documents(str(path), Ledger("read"), "json")] == ["words"]


@pytest.mark.parametrize("kind", sorted(set(READERS) - {"code"}))
def test_a_line_of_a_hundred_megabytes_is_read_or_counted(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "long"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(b"0123456789abcdef" * (1 << 16))
    ledger = Ledger("read")
    longest = max((len(document.text) for document in documents(str(path), ledger, kind)), default=0)
    ledger.check()
    assert ledger.rows_read > 0
    assert longest <= 20 << 20
