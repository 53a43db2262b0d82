from __future__ import annotations

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.config import SettingsError, convert
from tutelage.corpus import text as texts
from tutelage.corpus.text import TextSettings, text_documents, text_file
from tutelage.records import Document

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=120) | st.text("aé日𝄞\r\n", max_size=120)
TAILS = st.floats(0, 1, exclude_max=True)
SIZES = st.integers(1, 40)
WRONG = st.sampled_from([b"\xff", b"\x80", b"\xc3(", b"\xe2\x82", b"\xed\xa0\x80", b"\xbf" * 9])


def read(content: bytes, tail: float, document_bytes: int) -> list[Document]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "DOCUMENT_BYTES", document_bytes)
        path = Path(folder) / "some.txt"
        path.write_bytes(content)
        return list(text_documents(path, tail))


@given(TEXTS, TAILS, SIZES)
def test_training_part_and_tail_joined_are_the_file(text: str, tail: float, document_bytes: int) -> None:
    content = text.encode()
    documents = read(content, tail, document_bytes)
    assert "".join(document.text for document in documents) == text
    splits = [document.split for document in documents]
    assert splits == sorted(splits, reverse=True)  # "train" comes first
    start = 0
    for document in documents:
        assert document.id == f"some.txt:{start}"
        start += len(document.text.encode())
        assert 0 < len(document.text.encode()) <= document_bytes + 3  # a character is never cut, so up to 3 bytes more
    train = sum(len(document.text.encode()) for document in documents if document.split == "train")
    assert 0 <= train - int(len(content) * (1 - tail)) <= 3


@given(st.text(st.characters(max_codepoint=127), max_size=200), TAILS, SIZES)
def test_the_tail_of_an_ascii_text_is_cut_where_anybody_would_cut_it(text: str, tail: float, size: int) -> None:
    documents = read(text.encode(), tail, size)
    held_out = "".join(document.text for document in documents if document.split == "held_out")
    assert held_out == text[int(len(text) * (1 - tail)) :]


@given(TEXTS, WRONG, st.text("aé", max_size=20), TAILS, SIZES)
def test_a_byte_that_is_no_utf8_is_told_with_its_position(
    before: str, wrong: bytes, after: str, tail: float, document_bytes: int
) -> None:
    with pytest.raises(ValueError, match="not UTF-8; save the file as UTF-8$") as error:
        read(before.encode() + wrong + after.encode(), tail, document_bytes)
    assert f"some.txt, byte {len(before.encode())}: " in str(error.value)


def test_a_document_is_there_before_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes(b"a" * 2 * texts.DOCUMENT_BYTES + b"\xff")
    documents = text_documents(path, 0.0)
    assert next(documents).text == "a" * texts.DOCUMENT_BYTES
    next(documents)
    with pytest.raises(ValueError, match=f"byte {2 * texts.DOCUMENT_BYTES}: "):
        next(documents)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("ein Satz über Köln\n" * 400_000)
    tracemalloc.start()
    count = sum(len(document.text) for document in text_documents(path, 0.1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 400_000 * 19
    assert peak < 10 * texts.DOCUMENT_BYTES < path.stat().st_size / 10


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "data.x cannot be used: a text needs path, or both url and sha256"),
        ({"url": "http://a/b"}, "data.x cannot be used: a text needs path, or both url and sha256"),
        ({"sha256": "0" * 64}, "data.x cannot be used: a text needs path, or both url and sha256"),
        (
            {"url": "http://a/b", "sha256": ""},
            "data.x cannot be used: sha256 is ''; it must be 64 lower-case hexadecimal digits",
        ),
        (
            {"path": "a", "tail": 1},
            "data.x cannot be used: tail is 1.0; it must be at least 0 and below 1",
        ),
        (
            {"path": "a", "tail": -0.1},
            "data.x cannot be used: tail is -0.1; it must be at least 0 and below 1",
        ),
        ({"pth": "a"}, "data.x has no setting 'pth'; did you mean 'path'?"),
    ],
)
def test_wrong_settings_are_one_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        convert(settings, TextSettings, "data.x")
    assert str(error.value) == sentence


def test_a_file_that_is_not_there_is_one_sentence_with_the_setting_that_names_it(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ValueError, match="^data.plays.path: ") as error:
            text_file(TextSettings(path=str(path)), "data.plays")
        assert str(error.value) == (f"data.plays.path: there is no text file {path}; set data.plays.path=FILE")
