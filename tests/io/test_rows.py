from __future__ import annotations

import gzip
import json
import random
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.files import DiskError
from tutelage.io.data_files import data_files
from tutelage.io.decompress import Damage
from tutelage.io.row import BrokenRow
from tutelage.io.rows import MAX_ROW, rows, scan_rows

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=6)


def is_row(row: Any) -> bool:
    return "prompt" in row


def read(path: Path) -> list[Any]:
    """Every row, or the reason it is none, without its place."""
    return [str(row) if isinstance(row, BrokenRow) else row for _, row in rows(path, is_row)]


def places(path: Path) -> list[str]:
    return [place for place, _ in rows(path, is_row)]


def zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)


def parquet(content: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(content), sink)
    return sink.getvalue().to_pybytes()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, "gzip": gzip.compress, "zst": zstd}
TWO = [{"prompt": "One?", "completion": "1"}, {"prompt": "Two?", "completion": "2"}]
LAYOUTS: dict[str, tuple[bytes, str]] = {
    "lines": (b"\n".join(json.dumps(row).encode() for row in TWO), ":"),
    "list": (json.dumps(TWO).encode(), "#"),
    "indented list": (b"\xef\xbb\xbf\n" + json.dumps(TWO, indent=2).encode() + b"\n", "#"),
    "object": (json.dumps({"version": 1, "rows": TWO}, indent=1).encode(), "#"),
    "object in a line": (json.dumps({"version": 1, "rows": TWO}).encode(), "#"),
    "parquet": (parquet(TWO), "#"),
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_in_every_packing_whatever_its_name(layout: str, packing: str, tmp_path: Path) -> None:
    content, mark = LAYOUTS[layout]
    path = tmp_path / "rows"
    path.write_bytes(PACKINGS[packing](content))
    assert read(path) == TWO
    assert places(path) == [f"rows{mark}1", f"rows{mark}2"]


@given(OBJECTS, st.sampled_from((None, 0, 1)), st.booleans())
def test_a_list_is_read_as_a_full_decoder_reads_it(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]], indent: int | None, escaped: bool
) -> None:
    path = tmp_path_factory.mktemp("rows") / "list.json"
    path.write_text(json.dumps(objects, indent=indent, ensure_ascii=escaped), encoding="utf-8", newline="")
    assert read(path) == objects


