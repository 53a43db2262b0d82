"""From tokens to text while an answer is written: one state machine for UTF-8, stop strings, reasoning and tool calls.

However the stream is cut into pieces, the joined pieces are those of the whole text. A character is released once all
of its bytes are there. Text that may be the beginning of a stop string or of a marker is held until it is known to be
none. Every piece is a part of what the model wrote, and is never taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tutelage.engine.stream_decoder import StreamDecoder
from tutelage.tokenizer import Tokenizer

Kind = Literal["text", "reasoning", "tool_call"]

# Opening and closing markers, as published chat templates write them.
MARKERS: dict[Kind, tuple[str, str]] = {
    "reasoning": ("<think>", "</think>"),
    "tool_call": ("<tool_call>", "</tool_call>"),
}


@dataclass
class Piece:
    """A part of an answer, without markers. Pieces with one `number` belong together: a text, or one tool call."""

    kind: Kind
    number: int
    text: str


@dataclass
class Scanner:
    """Finds needles in a text that arrives in parts. `held` may be the beginning of one."""

    held: str = ""

    def feed(self, text: str, needles: Sequence[str]) -> tuple[str, str | None, str]:
        """The text up to the needle that ends first, that needle, and what follows; or the text that cannot be part of
        one, None, and nothing, while the rest is held. Of two that end together the longer one counts."""
        text, self.held = self.held + text, ""
        found = [(text.find(needle) + len(needle), -len(needle), needle) for needle in needles if needle in text]
        if found:
            end, _, needle = min(found)
            return text[: end - len(needle)], needle, text[end:]
        longest = max((overlap(text, needle) for needle in needles), default=0)
        self.held = text[len(text) - longest :]
        return text[: len(text) - longest], None, ""


def overlap(text: str, needle: str) -> int:
    """The length of the longest end of `text` that is a beginning of `needle`, but not all of it."""
    for length in range(min(len(text), len(needle) - 1), 0, -1):
        if text.endswith(needle[:length]):
            return length
    return 0


@dataclass
class TextStream:
    """Tokens in, pieces out. `stopped` is set once a stop string was found; it, and what follows, is not released.

    opens_with: the kind of the first piece; "reasoning" where the prompt ends inside an opened marker.
    markers:    opening and closing markers by kind.
    marker_ids: where markers are special tokens, as in Tutelage's own template: what each token opens; "text" where it
                closes. A text that spells such a token is no marker.
    """

    tokenizer: Tokenizer
    stop_strings: tuple[str, ...] = ()
    opens_with: Kind = "text"
    markers: Mapping[Kind, tuple[str, str]] = field(default_factory=lambda: MARKERS)
    marker_ids: Mapping[int, Kind] = field(default_factory=dict)
    stopped: bool = False
    pieces: list[Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not all(self.stop_strings):
            raise ValueError("a stop string is empty; it would end every answer at once: leave it out")
        self._decoder = StreamDecoder(self.tokenizer)
        self._stops, self._markers = Scanner(), Scanner()
        self._kind, self._number = self.opens_with, 0

    def push(self, token: int) -> list[Piece]:
        """What this token releases."""
        if token in self.marker_ids and not self.stopped:
            released = self.flush()
            self._kind, self._number = self.marker_ids[token], self._number + 1
            return released
        return self._write(self._decoder.push(token))

    def flush(self) -> list[Piece]:
        """What was held at the end of the answer; an incomplete character becomes U+FFFD."""
        released = self._write(self._decoder.flush())
        if not self.stopped:
            released += self._classify(self._stops.held)
        self._stops.held = ""
        rest, self._markers.held = self._markers.held, ""
        return released + self._release(rest)

    def text(self, kind: Kind = "text") -> str:
        """All text of one kind that was released so far."""
        return "".join(piece.text for piece in self.pieces if piece.kind == kind)

    def _write(self, text: str) -> list[Piece]:
        if self.stopped or not text:
            return []
        before, stop, _ = self._stops.feed(text, self.stop_strings)
        self.stopped = stop is not None
        return self._classify(before)

    def _classify(self, text: str) -> list[Piece]:
        released = []
        while text:
            opening = {pair[0]: kind for kind, pair in self.markers.items()}
            closing = [self.markers[self._kind][1]] if self._kind in self.markers else []
            needles = list(opening) if self._kind == "text" else closing
            before, marker, text = self._markers.feed(text, needles)
            released += self._release(before)
            if marker is not None:
                self._kind, self._number = opening.get(marker, "text"), self._number + 1
        return released

    def _release(self, text: str) -> list[Piece]:
        if not text:
            return []
        self.pieces.append(Piece(self._kind, self._number, text))
        return [self.pieces[-1]]
