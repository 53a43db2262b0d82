from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import docx as word_files
import msgspec
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pyarrow_parquet

from tutelage.corpus.read import READERS, documents, kind_of
from tutelage.corpus.shards import to_row
from tutelage.files import DiskError
from tutelage.io import decompress
from tutelage.ledger import Ledger
from tutelage.records import Document


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.warc.gz", "warc"), ("CC-MAIN.warc.wet.gz", "warc"), ("s3://bucket/a.arc.gz", "arc"), ("a.HTML", "html"),
        ("a.jsonl.zst", "json"), ("a.jsonl.zstd", "json"),
        ("a.parquet", "parquet"), ("a.docx", "docx"), ("a.tsv.zst", "csv"), ("a.pdf", "pdf"),
        ("pages-articles.xml.bz2", "xml"), ("a.txt", "text"), ("github://owner:repo@main/src/", "code"),
    ],
)  # fmt: skip
def test_a_name_says_what_a_file_is(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_folder_is_a_tree_of_source_code(tmp_path: Path) -> None:
    assert kind_of(str(tmp_path)) == "code"


def test_what_no_reader_fits_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown file type; set reader=NAME to read all files as one of warc, arc"):
        kind_of("file.bin")
    with pytest.raises(ValueError, match="there is no reader 'wrac'.*did you mean 'warc'"):
        documents("a.txt", Ledger("read"), "wrac")
    with pytest.raises(DiskError, match="cannot read"):
        list(documents(str(tmp_path / "missing.txt"), Ledger("read")))


def test_a_named_kind_goes_before_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(gzip.compress(b'{"text": "words"}'))
    assert [document.text for document in documents(str(path), Ledger("read"), "json")] == ["words"]


def read_file(path: Path, kind: str) -> tuple[list[Document], Ledger]:
    """What a reader makes of a file; its ledger adds up, and every example of a drop names the file."""
    ledger = Ledger("read")
    found = list(documents(str(path), ledger, kind))
    ledger.check()
    assert ledger.rows_out == len(found)
    for dropped in ledger.dropped.values():
        assert dropped.examples and all(str(path) in place for place in dropped.examples)
    for document in found:
        document.text.encode()
    return found, ledger


@pytest.mark.parametrize("kind", sorted(READERS))
def test_a_line_of_a_hundred_megabytes_is_read_or_counted(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    with path.open("wb") if kind == "code" else gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(b"0123456789abcdef" * (1 << 16))
    found, ledger = read_file(path, kind)
    assert ledger.rows_read > 0
    assert max((len(document.text) for document in found), default=0) <= 20 << 20


def pdf(words: str) -> bytes:
    content = f"BT /F1 24 Tf 72 700 Td ({words}) Tj ET"
    font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents 4 0 R >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
    ]
    body = "".join(f"{number} 0 obj\n{part}\nendobj\n" for number, part in enumerate(parts, 1))
    return f"%PDF-1.4\n{body}trailer\n<< /Size 5 /Root 1 0 R >>\n%%EOF".encode()


def docx(words: str) -> bytes:
    document = word_files.Document()
    document.add_paragraph(words)
    document.save(file := io.BytesIO())
    return file.getvalue()


def parquet(rows: int) -> bytes:
    sink = io.BytesIO()
    table = pyarrow.table({"text": [f"row {number} of words" for number in range(rows)]})
    pyarrow_parquet.write_table(table, sink, row_group_size=2)
    return sink.getvalue()


def page(number: int) -> bytes:
    body = f"<p>page {number} with words</p>".encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def warc(number: int) -> bytes:
    head = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/\r\nContent-Length: %d\r\n\r\n"
    return head % len(page(number)) + page(number) + b"\r\n\r\n"


def tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


# Whole files of every kind, in parts that a packer may pack one by one.
WHOLE = {
    "warc": [warc(number) for number in range(4)],
    "arc": [b"http://a.org/ 1.2.3.4 20140102030405 text/html %d\n" % len(page(n)) + page(n) + b"\n" for n in range(4)],
    "html": [b"<html><p>Words", b" of a page, <b>bold</b>.</p></html>"],
    "text": [f"Line {number} of words, Größe.\n".encode() for number in range(6)],
    "json": [b'{"text": "row %d", "n": [1, {"a": 2}]}\n' % number for number in range(5)],
    "parquet": [parquet(6)],
    "csv": [b"text,n\n", *(b'"row %d,\nof words",%d\n' % (number, number) for number in range(5))],
    "pdf": [pdf("Some words")],
    "docx": [docx("Some words")],
    "xml": [
        b"<mediawiki>\n",
        *(b"<page><title>T%d</title><revision><text>Words %d.</text></revision></page>\n" % (n, n) for n in range(4)),
        b"</mediawiki>",
    ],
    "posts": [
        b"<posts>\n",
        *(b'<row Id="%d" PostTypeId="1" Title="T" Body="&lt;p&gt;Words %d" />\n' % (n, n) for n in range(4)),
        b"</posts>",
    ],
    "list": [b'[{"text": "row 0"}', *(b', {"text": "row %d", "n": {"text": 1}}' % n for n in range(1, 5)), b"]"],
    "code": [b"def words():\n    return 'of code'\n"],
    "archive": [tar({"a.txt": b"Words of a text.", "b/c.jsonl": b'{"text": "row 1"}'})],
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def written(folder: Path, kind: str, content: bytes) -> tuple[list[Document], Ledger]:
    path = folder / "file.py"
    path.write_bytes(content)
    return read_file(path, "json" if kind == "list" else kind)


def test_every_reader_has_a_whole_file_here() -> None:
    assert set(WHOLE) - {"list"} == set(READERS)


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_file_is_read_whole(kind: str, packer: str, tmp_path: Path) -> None:
    if packer != "plain" and kind in ("parquet", "code"):
        return
    found, ledger = written(tmp_path, kind, b"".join(PACKERS[packer](part) for part in WHOLE[kind]))
    assert found and not ledger.dropped
    assert all("ords" in document.text or "row" in document.text for document in found)


@pytest.mark.parametrize("kind", sorted({*WHOLE} - {"pdf"}))  # which is read in a process of its own: see test_pages
@given(data=st.data())
def test_a_file_of_random_bytes_is_counted(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packer = PACKERS[data.draw(st.sampled_from(list(PACKERS)))]
    start = data.draw(st.sampled_from([b"", WHOLE[kind][0], packer(WHOLE[kind][0]), packer(b"x")[:12]]))
    content = start + data.draw(st.binary(max_size=400))
    if not content.startswith(b"version https://git-lfs"):  # a pointer to a file that is not there
        written(tmp_path_factory.mktemp("noise"), kind, content)


@pytest.mark.parametrize("kind", sorted({*WHOLE} - {"pdf"}))
@given(data=st.data())
def test_a_file_hurt_anywhere_is_read_or_counted(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packer = PACKERS[data.draw(st.sampled_from(list(PACKERS)))]
    content = b"".join(packer(part) for part in WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        gone = data.draw(st.integers(0, 30))
        content = content[:at] + data.draw(st.binary(max_size=30)) + content[at + gone :]
    found, ledger = written(tmp_path_factory.mktemp("hurt"), kind, content)
    assert found or ledger.dropped or ledger.noted or not content.strip()


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kind", ["warc", "arc", "json", "list", "text", "xml", "posts"])
def test_wherever_a_file_is_cut_what_stands_before_is_read(kind: str, packer: str, tmp_path: Path) -> None:
    packed = [PACKERS[packer](part) for part in WHOLE[kind]]
    whole, _ = written(tmp_path, kind, b"".join(packed))
    texts = [document.text for document in whole]
    ends = [sum(map(len, packed[: n + 1])) for n in range(len(packed))]
    for cut in range(0, ends[-1], 7 if packer == "plain" else 11):
        found, ledger = written(tmp_path, kind, b"".join(packed)[:cut])
        complete = sum(end <= cut for end in ends) - (kind in ("xml", "posts"))  # whose first part is no record
        if kind == "text":
            assert texts[0].startswith("".join(document.text for document in found)[:-1])
            continue
        assert [document.text for document in found[: max(0, complete)]] == texts[: max(0, complete)]
        assert len(found) <= complete + 1
        at_an_end = cut in (0, *ends) or packer == "plain"
        assert at_an_end or ledger.dropped or len(found) > complete


@pytest.mark.parametrize("packer", ["gz", "zst", "bz2", "xz"])
@pytest.mark.parametrize("kind", sorted({*READERS} - {"archive", "code", "parquet", "pdf"}))
def test_a_small_file_that_swells_is_left_early(
    kind: str, packer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompress, "BOMB_BYTES", 4 << 20)
    start = PACKERS[packer](b"<posts>" if kind == "posts" else WHOLE[kind][0])
    found, ledger = written(tmp_path, kind, start + PACKERS[packer](b"a" * (6 << 20)) * 50)  # to 300 MiB
    assert sum(len(document.text) for document in found) < 64 << 20
    assert any("compression ratio above 200" in reason for reason in ledger.dropped) or kind in ("html", "docx")
    assert ledger.dropped


def test_what_no_file_can_hold_does_not_come_through(tmp_path: Path) -> None:
    rows = [
        b'{"text": "a\\ud800b", "url": "c\\udfff", "id": "\\udc00d", "e\\ud834": "f", "pair": "\\ud83d\\ude00"}',
        b'{"text": "nan", "n": NaN, "i": 1e999, "m": -Infinity, "big": 1' + b"0" * 400 + b', "fine": 2}',
    ]
    found, _ = written(tmp_path, "json", b"\n".join(rows))
    assert msgspec.json.decode(to_row(found[0]), type=Document) == found[0]
    assert found[0].meta == {"url": "c\ufffd", "e\ufffd": "f", "pair": "😀"}
    assert (found[0].id, found[1].facts) == ("\ufffdd", {"fine": 2})
    folder = tmp_path / "tree"
    folder.mkdir()
    try:
        (folder / os.fsdecode(b"caf\xe9.py")).write_text("x = 1")
    except OSError:
        pytest.skip("this disk takes only names that are UTF-8")
    ledger = Ledger("read")
    (document,) = documents(str(folder), ledger)
    assert document.id == "caf\ufffd.py"
    to_row(document)


def test_lines_in_different_encodings_are_read_and_noted(tmp_path: Path) -> None:
    lines = ["Größe, süße Äpfel\n".encode(), "Größe, süße Äpfel\n".encode("latin-1")] * 3
    for kind, content in {
        "text": b"".join(lines),
        "html": b"<p>" + b"<p>".join(lines),
        "code": b"# " + b"# ".join(lines),
        "json": b"".join(b'{"text": "%s"}\n' % line.strip() for line in lines),
        "list": b"[" + b",".join(b'{"text": "%s"}' % line.strip() for line in lines) + b"]",
    }.items():
        found, ledger = written(tmp_path, kind, content)
        assert "".join(document.text for document in found).count("süße Äpfel") == 6
        assert "\ufffd" not in "".join(document.text for document in found)
        assert ledger.noted and all(note.examples for note in ledger.noted.values())
