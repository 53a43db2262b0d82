from __future__ import annotations

import datetime
import gzip
import io
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from tutelage.corpus.read import rows
from tutelage.corpus.read.rows import row_documents, text_documents
from tutelage.corpus.shards import read_documents, write_documents
from tutelage.io import decompress
from tutelage.ledger import Ledger
from tutelage.records import Document


def read(reader: Any, content: bytes, name: str = "file") -> tuple[list[Document], dict[str, int], Ledger]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        ledger = Ledger("read")
        documents = list(reader(str(path), ledger))
    ledger.check()
    assert ledger.rows_kept == len(documents)
    return documents, {reason: dropped.rows for reason, dropped in ledger.dropped.items()}, ledger


def test_a_row_keeps_its_words_and_its_numbers() -> None:
    row = {
        "id": 7,
        "text": "words",
        "url": "http://a.org",
        "score": 2.5,
        "meta": {"source": "web", "n": 3},
        "flag": True,
    }
    documents, _, _ = read(row_documents, json.dumps(row).encode())
    assert documents == [
        Document("words", "7", {"url": "http://a.org", "source": "web"}, facts={"score": 2.5, "n": 3, "flag": True})
    ]


def test_a_row_without_an_id_is_named_by_its_place() -> None:
    documents, _, _ = read(row_documents, b'{"text": "one"}\n\n{"content": "two"}\n')
    assert [document.text for document in documents] == ["one", "two"]
    assert [document.id.rpartition(":")[2] for document in documents] == ["0", "17"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut', "not JSON"),
        (b'{"a": ' + b"[" * 100_000, "not JSON"),
        (b'{"text": 3}', "text is not a string"),
        (b'{"other": "x"}', "no field text or content or raw_content or body or html; the row has other"),
        (b'["text"]', "not a JSON object"),
        (b'{"text": " \\n"}', "empty"),
        (bytes(range(9)) * 20, "not text"),
    ],
)
def test_a_row_that_is_none_is_counted_and_the_next_is_read(line: bytes, reason: str) -> None:
    documents, dropped, ledger = read(row_documents, line + b'\n{"text": "next"}\n')
    assert [document.text for document in documents] == ["next"]
    assert dropped == {reason: 1}
    assert ledger.dropped[reason].examples[0].endswith("file:0")


def test_a_line_of_another_encoding_is_read_and_noted() -> None:
    text = "Grüße aus Köln, schöne Straße, größere Häuser"
    content = b'{"text": "good"}\n' + f'{{"text": "{text}"}}\n'.encode("latin-1") + b'{"text": "good"}\n'
    documents, _, ledger = read(row_documents, content)
    assert [document.text for document in documents] == ["good", text, "good"]
    assert ledger.noted["invalid JSON, read leniently"].rows == 1


def test_half_a_character_can_be_written_again() -> None:
    documents, _, _ = read(row_documents, b'{"text": "a\\ud800b \\u00e9"}')
    assert documents[0].text.encode().decode() == documents[0].text


