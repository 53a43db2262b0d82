from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.io import json_rows as module
from tutelage.io.byte_reader import ByteReader
from tutelage.io.decompress import Damage
from tutelage.io.json_rows import json_values
from tutelage.io.row import BrokenRow

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

NOT_NULL = VALUES.filter(lambda value: value is not None)


def read(content: bytes, piece: int = 7, longest: int = 1 << 20, lenient: bool = True) -> list[Any]:
    """The values, and of each that is broken why, as {"broken": ...}."""
    pieces: Iterator[bytes] = (content[at : at + piece] for at in range(0, len(content), piece))
    values = [row.value for row in json_values(ByteReader(pieces), longest, lenient)]
    return [{"broken": value.reason} if isinstance(value, BrokenRow | Damage) else value for value in values]


@given(
    st.lists(NOT_NULL, max_size=6),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.integers(1, 40),
)
def test_a_list_is_read_as_its_elements(values: list[Any], indent: int | None, ascii_only: bool, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FIRST_TRY", 8)  # so that values are cut at every place
        content = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
        assert read(content, piece) == values
        content = "\n".join(json.dumps(value, indent=indent) for value in values if isinstance(value, dict)).encode()
        assert read(content, piece) == [value for value in values if isinstance(value, dict)]


ROWS = [{"id": n, "text": f'{{"id": "x{n}"}}, [brackets', "more": [{"b": n}, {"c": []}]} for n in range(9)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"id": 4', '"id": 4,,'), ('"id": 4', '"id" 4'), ('{"id": 4', '"id": 4'), ('"id": 4', "'id': 4"),
        ('{"c": []}]}', '{"c": []}]'), ('{"c": []}]}', '{"c": []}}'), ('{"b": 4}', '{"b": 4'),
        ('"text": "{', '"text": {'), ('brackets"', "brackets"),
    ],
)  # fmt: skip
def test_a_broken_element_costs_itself(indent: int | None, before: str, after: str) -> None:
    written = [json.dumps(row) for row in ROWS]
    assert before in written[4]
    written[4] = written[4].replace(before, after)
    between = ",\n  " if indent else ", "
    found = read(("[" + between.join(written) + "]").encode())
    assert [row for row in found if isinstance(row, dict) and "broken" not in row] == ROWS[:4] + ROWS[5:]
    assert found.count({"broken": "not JSON"}) == 1


def test_a_broken_element_with_balanced_brackets_does_not_hide_what_begins_inside_of_it() -> None:
    content = b'[{"a": 1}, {"a": tru}, [{"a": 1}], {"a": 2}, {"b": {"a": 1}, "c": }, {"a": 3}]'
    assert read(content) == [{"a": 1}, {"broken": "not JSON"}, [{"a": 1}], {"a": 2}, {"broken": "not JSON"}, {"a": 3}]


def test_strict_rows_are_utf_8_and_json_only() -> None:
    content = b'[{"a": NaN}, {"a": "\xff"}, {"a": "\\ud800"}, null, {"a": 2}]'
    reasons = ["not JSON", "invalid UTF-8", "not JSON", "not a JSON object"]
    assert read(content, lenient=False) == [*({"broken": reason} for reason in reasons), {"a": 2}]


def test_a_damage_comes_after_the_rows_before_it() -> None:
    pieces = [b'[{"a": 1}, {"a": 2}, {"a', Damage("broken", 5, 9), b'": 4}, {"a": 5}]']
    values = [row.value for row in json_values(ByteReader(iter(pieces)), 1000, True)]
    assert values[:3] == [{"a": 1}, {"a": 2}, Damage("broken", 5, 9)]
    assert values[-1] == {"a": 5}


def test_a_broken_first_element_costs_itself() -> None:
    assert read(b'[{"a": ' + b"9" * 5000 + b'}, {"a": 2}]') == [{"broken": "not JSON"}, {"a": 2}]
    assert read(b'[{"a": 1,}, {"a": 2}]') == [{"broken": "not JSON"}, {"a": 2}]
    assert read(b'[\n  {"a": },\n  {"b": 2}\n]') == [{"broken": "not JSON"}, {"b": 2}]


@given(st.integers(0, 400))
def test_wherever_a_list_is_cut_its_beginning_is_read(cut: int) -> None:
    content = json.dumps(ROWS).encode()[:-1]
    found = read(content[:cut])
    good = [row for row in found if "broken" not in row]
    assert good == ROWS[: len(good)]
    assert len(found) == len(good) + bool(cut)


def test_what_stands_behind_a_list_is_read_too() -> None:
    assert read(b'[{"a": 1}] [{"a": 2}]\n{"a": 3} {"a": 4}') == [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}]
    assert read(b'[{"a": 1}], {"a": 2}]') == [{"a": 1}, {"a": 2}, {"broken": "truncated"}]


def test_memory_does_not_grow_with_the_list() -> None:
    row = json.dumps({"text": "word " * 1000}).encode() + b",\n"
    pieces = chain([b"["], repeat(row, 2000), [b"{}]"])  # ten million bytes
    tracemalloc.start()
    count = sum(1 for _ in json_values(ByteReader(iter(pieces)), 1 << 20, True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, peak < 2 << 20) == (2001, True)


def test_a_value_too_large_is_left_out() -> None:
    content = json.dumps([{"a": "x"}, {"a": "y" * 300_000}, {"a": "z"}]).encode()
    assert read(content, 5000, 100_000) == [{"a": "x"}, {"broken": "larger than 0 MiB"}, {"a": "z"}]


def test_an_element_in_another_encoding_is_read_and_noted() -> None:
    rows = [{"text": "Grüße aus Köln, schöne Straße, größere Häuser"}, {"text": "Ελλάδα"}]
    content = b"[" + json.dumps(rows[0], ensure_ascii=False).encode("latin-1")
    content += b"," + json.dumps(rows[1], ensure_ascii=False).encode() + b"]"
    pieces = iter([content])
    found = list(json_values(ByteReader(pieces), 1000, True))
    assert [one.value for one in found] == rows
    assert [one.remark for one in found] == ["JSON not in UTF-8", ""]


@pytest.mark.parametrize(
    "content",
    [
        b'[{"a":' * 100_000,
        b"[" * 300_000,
        b'{"a": "' * 50_000,
        b"[{" * 100_000,
        b'["\\"' * 50_000,
        b"[" + b'"' * 9_999,
    ],
)
def test_a_text_made_to_hang_does_not(content: bytes) -> None:
    assert read(content, 1 << 16, 1 << 17)


@given(st.binary(max_size=300) | st.text('[]{}",:\\ \n1a', max_size=300).map(str.encode))
def test_random_bytes_never_raise(noise: bytes) -> None:
    for start in (b"[", b"[{", b'{"a": 1} '):
        read(start + noise)
