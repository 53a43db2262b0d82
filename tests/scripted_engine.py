"""An engine whose model writes what a test tells it to: its logits are overruled, everything else is real."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Renderer
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.requests import Request
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.text_stream import TextStream
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Conversation, Message, Text, ToolCall, message
from tutelage.tokenizer import Tokenizer, TokenizerSettings, train
from tutelage.tools.environment import ToolLimits, ToolState, tool_environment
from tutelage.tools.loop import run_conversations
from tutelage.tools.tool import Tool
from tutelage.tools.trace import Trace

TOKENIZER = train(["what is the answer? it is 4."], TokenizerSettings(vocab=300)).extend(TEMPLATE_TOKENS)
RENDERER = NativeRenderer(TOKENIZER)
Turn = Message | list[int]  # a message, or the very tokens


def call(name: str, arguments: str = "{}") -> Message:
    return Message("assistant", (ToolCall(name, arguments),))


def say(text: str) -> Message:
    return message("assistant", text)


def broken_call(text: str, tokenizer: Tokenizer = TOKENIZER) -> list[int]:
    """The tokens of a call that is no valid JSON."""
    special = tokenizer.special
    return [special("<|call|>"), *tokenizer.encode(text).tolist(), special("<|/call|>"), special("<|end|>")]


def turn_ids(renderer: Renderer, turn: Turn) -> list[int]:
    """The tokens that training trains of a turn."""
    if isinstance(turn, list):
        return turn
    ((rendered,),) = renderer.render_rows([Conversation((message("user", "x"), turn))])  # type: ignore[misc]
    return [int(token) for token in rendered.ids[np.flatnonzero(rendered.weights)]]


def scripted_engine(scripts: Sequence[Sequence[Turn]], renderer: Renderer = RENDERER, context: int = 4096) -> Engine:
    """Conversation `i` gets the turns `scripts[i]`."""
    vocab = renderer.tokenizer.vocab_size
    config = resolve(ModelSettings(depth=1, width=16, heads=2, context=context), vocab)
    engine = Engine(initialise(Transformer(config), 0), EngineSettings())
    left = {number: [t for turn in turns for t in turn_ids(renderer, turn)] for number, turns in enumerate(scripts)}
    add = engine.add

    def add_scripted(
        prompt: Sequence[int],
        stop_ids: frozenset[int],
        settings: SamplingSettings,
        number: int,
        sample: int,
        text: TextStream | None,
        pause_ids: frozenset[int],
    ) -> Request:
        def force(request: Request, logits: torch.Tensor) -> torch.Tensor:
            forced = torch.full_like(logits, -1e9)
            forced[left[number].pop(0)] = 0
            return forced

        return add(prompt, stop_ids, settings, number, sample, text, force, pause_ids=pause_ids)

    engine.add = add_scripted  # type: ignore[method-assign, assignment]
    return engine


def run(
    tools: Sequence[Tool],
    *scripts: Sequence[Turn],
    limits: ToolLimits | None = None,
    renderer: Renderer = RENDERER,
    context: int = 4096,
    max_tokens: int = 512,
) -> list[Trace[ToolState]]:
    """The traces of as many conversations as there are scripts, each with the question "what?" and these tools."""
    engine = scripted_engine(scripts, renderer, context)
    asked = Conversation((message("user", "what?"),), tools=tuple(tool.schema for tool in tools))
    environment = tool_environment(tools, renderer, limits or ToolLimits())
    settings = SamplingSettings(max_tokens=max_tokens)
    traces = run_conversations(engine, renderer, [asked] * len(scripts), environment, ToolState, settings)
    engine.check()
    assert not engine.scheduler.running
    assert not engine.scheduler.waiting
    assert not engine.scheduler.paused
    return traces


def results(trace: Trace[ToolState]) -> list[str]:
    return [record.result for record in trace.state.calls]


def text_of(trace: Trace[ToolState]) -> str:
    return "".join(part.text for part in trace.answer.content if isinstance(part, Text))
