from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.engine.engine import Engine
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.text_stream import MARKERS, Kind, Scanner, TextStream
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.tokenizer import TokenizerSettings, train

TOKENIZER = train(["<think> a </think> <tool_call> b"], TokenizerSettings(vocab=257))
EMOJI = "a😀é<thïnk"


def byte_ids(text: str) -> list[int]:
    """One token for each byte, so that every split of the text occurs inside characters too."""
    by_byte = {TOKENIZER.token_bytes(token): token for token in range(TOKENIZER.vocab_size)}
    return [by_byte[bytes([byte])] for byte in text.encode()]


def whole(text: str, stops: tuple[str, ...], opens_with: Kind = "text") -> tuple[list[tuple[Kind, int, str]], bool]:
    """The pieces of a text that is there at once, by definition: cut where the first stop string ends, then split at
    markers."""
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    if ends:
        text = text[: min(ends[0] - len(stop) for stop in stops if text[: ends[0]].endswith(stop))]
    pieces: list[tuple[Kind, int, str]] = []
    kind, number, place, start = opens_with, 0, 0, 0
    while place < len(text):
        wanted = {pair[0]: to for to, pair in MARKERS.items()} if kind == "text" else {MARKERS[kind][1]: "text"}
        marker = next((marker for marker in wanted if text.startswith(marker, place)), None)
        if marker is None:
            place += 1
            continue
        pieces.append((kind, number, text[start:place]))
        kind, number = wanted[marker], number + 1  # type: ignore[assignment]
        place = start = place + len(marker)
    pieces.append((kind, number, text[start:]))
    return [piece for piece in pieces if piece[2]], bool(ends)


def streamed(ids: list[int], stops: tuple[str, ...], opens_with: Kind = "text") -> TextStream:
    stream = TextStream(TOKENIZER, stops, opens_with)
    released = [piece for token in ids for piece in stream.push(token)] + stream.flush()
    assert released == stream.pieces
    return stream


def joined(stream: TextStream) -> list[tuple[Kind, int, str]]:
    texts: dict[tuple[Kind, int], str] = {}
    for piece in stream.pieces:
        texts[piece.kind, piece.number] = texts.get((piece.kind, piece.number), "") + piece.text
    return [(kind, number, text) for (kind, number), text in texts.items()]


PARTS = st.sampled_from(
    ["<think>", "</think>", "<tool_call>", "</tool_call>", "<", "</", "think", "a", "ab", "😀", "é"]
)
STOPS = st.lists(st.text("ab<😀", min_size=1, max_size=3), max_size=2).map(tuple)


@given(st.lists(PARTS, max_size=12).map("".join), STOPS, st.sampled_from(["text", "reasoning"]))
def test_s14_s15_s18_the_stream_byte_by_byte_is_the_whole_text(
    text: str, stops: tuple[str, ...], opens_with: Kind
) -> None:
    stream = streamed(byte_ids(text), stops, opens_with)
    assert (joined(stream), stream.stopped) == whole(text, stops, opens_with)


@given(st.lists(st.text("abc", max_size=4), max_size=6), STOPS)
def test_any_split_of_a_text_finds_the_same_needle(parts: list[str], needles: tuple[str, ...]) -> None:
    scanner, out = Scanner(), ""
    for part in parts:
        before, needle, _ = scanner.feed(part, needles)
        out += before
        if needle is not None:
            break
    else:
        out += scanner.held
    pieces, _ = whole("".join(parts), needles)
    assert out == "".join(text for _, _, text in pieces)


def test_s15_no_part_of_a_stop_string_is_released_early() -> None:
    stream = TextStream(TOKENIZER, ("END",))
    released = [[piece.text for piece in stream.push(token)] for token in byte_ids("a ENE ENDx")]
    assert released == [["a"], [" "], [], [], ["EN"], ["E "], [], [], [], []]
    assert stream.stopped
    assert stream.flush() == []


def test_s14_an_incomplete_character_is_replaced_at_the_end_alone() -> None:
    ids = byte_ids(EMOJI)
    assert "\ufffd" not in streamed(ids, ()).text()
    assert streamed(ids[:3], ()).text() == "a\ufffd"


def test_an_unfinished_marker_is_text() -> None:
    assert joined(streamed(byte_ids("a <thin"), ())) == [("text", 0, "a <thin")]


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="a stop string is empty"):
        TextStream(TOKENIZER, ("",))


def test_the_engine_ends_a_request_at_a_stop_string_over_several_tokens() -> None:
    shape = resolve(ModelSettings(depth=1, width=32, context=64), TOKENIZER.vocab_size)
    engine, prompt = Engine(initialise(Transformer(shape), seed=1)), np.array(byte_ids("hello"))
    sampling = SamplingSettings(temperature=1.0, max_tokens=40)
    plain = TextStream(TOKENIZER)
    whole_answer = engine.add(prompt, frozenset(), sampling, text=plain)
    engine.run()
    text = plain.text()
    stop = text[10:13]
    ended = TextStream(TOKENIZER, (stop,))
    request = engine.add(prompt, frozenset(), sampling, text=ended)
    engine.run()
    assert ended.text() == text[: text.index(stop)]
    assert request.generation.finish_reason == "stop"
    assert request.generation.stop_token is None
    count = len(request.generation.tokens)
    assert count < 40
    assert request.generation.tokens == whole_answer.generation.tokens[:count]
