"""What a renderer does, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from tutelage.records import Conversation, Example, Message
from tutelage.tokenizer import Tokenizer

# Which tokens are trained: every assistant turn, the last one alone, assistant turns without what they answer, or all.
TrainOn = Literal["assistant", "last_assistant", "response_only", "all_tokens"]


@dataclass(frozen=True, eq=False, slots=True)
class Rendered:
    """T tokens and what is known about each.

    ids:     int32[T].
    weights: float32[T], the loss weight on predicting ids[t]; 0 means context only. The first is always 0.
    roles:   uint8[T], indices into records.ROLES; the template's own tokens carry their message's role.
    spans:   int32[T, 4]: message, part, and the characters, from start to end, half-open, of that part's text
             (`template.part_text`); -1 four times for the template's own tokens. A token that reaches over into the
             next Text part names the part it begins in and ends beyond it. None where spans were not asked for.
    notes:   what the template did not take as the data says (adapt.py).
    """

    ids: np.ndarray
    weights: np.ndarray
    roles: np.ndarray
    spans: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def part(self, first: int, last: int) -> Rendered:
        """The tokens from `first` to before `last`."""
        kept = slice(first, last)
        spans = None if self.spans is None else self.spans[kept]
        return Rendered(self.ids[kept], self.weights[kept], self.roles[kept], spans, self.notes)


@dataclass(frozen=True)
class TrainedTurn:
    """A trained turn: the generation prompt (from the header of the turn on) and the token that ends it, with the rule
    by which that token was found."""

    message: int
    prompt: str
    end_token: str
    end_rule: str


@dataclass(frozen=True)
class Explanation:
    """How a conversation is rendered, for a person who looks for the cause of a wrong mask.

    outline:   what the template writes, with "{0.1}" in place of the text of message 0, part 1.
    turns:     the trained turns.
    cache_hit: whether the template was not run, but its cached outline filled in; None where there is no cache.
    refused:   why the conversation cannot be trained on; "" where it can.
    notes:     as those of `Rendered`.
    """

    renderer: Literal["native", "hf"]
    outline: str = ""
    turns: tuple[TrainedTurn, ...] = ()
    cache_hit: bool | None = None
    refused: str = ""
    notes: tuple[str, ...] = ()


class Renderer(Protocol):
    """Renders conversations and parses answers. `native` and `hf` implement it; both can be pickled."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an assistant turn: exactly those that training trains as ends."""

    @property
    def header_ids(self) -> frozenset[int]:
        """The special tokens that open a turn: an answer that holds one writes another role's turn."""

    def fingerprint(self) -> str:
        """A hexadecimal hash of all that decides how a conversation is rendered."""

    def render_rows(
        self, conversations: Sequence[Conversation], train_on: TrainOn = "assistant", spans: bool = False
    ) -> list[list[Rendered] | ValueError]:
        """For each conversation its verified examples, or why it cannot be trained on.

        A conversation has several examples with "response_only" (one per assistant turn), and where the template
        writes earlier turns differently once more turns follow (one per assistant turn, each as the last).
        """

    def render_prompts(self, conversations: Sequence[Conversation], spans: bool = False) -> list[Rendered]:
        """What generation continues from: the conversation so far and the header of an assistant turn.

        All weights are 0. ValueError, naming the conversation, where the template cannot write it.
        """

    def parse(self, ids: Sequence[int] | np.ndarray) -> Message:
        """Generated ids as an assistant message; reads up to the first end token, which may be missing."""

    def explain(self, conversation: Conversation, train_on: TrainOn = "assistant") -> Explanation:
        """Why `render_rows` renders a conversation as it does."""


def example(rendered: Rendered) -> Example:
    """What training takes: tokens, weights and the stream "roles"."""
    return Example(rendered.ids, rendered.weights, streams={"roles": rendered.roles})


def check_train_on(train_on: str) -> None:
    """ValueError for a value that does not exist."""
    if train_on not in get_args(TrainOn):
        raise ValueError(f"train_on {train_on!r} is unknown; use one of {', '.join(get_args(TrainOn))}")