@pytest.mark.parametrize("chunk", [8, 9, 20, 50])
def test_where_a_list_is_cut_into_chunks_makes_no_difference(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = [{"a": 'quo"te, [brack}et\\', "b": [[1, {"c": "\\"}], {}]}, {}, {"é": '\\\\" ]'}]
    (tmp_path / "list.json").write_text(json.dumps(objects, ensure_ascii=False), encoding="utf-8")
    monkeypatch.setattr("tutelage.io.json_rows.CHUNK", chunk)
    monkeypatch.setattr("tutelage.io.json_rows.FIRST_TRY", chunk)
    assert read(tmp_path / "list.json") == objects


def test_a_broken_element_of_a_list_breaks_no_other(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(b'[{"a": 1}, 7, "x, [", {"a": tru}, [{"a": 1}], {"a": "\xff"}, {"a": 2}, null]')
    assert [place for place, row in rows(path, is_row) if not isinstance(row, BrokenRow)] == [
        "list.json#1",
        "list.json#7",
    ]
    reasons = [row.reason for _, row in rows(path, is_row) if isinstance(row, BrokenRow)]
    beside = "not a JSON object"
    assert reasons == [beside, beside, "not JSON", beside, "invalid UTF-8", beside]


@pytest.mark.parametrize("content", [b"[", b'[{"a": 1}, {"a"', b'[{"a": 1}, "x'])
def test_a_list_that_is_not_closed_is_damaged_after_the_rows_before(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_bytes(content)
    placed_rows = rows(tmp_path / "list.json", is_row)
    read_rows = 0
    reason = "unterminated JSON list|truncated"
    with pytest.raises(ValueError, match=rf"list.json is damaged (before its first row|after row 1) \(({reason})\)"):
        for _ in placed_rows:
            read_rows += 1
    assert read_rows == content.count(b"}")


def test_several_lists_are_rows_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('[\n{"a": 1}]\n[{"a": 2}]')
    assert read(tmp_path / "list.json") == [{"a": 1}, {"a": 2}]


def test_lines_that_are_lists_are_broken_rows(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('[{"a": 1}]\n[{"a": 2}]')
    assert places(tmp_path / "list.json") == ["list.json:1", "list.json:2"]
    assert read(tmp_path / "list.json") == ["not a JSON object (a row must be {...})"] * 2


def test_one_object_is_a_row_or_holds_a_list(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"prompt": [{"role": "user"}], "other": [1]}, indent=2))
    assert read(path) == [{"prompt": [{"role": "user"}], "other": [1]}]
    path.write_text(json.dumps({"train": [{}], "test": [{}]}, indent=2))
    assert read(path) == ["several lists in one object ('train', 'test')"]
    path.write_text(json.dumps({"version": 1}, indent=2))
    assert read(path) == [{"version": 1}]
    path.write_text(json.dumps({"rows": [{"a": 1}, 7]}))
    assert read(path) == [{"a": 1}, "not a JSON object (a row must be {...})"]


def test_lines_whose_first_is_broken_are_lines_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "cut o\n\n{"prompt": "whole"}\n')
    assert read(path) == ["not JSON (JSON is malformed: invalid character (byte 17))", None, {"prompt": "whole"}]
    assert places(path) == [f"rows.jsonl:{line}" for line in (1, 2, 3)]


def test_a_parquet_row_has_the_fields_it_had(tmp_path: Path) -> None:
    """All rows of a nested column share their fields, and null stands for what a row did not have."""
    nested = [{"messages": [{"role": "user", "call": {"a": 1}}]}, {"messages": [{"role": "tool", "call": {"b": 2}}]}]
    (tmp_path / "rows.parquet").write_bytes(parquet(nested))
    assert read(tmp_path / "rows.parquet") == nested


@pytest.mark.parametrize("layout", ["lines", "list", "parquet"])
@pytest.mark.parametrize("packing", ["gzip", "zst"])
@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_a_damaged_archive_gives_the_rows_before_and_an_error(
    layout: str, packing: str, damage: str, tmp_path: Path
) -> None:
    noise = random.Random(0)
    many = [{"prompt": f"{number}?", "completion": noise.randbytes(300).hex()} for number in range(3000)]
    content = {
        "lines": b"\n".join(json.dumps(row).encode() for row in many),
        "list": json.dumps(many).encode(),
        "parquet": parquet(many),
    }[layout]
    packed = PACKINGS[packing](content)
    half = len(packed) * 2 // 3
    path = tmp_path / "rows"
    path.write_bytes(packed[:half] + (b"" if damage == "cut off" else b"\0" * 4000 + packed[half + 4000 :]))
    read_rows: list[Any] = []
    problem = ""
    try:
        read_rows.extend(row for _, row in rows(path, is_row))
    except ValueError as error:
        problem = str(error)
    damaged = re.search(r"is damaged (after (line|row) \d+|before its first row) \(.+\); download", problem)
    # Without a checksum, wrong content of a zst frame may be found only by the rows that it breaks.
    assert damaged or (packing == "zst" and any(isinstance(row, BrokenRow) for row in read_rows))
    intact = [row for row in read_rows if isinstance(row, dict)]
    # Up to the damage; what a gzip stream yields between a wrong byte and the error is not known to be wrong.
    assert intact[:1000] == ([] if layout == "parquet" else many[:1000])


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_large_parquet_file_is_read_in_every_packing(packing: str, tmp_path: Path) -> None:
    noise = random.Random(0)
    many = [{"prompt": noise.randbytes(300).hex()} for _ in range(6000)]
    (tmp_path / "rows").write_bytes(PACKINGS[packing](parquet(many)))
    assert read(tmp_path / "rows") == many


def test_a_damaged_parquet_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(parquet(TWO)[:-20])
    with pytest.raises(ValueError, match="rows.parquet is damaged before its first row"):
        read(tmp_path / "rows.parquet")


def test_a_line_too_long_is_dropped_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": 1}\n')
    with path.open("r+b") as file:
        file.seek(MAX_ROW * 3)  # a hole in the file, which takes no room on the disk and reads as zeros
        file.write(b'\n{"prompt": 2}\n')
    tracemalloc.start()
    placed_rows = read(path)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert placed_rows == [{"prompt": 1}, "larger than 64 MiB", {"prompt": 2}]
    assert held < MAX_ROW * 2.5


@pytest.mark.parametrize("layout", ["lines", "list"])
def test_memory_does_not_grow_with_the_file(layout: str, tmp_path: Path) -> None:
    row = json.dumps({"prompt": "word " * 600})
    path = tmp_path / "rows"
    path.write_text("\n".join([row] * 6000) if layout == "lines" else f"[{','.join([row] * 6000)}]")
    tracemalloc.start()
    count = sum(1 for _ in rows(path, is_row))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 6000
    assert held < 4 * 2**20 < path.stat().st_size / 4


def test_a_path_means_a_file_a_folder_or_a_pattern(tmp_path: Path) -> None:
    names = ("b.jsonl", "a.json.gz", "c.parquet.zst", "README.md", ".hidden.json", "d.jsonl.bak")
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "inner.json").mkdir()
    assert [file.name for file in data_files(tmp_path)] == ["a.json.gz", "b.jsonl", "c.parquet.zst"]
    assert [file.name for file in data_files(tmp_path / "*.json*")] == [
        "a.json.gz",
        "b.jsonl",
        "d.jsonl.bak",
    ]
    assert data_files(tmp_path / "README.md") == [tmp_path / "README.md"]
    with pytest.raises(DiskError, match="cannot read .*none.jsonl: no such file or directory; check the path"):
        data_files(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match=r"no file matches .*none\*; check the pattern"):
        data_files(tmp_path / "none*")
    with pytest.raises(ValueError, match="inner.json is a folder without a file of rows"):
        data_files(tmp_path / "inner.json")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize(("name", "delimiter"), [("rows.csv", ","), ("rows", "\t"), ("rows.tsv", "\t"), ("rows", ";")])
def test_a_table_of_text_is_read_with_its_header(name: str, delimiter: str, packing: str, tmp_path: Path) -> None:
    lines = ["prompt|completion|n", '"One,\nor ""two""?"|1;\t,|', "", '"Ä|"|2|7']
    if delimiter == ";":
        lines[1] = lines[1].replace("1;\t,", '"1;\t,"')
    content = "\r\n".join(line.replace("|", delimiter) for line in lines)
    content = content.replace("1;\t,", '"1;\t,"') if delimiter != ";" else content
    (tmp_path / name).write_bytes(PACKINGS[packing](b"\xef\xbb\xbf" + content.encode()))
    odd = f"Ä{delimiter}"
    first = {"prompt": 'One,\nor "two"?', "completion": "1;\t,"}  # an empty cell is no field
    assert read(tmp_path / name) == [first, None, {"prompt": odd, "completion": "2", "n": "7"}]
    assert places(tmp_path / name) == [f"{name}#{number}" for number in (1, 2, 3)]


def test_broken_rows_of_a_table_are_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'a,b\n1,2,3\n1\n"x"y,2\n\xff,2\n1,2\n"1,2\n')
    assert read(path) == [
        "wrong number of cells (3; the header has 2)",
        "wrong number of cells (1; the header has 2)",
        "not CSV (',' expected after '\"')",
        "invalid UTF-8",
        {"a": "1", "b": "2"},
        "not CSV (unexpected end of data)",
    ]


