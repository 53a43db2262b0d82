"""Whether two servers of one model write the same tokens: a prefill server with its decode server, behind their proxy,
and one server that does both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tutelage.engine.remote import RemoteEngine
from tutelage.engine.sampling import SamplingSettings


class Difference(NamedTuple):
    """The first token at which the answers to a prompt differ, and both answers as ids from there."""

    prompt: int
    position: int
    first: list[int]
    second: list[int]


def different_answers(
    first: RemoteEngine, second: RemoteEngine, prompts: Sequence[np.ndarray], max_tokens: int
) -> list[Difference]:
    """Where the greedy answers to the prompts differ; [] where all are the same.

    Raises:
        EndpointError: a server cannot be used.
        ValueError: a server refused a prompt, or does not send the ids of its tokens.
    """
    settings = SamplingSettings(temperature=0, max_tokens=max_tokens)
    answers = []
    for engine in (first, second):
        requests = [engine.add(prompt, frozenset(), settings, number) for number, prompt in enumerate(prompts)]
        engine.run()
        if not all(request.exact for request in requests):
            raise ValueError(
                f"{engine.client.settings.url} does not send the ids of its tokens, and equal text may be other "
                "tokens; use a server that knows return_token_ids, such as vLLM or `tutelage serve`"
            )
        answers.append([list(request.generation.tokens) for request in requests])
    return [
        Difference(number, position, one[position:], other[position:])
        for number, (one, other) in enumerate(zip(*answers, strict=True))
        if (position := _first_difference(one, other)) is not None
    ]


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    if one == other:
        return None
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))
