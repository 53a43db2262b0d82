"""The data types of the package: documents and conversations come in, examples and batches are trained on.

Shape suffixes: N tokens of a batch laid end to end, S segments (examples) of a batch, T tokens of one example,
P positions of a batch with a loss weight, G example groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:  # importing torch takes a second, which `tutelage --help` must not pay
    import torch

Role = Literal["system", "user", "assistant", "tool"]

# The role of a token is stored as an index into this tuple; "document" is text that belongs to no conversation.
ROLES: tuple[str, ...] = ("document", "system", "user", "assistant", "tool")


# Which part of a dataset a row belongs to: trained on, or held out to measure on.
Split = Literal["train", "held_out"]


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its origin. `split` is set where the data itself says which part the row belongs to; `meta` comes
    from the source (url, date ...), `facts` were computed (language, score)."""

    text: str
    id: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    split: Split | None = None
    facts: Mapping[str, str | bool | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The assistant's reasoning before its answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call of the assistant: `arguments` is a JSON object as text, `id` the call's id in the data, or ""."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool's output: context only, even inside the assistant's turn. `call_id` is the id of the call it answers, ""
    where the data names none."""

    text: str
    call_id: str = ""


Part = Text | Reasoning | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    name:    of the speaker, where the data says it.
    trained: False for an assistant turn that is context only, because the data marks it so.
    """

    role: Role
    content: tuple[Part, ...]
    name: str = ""
    trained: bool = True

    @property
    def text(self) -> str:
        """The plain text of the message, without reasoning, tool calls and tool results."""
        return "".join(part.text for part in self.content if isinstance(part, Text))


def message(role: Role, text: str) -> Message:
    """A message of one text part."""
    return Message(role, (Text(text),))


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order. `id` names the conversation in errors and ledgers (file and row where it has them); `split` is
    set where the data itself says which part the row belongs to. `tools` are the functions that the assistant may call,
    each a JSON text in OpenAI's format: `{"type": "function", "function": {"name", "parameters" ...}}`.
    `template_settings` is a JSON object as text: variables of the chat template such as `enable_thinking`."""

    messages: tuple[Message, ...]
    id: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    split: Split | None = None
    tools: tuple[str, ...] = ()
    template_settings: str = ""


def trained_turns(conversation: Conversation) -> list[int]:
    """The places of the assistant turns that the data does not mark as context."""
    turns = enumerate(conversation.messages)
    return [place for place, message in turns if message.role == "assistant" and message.trained]


class Utility(NamedTuple):
    """What an answer of the built-in world is truly worth, and what its labeller thinks that it is worth; the latter in
    units of the label noise, so that the logistic function of a difference is the probability of a label."""

    true: float
    labeller: float


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with a chosen and a rejected completion; `id`, `tools` and `split` as in Conversation.

    margin: by how much the chosen one is better, where the data says it.
    known:  the utility of chosen and rejected, where it is known.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    id: str = ""
    tools: tuple[str, ...] = ()
    split: Split | None = None
    margin: float = 0.0
    known: tuple[Utility, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """A prompt with several completions and their ranks: 1 is the best, and equal ranks are ties. `id`, `tools` and
    `split` as in Conversation; `known` as in Preference, one for each answer."""

    prompt: tuple[Message, ...]
    answers: tuple[tuple[Message, ...], ...]
    ranks: tuple[int, ...]
    id: str = ""
    tools: tuple[str, ...] = ()
    split: Split | None = None
    known: tuple[Utility, ...] = ()


@dataclass(frozen=True, slots=True)
class UnpairedPreference:
    """A prompt with one completion that is desirable or not (KTO); `id`, `tools` and `split` as in Conversation."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    desirable: bool
    id: str = ""
    tools: tuple[str, ...] = ()
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt to answer, with its gold answer where it has one (several: each is right); `id`, `tools` and `split` as
    in Conversation."""

    prompt: tuple[Message, ...]
    gold: str | float | tuple[str | float, ...] | None = None
    id: str = ""
    tools: tuple[str, ...] = ()
    split: Split | None = None


class Word(NamedTuple):
    """A word of a text by its characters, half-open, with its tag, such as B-PER."""

    start: int
    end: int
    tag: str


class Span(NamedTuple):
    """An answer in a text: where it starts, and its characters."""

    start: int
    text: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with what a specialist must find in it; `id` and `split` as in Conversation.

    text, second: the text, and a second one where there are two (premise and hypothesis; question and passage).
    label:        the class of the whole; None where the row is of another task.
    words:        the words of `text` with their tags.
    answers:      spans of `second` that answer `text`; of an unanswerable question none.
    """

    text: str
    second: str = ""
    label: str | None = None
    words: tuple[Word, ...] = ()
    answers: tuple[Span, ...] = ()
    id: str = ""
    split: Split | None = None


AnyPreference = Preference | UnpairedPreference | Ranking


@dataclass(frozen=True, eq=False, slots=True)
class Example:
    """One segment of tokens to learn from. Tokens of different examples never attend to each other.

    tokens:  int32[T].
    weights: float32[T], the loss weight on predicting tokens[t]; 0 means context only. None means all ones.
             Nothing precedes the first token, so its weight never counts.
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


class Stream(NamedTuple):
    """A per-token column: its dtype, and the value where an example does not have it."""

    dtype: str
    fill: float = 0


@dataclass(frozen=True)
class Schema:
    """What examples carry besides tokens and loss weights. A batch has all of it, even where it holds only padding or
    examples of another dataset: these get the fill values.

    streams: name -> dtype and fill value of each per-token column.
    scalars: name -> fill value of each per-example number.
    """

    streams: Mapping[str, Stream] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)

    def __or__(self, other: Schema) -> Schema:
        """Everything that either has. A name that both have must mean the same."""
        for name in self.streams.keys() & other.streams.keys():
            assert self.streams[name] == other.streams[name], f"two streams called '{name}'"
        for name in self.scalars.keys() & other.scalars.keys():
            assert self.scalars[name] == other.scalars[name], f"two scalars called '{name}'"
        return Schema({**self.streams, **other.streams}, {**self.scalars, **other.scalars})


# A stream of models with token types: the type of each token, such as 0 in the question and 1 in the passage.
TOKEN_TYPES = "token_types"

ROLE_STREAM = Schema(streams={"roles": Stream("uint8")})


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Segments laid end to end without padding: what the model reads in one forward pass.

    tokens_N:    int64, the input tokens.
    labels_N:    int64, what each position must predict: the next token of its segment, or the example's target.
    weights_N:   float32, the loss weight of each prediction; 0 where there is none, as at a segment's last token.
    positions_N: int64, counts from 0 within each segment.
    lengths:     the length of each segment, in order; their sum is N.
    groups_S:    int64, the example group of each segment, counted from 0 within the batch.
    streams:     [N] tensors, shifted like the labels.
    scalars:     float32 [S] tensors.
    count:       the sum of weights_N, added up in float64 on the host so that no device has to be asked.
    shifts:      by how many positions the labels of each segment are shifted: 1, or 0 where it has targets.
    padding:     whether the batch only keeps its process in step and holds no data.
    unique_C:    int64, positions to compute where segments begin with the same tokens: each prefix once, in order;
                 `copy_N` is the place of each position among them. None where nothing is shared.
    """

    tokens_N: torch.Tensor
    labels_N: torch.Tensor
    weights_N: torch.Tensor
    positions_N: torch.Tensor
    lengths: tuple[int, ...]
    groups_S: torch.Tensor
    streams: Mapping[str, torch.Tensor] = field(default_factory=dict)
    scalars: Mapping[str, torch.Tensor] = field(default_factory=dict)
    count: float = 0.0
    shifts: tuple[int, ...] = ()
    padding: bool = False
    unique_C: torch.Tensor | None = None
    copy_N: torch.Tensor | None = None

    def trained(self, name: str) -> torch.Tensor:
        """A stream at the positions with a loss weight, [P]: aligned with the model's log-probabilities."""
        return self.streams[name][self.weights_N != 0]