@pytest.mark.parametrize("content", ["Hello, world\nand so on\n", "One line, with commas\n", "a b\nc d\n", ""])
def test_text_is_no_table(content: str, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text(content)
    assert not any(isinstance(row, dict) for row in read(tmp_path / "rows.txt"))


def test_a_table_with_one_column_is_known_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt\nOne\nTwo\n")
    assert read(tmp_path / "rows.csv") == [{"prompt": "One"}, {"prompt": "Two"}]


def test_a_null_of_a_table_is_no_field(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(parquet([{"a": None, "b": [{"c": None, "d": 1}]}, {"a": 1, "b": None}]))
    assert read(tmp_path / "rows.parquet") == [{"b": [{"d": 1}]}, {"a": 1}]


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("cp1252", "Windows-1252"),
        ("gbk", "in another encoding"),
    ],
)
@pytest.mark.parametrize("layout", ["lines", "list", "csv"])
def test_another_encoding_is_named(layout: str, encoding: str, named: str, tmp_path: Path) -> None:
    word = "蓝色的大门" if encoding == "gbk" else "größer, süß und schön"
    texts = {
        "lines": f'{{"prompt": "{word}"}}\n' * 9,
        "list": json.dumps([{"prompt": word}] * 9, ensure_ascii=False),
        "csv": "prompt,n\n" + f'"{word}",1\n' * 9,
    }
    path = tmp_path / "rows"
    path.write_bytes(texts[layout].encode(encoding))
    with pytest.raises(ValueError, match=f"rows is {named}; save it as UTF-8"):
        read(path)
    lenient = [row.value for row in scan_rows(path, is_row, lenient=True)]
    if encoding.startswith("utf"):
        assert lenient == [Damage(f"file in {named}; save it as UTF-8")]
    elif encoding == "cp1252":
        assert {row["prompt"] for row in lenient} == {word}


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n")
    with pytest.raises(ValueError, match=r"is a Git LFS pointer; .*: git lfs pull --include '\*rows.parquet'"):
        read(path)