def test_a_line_too_long_is_skipped_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_RECORD_BYTES", 1 << 16)
    content = b'{"text": "' + b"a" * (5 << 16) + b'"}\n{"text": "next"}\n'
    documents, dropped, _ = read(row_documents, content)
    assert [document.text for document in documents] == ["next"]
    assert sum(dropped.values()) == 1


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("packer", [bytes, gzip.compress])
def test_a_list_in_a_json_file_is_read_as_rows(indent: int | None, packer: Any) -> None:
    made = [{"text": f"row {number}", "n": number, "more": [{"text": "no"}]} for number in range(2000)]
    documents, dropped, _ = read(row_documents, packer(json.dumps(made, indent=indent).encode()))
    assert [document.text for document in documents] == [row["text"] for row in made]
    assert documents[6].id.endswith("file#7")
    assert documents[6].facts == {"n": 6}
    content = json.dumps([*made[:3], "text", {"text": 3}, *made[3:]], indent=indent).encode()
    documents, dropped, ledger = read(row_documents, packer(content[: len(content) // 2]))
    assert [document.text for document in documents] == [row["text"] for row in made[: len(documents)]]
    assert 900 < len(documents) < 1100
    assert dropped == {"not a JSON object": 1, "text is not a string": 1, "truncated": 1}
    assert ledger.dropped["not a JSON object"].examples[0].endswith("file#4")


@pytest.mark.parametrize("indent", [None, 4])
def test_a_single_object_is_a_row(indent: int | None) -> None:
    documents, _, _ = read(
        row_documents, json.dumps({"text": "words\n{", "list": [1, {"a": 2}]}, indent=indent).encode()
    )
    assert [document.text for document in documents] == ["words\n{"]


def test_a_damage_within_a_list_costs_the_rows_it_fell_into() -> None:
    made = [{"text": os.urandom(500).hex()} for _ in range(1000)]
    content = json.dumps(made).encode()
    members = [gzip.compress(content[at : at + 50_000]) for at in range(0, len(content), 50_000)]
    members[7] = members[7][:5000] + b"\xff" * 9 + members[7][5009:]
    documents, dropped, ledger = read(row_documents, b"".join(members))
    found = [document.text for document in documents]
    assert len(found) > 940 and found == [row["text"] for row in made if row["text"] in set(found)]
    assert dropped == {"corrupt compressed data": 1, "not JSON": 1}
    assert ledger.noted["compressed bytes lost"].rows > 20_000


def test_rows_before_and_behind_a_damage_are_read() -> None:
    lines = [json.dumps({"text": f"row {number}"}).encode() + b"\n" for number in range(9)]
    members = [gzip.compress(line) for line in lines]
    members[4] = members[4][:15] + b"\xff" * 9 + members[4][24:]
    documents, dropped, _ = read(row_documents, b"".join(members))
    assert [document.text for document in documents] == [f"row {number}" for number in range(9) if number != 4]
    assert dropped == {"corrupt compressed data": 1}


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300), st.integers(8, 60))
def test_a_text_is_read_whole_and_in_pieces_that_end_with_a_line(text: str, size: int) -> None:
    text = text.replace("\ufeff", "").replace("a", "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "TEXT_BYTES", size)
        documents, _, _ = read(text_documents, text.encode())
    assert "".join(document.text for document in documents).split() == text.split()
    for document in documents:
        assert len(document.text.encode()) <= 2 * size + 3
        begin = int(document.id.rpartition(":")[2])
        assert text.encode()[begin:].startswith(document.text.encode())


def test_a_text_in_utf16_and_bytes_that_are_none() -> None:
    documents, _, _ = read(text_documents, "Wörter".encode("utf-16"))
    assert documents[0].text == "Wörter"
    documents, dropped, _ = read(text_documents, bytes(range(256)) * 20)
    assert (documents, dropped) == ([], {"not text": 1})


def table(columns: Mapping[str, list[Any]], folder: Path) -> bytes:
    path = folder / "made.parquet"
    parquet.write_table(pyarrow.table(columns), path, row_group_size=10)
    return path.read_bytes()


def test_parquet_rows_are_read_like_json_rows(tmp_path: Path) -> None:
    content = table({"text": ["one", "", None, "four"], "url": ["u", "v", "w", "x"], "n": [1, 2, 3, 4]}, tmp_path)
    documents, dropped, _ = read(row_documents, content)
    assert [(d.text, d.meta, d.facts) for d in documents] == [
        ("one", {"url": "u"}, {"n": 1}),
        ("four", {"url": "x"}, {"n": 4}),
    ]
    assert dropped == {"empty": 1, "no field text or content or raw_content or body or html; the row has url, n": 1}


def test_a_row_group_that_cannot_be_read_costs_its_rows(tmp_path: Path) -> None:
    content = table({"text": [f"row {number} {number:x}" * 9 for number in range(30)]}, tmp_path)
    group = parquet.ParquetFile(tmp_path / "made.parquet").metadata.row_group(1).column(0)
    begin = group.dictionary_page_offset or group.data_page_offset
    spoilt = content[:begin] + b"\xff" * group.total_compressed_size + content[begin + group.total_compressed_size :]
    documents, dropped, _ = read(row_documents, spoilt)
    assert len(documents) == 20
    assert dropped == {"unreadable row group": 10}


def test_a_long_text_that_stands_in_very_many_rows_is_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress, "BOMB_BYTES", 4 << 20)
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, None] * 5000, pyarrow.int32()), ["w" * 300_000])
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "made.parquet", store_schema=False)
    documents, dropped, ledger = read(row_documents, (tmp_path / "made.parquet").read_bytes())
    assert ledger.rows_read == 10_000
    assert 10 < len(documents) < 30
    assert dropped["compression ratio above 200"] > 9900


