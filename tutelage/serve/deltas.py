"""Pieces of an answer to the deltas of a chat completion: content, reasoning, tool calls."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Renderer
from tutelage.chat.render.template import DELIMITERS
from tutelage.engine.text_stream import MARKERS, Kind, Piece, TextStream
from tutelage.records import Part, Reasoning, ToolCall
from tutelage.serve.tool_calls import ToolCallReader
from tutelage.tokenizer import Tokenizer

Delta = dict[str, Any]
PROMPT_TAIL = 16  # tokens at the end of a prompt that may hold an opened <think>


def chat_text_stream(renderer: Renderer, prompt: Sequence[int], stops: tuple[str, ...], tools: bool) -> TextStream:
    """The text stream of an answer to a chat: reasoning is kept apart, and tool calls where `tools` is true."""
    tokenizer = renderer.tokenizer
    if isinstance(renderer, NativeRenderer):
        kinds: dict[type[Part], Kind] = {Reasoning: "reasoning"}
        if tools:
            kinds[ToolCall] = "tool_call"
        ids: dict[int, Kind] = {}
        for part, kind in kinds.items():
            opening, closing = DELIMITERS[part]
            ids |= {tokenizer.special(opening): kind, tokenizer.special(closing): "text"}
        return TextStream(tokenizer, stops, markers={}, marker_ids=ids)
    markers = {kind: pair for kind, pair in MARKERS.items() if tools or kind != "tool_call"}
    return TextStream(tokenizer, stops, _opens_with(tokenizer, prompt), markers)


def _opens_with(tokenizer: Tokenizer, prompt: Sequence[int]) -> Kind:
    tail = tokenizer.decode([int(token) for token in prompt[-PROMPT_TAIL:]])
    return "reasoning" if tail.rstrip().endswith(MARKERS["reasoning"][0]) else "text"


@dataclass
class DeltaReader:
    """Turns the pieces of one answer into deltas. The deltas of any split of the pieces add up to the same message.

    trims: whether white space around reasoning and tool calls belongs to the template, as in published ones; it is held
           until it is known to be inside a text.
    opening, closing: the markers of a tool call, to write what is no call as text.
    """

    trims: bool
    opening: str
    closing: str
    calls: int = 0
    _space: str = ""
    _kind: Kind = "text"
    _number: int = 0
    _wrote: bool = False
    _call: ToolCallReader | None = None

    def read(self, pieces: Sequence[Piece]) -> list[Delta]:
        """The deltas of further pieces."""
        deltas: list[Delta] = []
        for piece in pieces:
            if (piece.kind, piece.number) != (self._kind, self._number):
                deltas += self._close_part(cut=False)
                self._kind, self._number = piece.kind, piece.number
            if piece.kind == "tool_call":
                deltas += self._push_call(piece.text)
            else:
                deltas += self._text("content" if piece.kind == "text" else "reasoning_content", piece.text)
        return deltas

    def end(self) -> list[Delta]:
        """The deltas at the end of the answer: what was held."""
        return self._close_part(cut=True)

    def _text(self, name: str, text: str) -> list[Delta]:
        if self.trims:
            text = self._space + text
            if not self._wrote and (self._number or self._kind == "reasoning"):
                text = text.lstrip()
            kept = text.rstrip()
            text, self._space = kept, text[len(kept) :]
        if not text:
            return []
        self._wrote = True
        return [{name: text}]

    def _push_call(self, text: str) -> list[Delta]:
        known = self._call is not None and self._call.name is not None
        self._call = self._call or ToolCallReader()
        arguments = self._call.push(text)
        if self._call.name is None:
            return []
        return self._call_deltas(known, arguments)

    def _call_deltas(self, known: bool, arguments: str) -> list[Delta]:
        assert self._call is not None
        deltas: list[Delta] = []
        if not known:
            self.calls += 1
            function = {"name": self._call.name, "arguments": ""}
            call_id = f"call_{secrets.token_hex(12)}"
            deltas.append(_tool({"index": self.calls - 1, "id": call_id, "type": "function", "function": function}))
        if arguments:
            deltas.append(_tool({"index": self.calls - 1, "function": {"arguments": arguments}}))
        return deltas

    def _close_part(self, cut: bool) -> list[Delta]:
        """The end of a text or a call. Held white space belongs to a text at the end of the answer; around calls and
        reasoning it is the template's."""
        space, self._space = self._space, ""
        wrote, self._wrote = self._wrote, False
        if self._call is None:
            is_text = cut and self._kind == "text" and (wrote or not self._number)
            return [{"content": space}] if space and is_text else []
        known = self._call.name is not None
        arguments = self._call.finish()
        if self._call.name is None:
            deltas: list[Delta] = [{"content": f"{self.opening}{self._call.held}{'' if cut else self.closing}"}]
        else:
            deltas = [] if known else self._call_deltas(False, arguments)
        self._call = None
        return deltas


def _tool(call: dict[str, Any]) -> Delta:
    return {"tool_calls": [call]}


def delta_reader(renderer: Renderer) -> DeltaReader:
    """The reader of answers that this renderer's model writes."""
    native = isinstance(renderer, NativeRenderer)
    opening, closing = DELIMITERS[ToolCall] if native else MARKERS["tool_call"]
    return DeltaReader(not native, opening, closing)


def joined(deltas: Sequence[Delta]) -> dict[str, Any]:
    """The message that deltas add up to."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: list[dict[str, Any]] = []
    for delta in deltas:
        for name in ("content", "reasoning_content"):
            if name in delta:
                message[name] = (message.get(name) or "") + delta[name]
        for part in delta.get("tool_calls", ()):
            if "id" in part:
                calls.append({key: part[key] for key in ("id", "type")} | {"function": dict(part["function"])})
            else:
                calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return message
