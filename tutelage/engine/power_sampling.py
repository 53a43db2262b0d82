"""Power sampling: answers drawn in proportion to p(answer) ** power, where p is the model's probability of the whole
answer (Karan and Du 2025, "Reasoning with sampling", arXiv 2510.14901, algorithm 1).

It is not the same as a low temperature, which raises the probability of each token by itself and so ignores how likely
the rest of the answer can still be. Nothing is trained.

An answer grows block by block. After each block, moves of Metropolis and Hastings: from a random place on the answer is
written again at temperature 1 / power, and the new one is accepted with the probability that makes p ** power the
stationary distribution. An answer that has ended is returned after the moves of its block, as in the authors' code;
with one block, and enough moves, the distribution is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from tutelage.config import Settings
from tutelage.engine.engine import Engine
from tutelage.engine.requests import Generation, Request
from tutelage.engine.sampling import DrawStream, SamplingSettings
from tutelage.engine.text_stream import TextStream

_MOVES = 2  # the purpose of draws that choose and accept moves, beside those of tokens and of drafts
_STEP = 1 << 32  # a step's draws are those of another sample


class PowerSettings(Settings, frozen=True, kw_only=True):
    """How strongly the distribution over answers is sharpened, and how long is searched.

    power: the exponent; 1 is the model itself.
    block: tokens that an answer grows by before the next moves.
    moves: after each block. An answer of one block costs about 1 + moves / 2 answers.
    """

    power: float = 4.0
    block: int = 192
    moves: int = 10

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise ValueError(f"power is {self.power}; it must be above 0; 1 is the model itself")
        if self.block < 1 or self.moves < 0:
            raise ValueError(f"block is {self.block} and moves is {self.moves}; give at least 1 and 0")


@dataclass(frozen=True)
class PowerPrompt:
    """A prompt; its draws are a function of the seed, `prompt_id` and `sample`."""

    ids: Sequence[int] | np.ndarray
    prompt_id: int = 0
    sample: int = 0


@dataclass
class _Chain:
    """The answer to a prompt so far. `generation.finish_reason` is "length" where it can go on."""

    prompt: PowerPrompt
    draws: DrawStream
    generation: Generation = field(default_factory=Generation)
    steps: int = 0


def power_samples(
    engine: Engine,
    prompts: Sequence[PowerPrompt],
    stop_ids: frozenset[int],
    sampling: SamplingSettings,
    settings: PowerSettings,
    make_text: Callable[[], TextStream] | None = None,
    done: Callable[[int, Generation], None] = lambda place, generation: None,
) -> list[Generation]:
    """One answer to each prompt, in their order; `done` gets each as it ends. Of `sampling` the length and the seed
    count. `make_text` gives a stream whose stop strings end an answer.

    `sample_logprobs` are those of the last proposals, not of p ** power, whose normaliser is unknown.

    Raises:
        ValueError: a prompt is empty, or leaves no room in the context.
    """
    proposals = msgspec.structs.replace(sampling, temperature=1 / settings.power)
    chains = [_Chain(one, DrawStream(sampling.seed, one.prompt_id, one.sample, _MOVES)) for one in prompts]
    growing = list(enumerate(chains))
    for end in range(settings.block, sampling.max_tokens + settings.block, settings.block):
        limit = min(end, sampling.max_tokens)
        grown = [chain for _, chain in growing]
        starts = [len(chain.generation.tokens) for chain in grown]
        for chain, new in zip(grown, _write(engine, grown, starts, stop_ids, proposals, limit, make_text), strict=True):
            chain.generation = _joined(chain.generation, len(chain.generation.tokens), new)
        for _ in range(settings.moves):
            _move(engine, grown, stop_ids, proposals, limit, settings.power, make_text)
        for place, chain in growing:
            if chain.generation.finish_reason != "length" or limit == sampling.max_tokens:
                done(place, chain.generation)
        growing = [(place, chain) for place, chain in growing if chain.generation.finish_reason == "length"]
        if not growing:
            break
    return [chain.generation for chain in chains]


def _move(
    engine: Engine,
    chains: Sequence[_Chain],
    stop_ids: frozenset[int],
    proposals: SamplingSettings,
    limit: int,
    power: float,
    make_text: Callable[[], TextStream] | None,
) -> None:
    """One move of every chain."""
    uniforms = [(chain.draws[2 * chain.steps], chain.draws[2 * chain.steps + 1]) for chain in chains]
    starts = [int(place * len(chain.generation.tokens)) for chain, (place, _) in zip(chains, uniforms, strict=True)]
    written = _write(engine, chains, starts, stop_ids, proposals, limit, make_text)
    for chain, start, new, (_, accept) in zip(chains, starts, written, uniforms, strict=True):
        proposed = _joined(chain.generation, start, new)
        if math.log(accept or 1e-300) < log_acceptance(chain.generation, proposed, start, power):
            chain.generation = proposed


def log_acceptance(current: Generation, proposed: Generation, start: int, power: float) -> float:
    """The logarithm of p(x') ** power q(x | x') / (p(x) ** power q(x' | x)) for answers that agree before `start`
    (equation 9). q also chooses the place: each of an answer's tokens is as likely, so that a longer answer has each
    place less often."""

    def balance(generation: Generation) -> float:
        target = power * sum(generation.logprobs[start:])
        return target - sum(generation.sample_logprobs[start:]) - math.log(len(generation.tokens))

    return balance(proposed) - balance(current)


def _write(
    engine: Engine,
    chains: Sequence[_Chain],
    starts: Sequence[int],
    stop_ids: frozenset[int],
    proposals: SamplingSettings,
    limit: int,
    make_text: Callable[[], TextStream] | None,
) -> list[Generation]:
    """What the model writes after the first tokens of each chain, up to `limit` tokens in all."""
    requests: list[Request] = []
    for chain, start in zip(chains, starts, strict=True):
        kept = chain.generation.tokens[:start]
        text = None if make_text is None else make_text()
        if text is not None:
            for token in kept:  # a stop string may begin in what is kept
                text.push(token)
        own = msgspec.structs.replace(proposals, max_tokens=limit - start)
        sample = chain.prompt.sample + _STEP * chain.steps
        ids = [*(int(token) for token in chain.prompt.ids), *kept]
        requests.append(engine.add(ids, stop_ids, own, chain.prompt.prompt_id, sample, text))
        chain.steps += 1
    engine.run()
    return [request.generation for request in requests]


def _joined(old: Generation, start: int, new: Generation) -> Generation:
    """The first `start` tokens of one answer with another after them."""
    return Generation(
        old.tokens[:start] + new.tokens,
        old.logprobs[:start] + new.logprobs,
        old.sample_logprobs[:start] + new.sample_logprobs,
        new.finish_reason,
        new.stop_token,
        new.weights,
    )