@given(st.binary(max_size=500).filter(lambda noise: not noise.startswith(b"version https://git-lfs")))
def test_random_bytes_are_counted_and_never_fatal(noise: bytes) -> None:
    for reader in (row_documents, text_documents):
        read(reader, noise)
        read(reader, b"PAR1" + noise + b"PAR1")


PAGE = "<html><head></head><body><p>Words.</p></body></html>"


@pytest.mark.parametrize(
    "begin", ["", "<!DOCTYPE html>\n", " \n<!doctype HTML>", '<?xml version="1.0"?>', "<!-- x -->\n"]
)
@pytest.mark.parametrize("field", ["text", "content", "body"])
def test_html_in_rows(field: str, begin: str) -> None:
    (document,), _, _ = read(row_documents, json.dumps({field: begin + PAGE}).encode())
    assert document.meta == {"content_type": "text/html"}


@pytest.mark.parametrize("text", ["<p>A part.</p>", "How to write <html> in a page", "<htmlx>", "<!DOCTYPE svg>"])
def test_html_in_rows_is_known_by_its_first_tag_only(text: str) -> None:
    (document,), _, _ = read(row_documents, json.dumps({"text": text}).encode())
    assert document.meta == {}


def test_html_in_rows_of_source_code_is_code() -> None:
    row = {"content": PAGE, "path": "a/index.html", "language": "HTML"}
    (document,), _, _ = read(row_documents, json.dumps(row).encode())
    assert "content_type" not in document.meta


def test_row_metadata_comes_out_as_it_was() -> None:
    row = {"id": 1, "text": "words", "labels": ["law", 2], "good": True, "bad": False, "quality": {"z": 0.9, "a": None}}
    row |= {"long": "x" * 5000, "n": 3, "big": 1 << 70, "none": None, "metadata": {"tags": ["a"], "inner": {"k": "v"}}}
    (document,), _, _ = read(row_documents, json.dumps(row).encode())
    assert document.facts == {"good": True, "bad": False, "n": 3}
    assert [type(value) for value in document.facts.values()] == [bool, bool, int]
    texts = {"labels": '["law",2]', "quality": '{"z":0.9,"a":null}', "long": "x" * 5000, "big": str(1 << 70)}
    assert document.meta == texts | {"tags": '["a"]', "inner": '{"k":"v"}'}
    for suffix in (".jsonl.zst", ".parquet"):
        with TemporaryDirectory() as folder:
            write_documents(Path(folder) / f"a{suffix}", [document])
            (again,) = read_documents(Path(folder) / f"a{suffix}")
        assert again == document
        assert type(again.facts["good"]) is bool


def test_row_metadata_of_parquet() -> None:
    table = pyarrow.table(
        {"text": ["words"], "tags": [["a", "b"]], "good": [True], "when": [datetime.date(2024, 1, 2)], "raw": [b"x"]}
    )
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    (document,), _, ledger = read(row_documents, sink.getvalue(), "a.parquet")
    assert (document.meta, document.facts) == ({"tags": '["a","b"]', "when": "2024-01-02"}, {"good": True})
    assert list(ledger.noted) == ["binary field left out: raw"]


def test_text_field_and_id_are_named() -> None:
    content = b'{"key": 7, "article": "words", "body": "x"}\n{"key": 8, "wikitext": "words"}'
    documents, reasons, _ = read(partial(row_documents, text="article", id="key"), content)
    assert documents == [Document("words", "7", {"body": "x"})]
    assert reasons == {"no field article; the row has key, wikitext": 1}
    single = json.dumps({"article": "words", "links": [{"a": 1}]}).encode()
    assert read(partial(row_documents, text="article"), single)[0][0].text == "words"


def test_text_field_that_is_missing_is_told_with_those_that_are_there() -> None:
    rows = [{f"field{n}": "words"} for n in range(1000)]
    _, reasons, _ = read(row_documents, b"\n".join(json.dumps(row).encode() for row in rows))
    assert "no field text or content or raw_content or body or html; the row has field0" in reasons
    assert len(reasons) < 30
    assert sum(reasons.values()) == 1000
