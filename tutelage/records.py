"""The nouns that flow through Tutelage: text comes in as documents and conversations, and is trained on as examples.

Shape suffixes: N tokens of a batch laid end to end, S segments (examples) of a batch, T tokens of one example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # importing torch takes a second, which `tutelage --help` must not pay
    import torch

Role = Literal["system", "user", "assistant", "tool"]

# The role of a token is stored as an index into this tuple; "document" is text that belongs to no conversation.
ROLES: tuple[str, ...] = ("document", "system", "user", "assistant", "tool")


# Which part of some data a row belongs to: what is trained on, or what is kept from training to measure on.
Split = Literal["train", "held_out"]


@dataclass(frozen=True, slots=True)
class Document:
    """A text to read, with where it came from, and which part of its data it belongs to where the data says so.
    `meta` is what its source says of it (url, date ...), `facts` what was found out about it (language, score)."""

    text: str
    id: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    split: Split | None = None
    facts: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """Plain words in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the assistant thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the assistant makes; `arguments` is a JSON object as text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered: read by the model, never written by it, even inside its own turn."""

    text: str


Part = Text | Reasoning | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The plain words of the message, without reasoning, tool calls and tool results."""
        return "".join(part.text for part in self.content if isinstance(part, Text))


def message(role: Role, text: str) -> Message:
    """A message of one text part."""
    return Message(role, (Text(text),))


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order; `id` names the conversation in errors and ledgers (file and row where it has them), `split`
    says which part of its data it belongs to, where the data says so. `tools` are the functions that the assistant may
    call, each a JSON text as OpenAI writes it: `{"type": "function", "function": {"name", "parameters" ...}}`."""

    messages: tuple[Message, ...]
    id: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    split: Split | None = None
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preference:
    """Two ways to go on from a prompt, of which `chosen` was found the better; `id` and `tools` as in Conversation."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    id: str = ""
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnpairedPreference:
    """One way to go on from a prompt, found desirable or not (KTO); `id` and `tools` as in Conversation."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    desirable: bool
    id: str = ""
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Example:
    """One segment of tokens to learn from. Tokens of different examples never see each other.

    tokens:  int32[T].
    weights: float32[T], the weight on predicting tokens[t]; 0 means read but not trained. None means all ones.
             The first token has nothing before it to be predicted from, so its weight never counts.
    targets: int32[T], only where the label of position t is not the next token (masked LM, tagging); then
             weights[t] is the weight on predicting targets[t] from position t.
    streams: extras of any dtype, [T], aligned like weights (role, advantage, old_logprob ...).
    scalars: one number per example (reward, label ...).
    """

    tokens: np.ndarray
    weights: np.ndarray | None = None
    targets: np.ndarray | None = None
    streams: Mapping[str, np.ndarray] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)


# Examples that must stay in one micro-batch: one conversation, a chosen/rejected pair, all answers of a ranking.
ExampleGroup = tuple[Example, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Segments laid end to end without padding: what the model reads in one forward pass.

    tokens_N:    int64, the input tokens.
    labels_N:    int64, what each position is to predict: the next token of its segment, or the example's target.
    weights_N:   float32, the weight of each prediction; 0 at context-only positions and at the last one of a segment.
    positions_N: int64, counts from 0 within each segment.
    lengths:     the length of each segment, in order; their sum is N.
    groups_S:     int64, which group each segment belongs to, counted from 0 within the batch.
    streams:     [N] tensors, shifted as the labels are.
    scalars:     float32 [S] tensors.
    """

    tokens_N: torch.Tensor
    labels_N: torch.Tensor
    weights_N: torch.Tensor
    positions_N: torch.Tensor
    lengths: tuple[int, ...]
    groups_S: torch.Tensor
    streams: Mapping[str, torch.Tensor] = field(default_factory=dict)
    scalars: Mapping[str, torch.Tensor] = field(default_factory=dict)
    count: float = 0.0  # the sum of weights_N, summed in float64 on the host so that no device has to be asked