def test_an_object_over_lines_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('{"data": [\n{"a": 1},\n{"a": 2}\n], "keys": ["a"]}')
    assert read(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{\n "a": 1\n}\n{\n "a": 2\n}\n')
    assert read(path) == [{"a": 1}, {"a": 2}]
    assert places(path) == ["rows.json#1", "rows.json#2"]


def test_f05_an_object_that_goes_on_in_the_next_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "A?"}\n{\n"prompt": "B?"}\n')
    assert read(path)[1] == "not JSON (the line ends before its object does; write each object in one line)"


@pytest.mark.parametrize("layout", ["lines", "list"])
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("content", '{"prompt": "Q?", "messages": [{"content": "Nine.", "content": "Ten."}]}'),
        ("weight", '{"prompt": "Q?", "weight": 1, "weight": 0}'),
        ('"a', '{"prompt": "\\"Q?\\u0022", "\\u0022a": {"b": [1]}, "\\"a": {"b": [1, 2]}}'),
    ],
)
def test_f04_a_field_twice_is_a_broken_row(name: str, row: str, layout: str, tmp_path: Path) -> None:
    good = '{"prompt": "\\u0022Q\\" \\/?", "id": 1, "id": 1, "other": "\\\\"}'  # the same value twice is no loss
    path = tmp_path / "rows.json"
    path.write_text("\n".join((good, row)) if layout == "lines" else f"[{good}, {row}]")
    first, second = read(path)
    assert first == {"prompt": '"Q" /?', "id": 1, "other": "\\"}
    assert second == f"a field twice, with different values ({name!r}; keep one of the two values)"


def test_f04_a_column_twice_is_a_broken_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion,completion\nQ?,A,B\nQ?,A,A\nQ?,A,\n")
    broken = "a field twice, with different values ('completion'; keep one of the two values)"
    assert read(path) == [broken, *[{"prompt": "Q?", "completion": "A"}] * 2]
