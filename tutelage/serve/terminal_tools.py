"""The terminal chat with tools: calls and results are shown between the parts of a reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tutelage.chat import Renderer
from tutelage.engine.engine import Engine
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.text_stream import TextStream
from tutelage.records import Conversation, Message, ToolCall, ToolResult
from tutelage.serve.deltas import chat_text_stream
from tutelage.tools.environment import ToolLimits, ToolState, tool_environment
from tutelage.tools.loop import run_conversations
from tutelage.tools.tool import Tool

SHOWN = 300  # characters of a result


def reply_with_tools(
    engine: Engine,
    renderer: Renderer,
    conversation: Conversation,
    settings: SamplingSettings,
    tools: Sequence[Tool],
    limits: ToolLimits,
    write: Callable[[str], None],
    note: Callable[[str], None],
) -> Conversation:
    """The conversation with the turns of the reply. Text is written as it is decoded; calls and results are notes."""
    shown: TextStream | None = None
    written, line_open = 0, False

    def on_text(number: int, text: TextStream) -> None:
        nonlocal shown, written, line_open
        written = written if text is shown else 0  # each turn has a stream of its own
        for piece in text.pieces[written:]:
            if piece.kind != "tool_call":
                write(piece.text)
                line_open = True
        shown, written = text, len(text.pieces)

    def on_message(number: int, message: Message) -> None:
        nonlocal line_open
        if line_open and any(isinstance(part, ToolCall) for part in message.content):
            write("\n")
            line_open = False
        for part in message.content:
            if isinstance(part, ToolCall):
                note(f"-> {part.name} {part.arguments}")
            elif isinstance(part, ToolResult):
                note(f"<- {part.text[:SHOWN]}{'...' if len(part.text) > SHOWN else ''}")

    (trace,) = run_conversations(
        engine, renderer, [conversation], tool_environment(tools, renderer, limits), ToolState, settings,
        make_text=lambda prompt: chat_text_stream(renderer, prompt, (), True), on_text=on_text, on_message=on_message,
    )  # fmt: skip
    write("\n")
    if trace.ended not in ("stop", "length"):
        why = {"calls": "the limit of calls is reached", "context": "the context is full"}
        note(f"cut short: {why.get(trace.ended, trace.problem or trace.ended)}")
    return trace.conversation
