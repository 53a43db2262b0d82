"""Sampling: logits to the next token.

Shape suffixes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tutelage.config import Settings
from tutelage.model.few_rows import most_likely

DRAWS_AT_ONCE = 64


class SamplingSettings(Settings, frozen=True, kw_only=True):
    """How tokens are sampled. Penalties come first, then temperature, top_k, top_p and min_p, each on what is left.

    temperature:        logits are divided by it; 0 takes the most likely token (greedy).
    top_k:              sample from the k most likely tokens; None: from all.
    top_p:              sample from the smallest set of tokens with this probability (Holtzman et al. 2019, arXiv
                        1904.09751).
    min_p:              sample from tokens at least this likely relative to the most likely one (Nguyen et al. 2024,
                        arXiv 2407.01082).
    repetition_penalty: logits of tokens that prompt or answer contain are divided by it where positive, multiplied
                        where negative (Keskar et al. 2019, arXiv 1909.05858, section 4.1).
    presence_penalty:   subtracted from the logits of tokens that the answer contains.
    frequency_penalty:  subtracted once for each time that the answer contains the token.
    max_tokens:         maximum length of an answer, the stop token included.
    seed:               the same seed gives the same tokens, whatever else is in the batch.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    max_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 (greedy) or above")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; it must be at least 1, or left out")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must lie above 0 and not above 1")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p is {self.min_p}; it must lie between 0 and 1")
        if self.repetition_penalty <= 0:
            raise ValueError(f"repetition_penalty is {self.repetition_penalty}; it must be above 0; 1 is none")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1")

    @property
    def distribution(self) -> tuple[float | int | None, ...]:
        """What decides the distribution: rows that agree in it are sampled together."""
        return (
            self.temperature, self.top_k, self.top_p, self.min_p,
            self.repetition_penalty, self.presence_penalty, self.frequency_penalty,
        )  # fmt: skip

    @property
    def penalises(self) -> bool:
        """Whether tokens seen before change the logits."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0


class DrawStream:
    """Random numbers in [0, 1), float64: each a function of seed, prompt id, sample number and position, and of nothing
    else, so that neither neighbours nor preemption change a draw. Philox (Salmon et al. 2011) with (seed, prompt id) as
    its key counts blocks of positions in the first word of its counter and samples in the second; the third is
    `purpose`: 0 for the tokens of an answer, others for what a draft model draws."""

    def __init__(self, seed: int, prompt_id: int, sample: int, purpose: int = 0) -> None:
        self.origin = seed, prompt_id, sample
        philox = np.random.Philox(key=[seed, prompt_id], counter=[0, sample, purpose, 0])
        self._generator, self._numbers = np.random.Generator(philox), np.empty(0)

    def __getitem__(self, position: int) -> float:
        while position >= len(self._numbers):
            self._numbers = np.concatenate([self._numbers, self._generator.random(DRAWS_AT_ONCE)])
        return float(self._numbers[position])


def penalise(
    logits_BV: torch.Tensor, settings: SamplingSettings, rows: Sequence[tuple[list[int], list[int]]]
) -> torch.Tensor:
    """Logits after the penalties. `rows` holds all ids of each row, and those that were sampled."""
    logits_BV = logits_BV.clone()
    vocab = logits_BV.shape[1]
    for logits_V, (ids, sampled) in zip(logits_BV, rows, strict=True):
        counts_V = torch.bincount(torch.tensor(sampled, dtype=torch.int64), minlength=vocab)[:vocab]
        counts_V = counts_V.to(logits_V)
        seen = torch.tensor(sorted(set(ids)), device=logits_V.device)
        seen = seen[seen < vocab]
        scores = logits_V[seen]
        penalty = settings.repetition_penalty
        logits_V[seen] = torch.where(scores > 0, scores / penalty, scores * penalty)
        logits_V -= settings.frequency_penalty * counts_V + settings.presence_penalty * (counts_V > 0)
    return logits_BV


def choose(
    logits_BV: torch.Tensor, settings: SamplingSettings, uniform_B: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next token of each row, int64 [B], and its log-probability under the distribution it was drawn from, float64
    [B]. `uniform_B` has one random number per row; None for greedy decoding, where the log-probability is 0."""
    if uniform_B is None:
        tokens_B = most_likely(logits_BV)
        return tokens_B, torch.zeros(len(tokens_B), dtype=torch.float64, device=logits_BV.device)
    probabilities_BV, tokens_BV = distribution(logits_BV, settings)
    places_B1, total_B1 = _places(probabilities_BV, uniform_B)
    logprobs_B = (probabilities_BV.gather(1, places_B1) / total_B1).log()[:, 0]
    return (places_B1 if tokens_BV is None else tokens_BV.gather(1, places_B1))[:, 0], logprobs_B


