"""Answers: parsed from replies, and cached in a file that may be truncated anywhere."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.client.responses import Answer, Choice, ResponseCache, read_answer, read_error


def reply(*choices: Any, **more: Any) -> bytes:
    return json.dumps({"choices": choices, **more}).encode()


def test_answers_are_parsed() -> None:
    call = {"message": {"role": "assistant", "tool_calls": [{"id": "1"}]}, "finish_reason": "tool_calls"}
    cut = {"message": {"content": "wor"}, "finish_reason": "length"}
    parsed = read_answer(reply(cut, call, usage={"prompt_tokens": 3, "completion_tokens": 4, "cost": 1.5}))
    assert (parsed.text, parsed.truncated, parsed.tokens) == ("wor", True, 7)
    assert (parsed.choices[1].text, parsed.choices[1].raw["message"]["tool_calls"]) == ("", [{"id": "1"}])
    plain = read_answer(reply({"text": "word", "finish_reason": None}))
    assert (plain.text, plain.truncated, plain.tokens) == ("word", False, None)
    assert read_answer(reply({"text": "w"}, usage={"prompt_tokens": 3})).tokens is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"[]",
        b'{"error": {"message": "busy"}}',
        reply(),
        reply({}),
        reply({"message": None}),
        reply({"message": {"content": 3}}),
        reply({"text": ["w"]}),
        reply("word"),
        b'{"choices": {"message": {"content": "w"}}}',
    ],
)
def test_anything_else_is_invalid(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        read_answer(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"error": {"message": "busy", "code": 1}}', "busy"),
        (b'{"error": "busy"}', "busy"),
        (b'{"message": "busy"}', "busy"),
        (b'"busy"', "busy"),
        (b'{"detail": ["busy"]}', '{"detail": ["busy"]}'),
        (b'{"error": {"message": 3}}', '{"error": {"message": 3}}'),
        (b"<h1>busy \xff</h1>", "<h1>busy \ufffd</h1>"),
        (b"", ""),
    ],
)
def test_error_messages_are_found(content: bytes, message: str) -> None:
    assert read_error(content) == message


def answer(text: str) -> Answer:
    return Answer((Choice({"message": {"content": text}}),), 1, 2)


@given(st.lists(st.text(max_size=20), max_size=6), st.data())
def test_a_file_truncated_anywhere_keeps_its_complete_lines(texts: list[str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers"
        cache = ResponseCache(path)
        for number, text in enumerate(texts):
            cache.put(str(number), answer(text))
            assert cache.get(str(number)) == answer(text)
        cache.close()
        content = path.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        path.write_bytes(content[:cut])
        complete = content[:cut].count(b"\n")
        # A line that lacks its end alone is whole too.
        almost = cut < len(content) and content[cut : cut + 1] == b"\n"
        again = ResponseCache(path)
        assert len(again) == complete + almost
        assert again.broken == (not almost and not content[:cut].endswith(b"\n") and cut > 0)
        again.put("new", answer("new"))
        again.close()
        last = ResponseCache(path)
        assert last.get("new") == answer("new")
        for number in range(complete):
            assert last.get(str(number)) == answer(texts[number])
        last.close()
