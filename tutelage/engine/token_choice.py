"""The next token of each request of a step, drawn from the model's logits as each request asks for.

Shape suffixes: B requests, V vocabulary.
"""

from __future__ import annotations

import torch

from tutelage.engine.requests import Request
from tutelage.engine.sampling import choose, penalise, probabilities, verify_draft


def choose_tokens(requests: list[Request], logits_BV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens, int64 [B], and their log-probabilities when drawn, float64 [B]; sampled together where the settings
    agree. Logits are processed first where a request asks for it."""
    logits_BV = _processed(requests, logits_BV)
    groups: dict[tuple[float | int | None, ...], list[int]] = {}
    if all(request.settings is requests[0].settings for request in requests):
        groups[requests[0].settings.distribution] = list(range(len(requests)))
    else:
        for place, request in enumerate(requests):
            groups.setdefault(request.settings.distribution, []).append(place)
    tokens_B = torch.empty(len(requests), dtype=torch.int64, device=logits_BV.device)
    logprobs_B = torch.empty(len(requests), dtype=torch.float64, device=logits_BV.device)
    for places in groups.values():
        members = [requests[place] for place in places]
        own_BV = logits_BV if len(places) == len(requests) else logits_BV[places]
        tokens_B[places], logprobs_B[places] = _choose_alike(members, own_BV)
    return tokens_B, logprobs_B


def _choose_alike(requests: list[Request], logits_BV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for requests with one distribution of their settings."""
    settings = requests[0].settings
    if settings.penalises:
        logits_BV = penalise(logits_BV, settings, [(request.ids, request.generation.tokens) for request in requests])
    uniform_B = None
    if settings.temperature > 0:
        draws = [request.draws[len(request.generation.tokens)] for request in requests]
        uniform_B = torch.tensor(draws, dtype=torch.float64, device=logits_BV.device)
    tokens_B, logprobs_B = choose(logits_BV, settings, uniform_B)
    for place, request in enumerate(requests):
        draft = request.draft
        if uniform_B is not None and draft is not None and draft.accepted < len(draft.probabilities):
            p_V, q_V = probabilities(logits_BV[place], settings), draft.probabilities[draft.accepted]
            accept, token = draft.uniforms[draft.accepted], draft.tokens[draft.accepted]
            tokens_B[place], logprobs_B[place] = verify_draft(p_V, q_V, token, accept, float(uniform_B[place]))
    return tokens_B, logprobs_B


def _processed(requests: list[Request], logits_BV: torch.Tensor) -> torch.Tensor:
    if any(request.process for request in requests):
        logits_BV = logits_BV.clone()
        for place, request in enumerate(requests):
            if request.process:
                logits_BV[place] = request.process(request, logits_BV[place])
    return logits_BV
