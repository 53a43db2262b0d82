from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.io.decode import MIXED, REPLACED, decode, is_binary

RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 3
GERMAN = "Fährt im Jänner über schöne Straßen; größere Häuser, süße Äpfel. " * 3
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 4


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200).filter(lambda text: not text.startswith("\ufeff"))
)
def test_utf8_is_read_as_it_stands_whatever_is_named(text: str) -> None:
    if not text.encode().startswith((b"\xff\xfe", b"\xfe\xff")):
        assert decode(text.encode(), "latin-1") == (text, "")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "windows-1251"),
        (RUSSIAN, "koi8-r"),
        (GERMAN, "windows-1252"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
    ],
)
def test_an_encoding_is_found_by_its_name_or_by_its_looks(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), encoding) == (text, "")
    assert decode(text.encode(encoding)) == (text, "")
    page = f'<html><head><meta charset="{encoding}"></head><body>{text}</body></html>'
    assert decode(page.encode(encoding)) == (page, "")
    assert decode(page.encode(encoding), "no-such-encoding") == (page, "")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_mark_at_the_beginning_decides(encoding: str) -> None:
    assert decode(GERMAN.encode(encoding)) == (GERMAN, "")
    assert not is_binary(GERMAN.encode(encoding))


def test_a_slip_in_a_long_text_does_not_change_its_encoding() -> None:
    content = (RUSSIAN * 9).encode()
    spoilt = content[:3001] + b"\xff" + content[3001:]
    text, remark = decode(spoilt)
    assert remark == REPLACED
    assert text.count("\ufffd") <= 3
    assert "счастливые" in text


OTHERS = [(GERMAN, "windows-1252"), (RUSSIAN, "koi8-r"), (JAPANESE, "shift_jis")]


@pytest.mark.parametrize(("other", "encoding"), OTHERS)
def test_lines_in_different_encodings_are_each_read_in_their_own(other: str, encoding: str) -> None:
    lines = [f"{GERMAN}\n".encode(), f"{other}\n".encode(encoding), b"plain\n"]
    for order in (lines, lines[::-1], lines * 9):
        text, remark = decode(b"".join(order))
        assert remark == MIXED
        assert text.splitlines() == [{0: GERMAN, 1: other, 2: "plain"}[lines.index(line)] for line in order]


@given(st.binary(max_size=300))
def test_every_answer_can_be_written_as_utf8(content: bytes) -> None:
    decode(content)[0].encode()
    decode(content, "utf-7")[0].encode()


def test_random_bytes_are_binary_and_text_is_not() -> None:
    assert is_binary(random.Random(0).randbytes(5000))
    assert not is_binary(RUSSIAN.encode("koi8-r"))
    assert not is_binary(b"a form feed \f is no sign of anything\r\n")
    assert not is_binary(b"")


CHINESE = "这是一篇关于灯塔看守人的长文章。他每天早起，一边看海一边工作。"
KOREAN = "이것은 등대지기에 대한 긴 글입니다. 그는 매일 아침 일찍 일어났다."


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [(JAPANESE, "iso2022_jp", "iso-2022-jp"), (CHINESE, "hz", "hz-gb-2312"), (KOREAN, "iso2022_kr", "iso-2022-kr")],
)
def test_seven_bit(text: str, encoding: str, name: str) -> None:
    for page in (text, f'<meta charset="{name}"><p>{text}\n{text}</p>', f"plain words\n{text}\nplain"):
        content = page.encode(encoding)
        assert not is_binary(content)
        assert decode(content, name) == (page, "")
        assert decode(content) == (page, "")
        assert decode(content, "utf-8") == (page, "")


def test_seven_bit_japanese_with_katakana_of_half_width() -> None:
    assert decode(b"\x1b$B$3$l\x1b(I1\x1b(B.")[0] == "これｱ."


@pytest.mark.parametrize(
    "text", ["ls \x1b[31mred\x1b[0m", "if ~{a} then {b~}", "\\cite~{ab} and ~{\\bf xyzw}~}", "~{}~}", "~~{~}", "a ~{ b"]
)
def test_seven_bit_text_without_such_marks_stays(text: str) -> None:
    assert decode(text.encode()) == (text, "")
