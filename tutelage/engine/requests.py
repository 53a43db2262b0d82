"""Requests to the engine and what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from tutelage.engine.adapters import LoraAdapter
from tutelage.engine.sampling import DrawStream, SamplingSettings
from tutelage.engine.text_stream import TextStream

FinishReason = Literal["stop", "length", "context", "cancelled"]


@dataclass
class Generation:
    """The answer to one prompt.

    tokens:          every sampled token, the stop token included.
    logprobs:        their log-probabilities under the model at temperature 1.
    sample_logprobs: their log-probabilities under the distribution they were drawn from, after penalties, temperature
                     and truncation; 0 in greedy decoding, which leaves no choice.
    finish_reason:   it ended at a stop token or stop string, at `max_tokens` ("length", also where the page pool is
                     full), at the end of the context, or was cancelled.
    stop_token:      the stop token at its end, if it ended at one.
    weights:         the digest of the weights, and of the adapter, that wrote it.
    cached_tokens:   prompt tokens whose keys and values came from the prefix cache.
    injected:        what `Engine.resume` put in, such as results of tools: after how many sampled tokens, and the ids.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    sample_logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason = "length"
    stop_token: int | None = None
    weights: str = ""
    cached_tokens: int = 0
    injected: list[tuple[int, list[int]]] = field(default_factory=list)

    @property
    def content(self) -> list[int]:
        """The tokens without the stop token."""
        return self.tokens if self.stop_token is None else self.tokens[:-1]


@dataclass
class Draft:
    """Tokens that are guessed to follow the last one of a request; one forward pass reads all of them.

    probabilities: what the draft model drew each from, float64 [V]; none where tokens are guessed with certainty.
    uniforms:      with probabilities, a random number for each token that decides whether it is accepted.
    accepted:      how many of the first ones the model has written itself.
    """

    tokens: list[int]
    probabilities: list[torch.Tensor] = field(default_factory=list)
    uniforms: list[float] = field(default_factory=list)
    accepted: int = 0


@dataclass(eq=False)
class Request:
    """One prompt on its way through the engine.

    number:     order of arrival; lower numbers are older.
    text:       reads every token but the stop token; ends the request at a stop string.
    ids:        the prompt, then every sampled token, and what was injected between them.
    computed:   leading ids whose keys and values are in the request's row.
    pages:      pages of the pool that it holds, in order; they cover at least the computed ids.
    published:  leading pages that are in the prefix index.
    row:        its row of the key-value cache; -1 while it waits.
    adapter:    LoRA pairs beside the model's weights.
    pause_ids:  tokens after which the request is paused.
    draft:      what this step reads after its last token, if anything.
    process:    from the request and the model's logits, [V], before each token, to the logits that it is drawn from.
    """

    number: int
    prompt_length: int
    ids: list[int]
    settings: SamplingSettings
    stop_ids: frozenset[int]
    draws: DrawStream
    generation: Generation
    text: TextStream | None = None
    process: Callable[[Request, torch.Tensor], torch.Tensor] | None = None
    adapter: LoraAdapter | None = None
    pause_ids: frozenset[int] = frozenset()
    state: Literal["waiting", "running", "paused", "finished"] = "waiting"
    computed: int = 0
    pages: list[int] = field(default_factory=list)
    published: int = 0
    row: int = -1
    draft: Draft | None = None

    @property
    def decodes(self) -> bool:
        """Whether the next step reads one token, the last sampled one."""
        return self.computed + 1 == len(self.ids) and len(self.ids) > self.prompt_length

    def accept_drafted(self) -> bool:
        """Whether the last sampled token is the next one of the draft, which the step has read already."""
        draft = self.draft
        if draft is None or draft.accepted == len(draft.tokens):
            return False
        right = self.generation.tokens[-1] == draft.tokens[draft.accepted]
        draft.accepted += right
        if not right or self.state != "running":
            return False
        self.computed += 1
        return True


@dataclass(frozen=True)
class Chunk:
    """Tokens that one step reads for a request: `ids[computed : computed + count]`."""

    request: Request
    count: int

    @property
    def tokens(self) -> list[int]:
        """The tokens themselves; those of a draft follow the last id."""
        request = self.request
        drafted = request.draft.tokens if request.draft else []
        return [*request.ids[request.computed : request.computed + self.count], *drafted]

    @property
    def ends_prefill(self) -> bool:
        """Whether the logits after its last token are the next to sample from."""
        return self.request.computed + self.count == len(self.request.ids)


@dataclass(frozen=True)
class StepPlan:
    """What one forward pass reads: one token of each decoding request, and its draft, then chunks of prompts."""

    decodes: list[Request]
    chunks: list[Chunk]