def _places(weights_BV: torch.Tensor, uniform_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each row's running sum reaches its share of the row's total, int64 [B, 1], and the totals [B, 1]."""
    cumulative_BV = weights_BV.cumsum(dim=-1)
    total_B1 = cumulative_BV[:, -1:]
    # Below the total also after rounding, so that the token where the sum reaches it, and none after that, is the last.
    target_B1 = (uniform_B[:, None] * total_B1).minimum(total_B1.nextafter(torch.zeros_like(total_B1)))
    return torch.searchsorted(cumulative_BV, target_B1, right=True), total_B1


def draw(weights_V: torch.Tensor, uniform: float) -> int:
    """The token that a random number in [0, 1) stands for, where each has a share of its weight."""
    return int(_places(weights_V[None], torch.tensor([uniform], dtype=torch.float64, device=weights_V.device))[0])


def distribution(logits_BV: torch.Tensor, settings: SamplingSettings) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Probabilities after temperature and truncation, float64, not normalised: [B, V] and None, or, sorted from the
    most likely on, with the tokens they belong to."""
    logits_BV = logits_BV.double() / settings.temperature
    tokens_BV = None
    if settings.top_k is not None:
        logits_BV, tokens_BV = logits_BV.topk(min(settings.top_k, logits_BV.shape[1]), dim=-1)
    elif settings.top_p < 1 or settings.min_p > 0:
        logits_BV, tokens_BV = logits_BV.sort(dim=-1, descending=True)
    probabilities_BV = logits_BV.softmax(dim=-1)
    if settings.top_p < 1:  # the first token that reaches top_p is kept
        cumulative_BV = probabilities_BV.cumsum(dim=-1)
        probabilities_BV[:, 1:] *= cumulative_BV[:, :-1] < settings.top_p
    if settings.min_p > 0:
        probabilities_BV = probabilities_BV * (probabilities_BV >= settings.min_p * probabilities_BV[:, :1])
    return probabilities_BV, tokens_BV


def probabilities(logits_V: torch.Tensor, settings: SamplingSettings) -> torch.Tensor:
    """The whole distribution that a token is drawn from, float64 [V]; its sum is 1. The temperature is above 0."""
    weights_BV, tokens_BV = distribution(logits_V[None], settings)
    if tokens_BV is not None:
        weights_BV = torch.zeros(1, len(logits_V), dtype=torch.float64, device=logits_V.device).scatter(
            1, tokens_BV, weights_BV
        )
    return weights_BV[0] / weights_BV.sum()


def verify_draft(p_V: torch.Tensor, q_V: torch.Tensor, token: int, accept: float, uniform: float) -> tuple[int, float]:
    """Speculative sampling (Leviathan et al. 2022, arXiv 2211.17192, section 2.3): a token that was drawn from `q_V` is
    accepted with probability min(1, p / q), else one is drawn from the positive part of p - q; so the result is
    distributed as `p_V`. `accept` and `uniform` are the random numbers of the two decisions. Returns the token and its
    log-probability under `p_V`."""
    if accept * float(q_V[token]) >= float(p_V[token]):
        residual_V = (p_V - q_V).clamp(min=0)
        if not residual_V.any():  # rounding: p equals q
            residual_V = p_V
        token = draw(residual_V, uniform)
    return token, float(p_V[token].log())
