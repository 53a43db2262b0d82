"""Losses of reward models on pairs and rankings: Bradley-Terry over all pairs of a prompt, and Plackett-Luce.

All answers to a prompt are one example group, so they are scored in one forward pass. Shape suffixes: N tokens of a
batch, S segments (answers), K pairs of a better and a worse answer, G prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.batching.preferences import MARGIN, SIDE
from tutelage.records import Batch
from tutelage.train.losses import Components, Loss
from tutelage.train.preference_losses import as_loss, text_loss, text_tokens

RankingLossName = Literal["pairs", "plackett_luce"]


class RankedPairs(NamedTuple):
    """Every pair of answers to one prompt of which one is better: the segments of both, and the place of its prompt
    among the G prompts with such a pair; each [K]. Answers that tie make no pair."""

    better_K: torch.Tensor
    worse_K: torch.Tensor
    prompt_K: torch.Tensor
    prompts: int

    def mean(self, values_K: torch.Tensor) -> torch.Tensor:
        """The mean over the pairs of each prompt, [G]."""
        sums_G = values_K.new_zeros(self.prompts).index_add(0, self.prompt_K, values_K)
        return sums_G / torch.bincount(self.prompt_K, minlength=self.prompts)


def ranked_pairs(batch: Batch) -> RankedPairs:
    """The pairs of a batch, by the scalar SIDE: more is better, and 0 is no answer of a comparison."""
    side_S, group_S = batch.scalars[SIDE], batch.groups_S.to(batch.scalars[SIDE].device)
    ranked_S = side_S != 0
    pair_SS = (group_S[:, None] == group_S) & (side_S[:, None] > side_S) & ranked_S[:, None] & ranked_S
    better_K, worse_K = pair_SS.nonzero(as_tuple=True)
    prompts, prompt_K = torch.unique(group_S[better_K], return_inverse=True)
    return RankedPairs(better_K, worse_K, prompt_K, len(prompts))


def segment_scores(head_N: torch.Tensor, batch: Batch) -> torch.Tensor:
    """A head's output at the last token of each segment, [S]: found by the segments' lengths, never by a token's
    value."""
    return head_N[torch.tensor(batch.lengths, device=head_N.device).cumsum(0) - 1]


def bradley_terry(chosen_G: torch.Tensor, rejected_G: torch.Tensor, margin: float | torch.Tensor) -> torch.Tensor:
    """-log s(r_w - r_l - m), [G]."""
    return -F.logsigmoid(chosen_G - rejected_G - margin)


def plackett_luce(score_S: torch.Tensor, batch: Batch, pairs: RankedPairs) -> torch.Tensor:
    """-sum over answers of log(exp r_i / sum of exp r_j over answers that are not better), [G] (Plackett 1975; ties as
    Breslow 1974 has them). Answers with none below them count for nothing."""
    side_S, group_S = batch.scalars[SIDE], batch.groups_S.to(score_S.device)
    rest_SS = (group_S[:, None] == group_S) & (side_S[:, None] >= side_S) & (side_S != 0)
    # The diagonal keeps rows of replayed text finite.
    rest_SS |= torch.eye(len(side_S), dtype=torch.bool, device=score_S.device)
    losses_S = torch.where(rest_SS, score_S[None, :], -torch.inf).logsumexp(1) - score_S
    above_S, first_K = torch.unique(pairs.better_K, return_inverse=True)
    prompt_S = pairs.prompt_K.new_zeros(len(above_S)).scatter(0, first_K, pairs.prompt_K)
    return losses_S.new_zeros(pairs.prompts).index_add(0, prompt_S, losses_S[above_S])


def reward_loss(
    margin: float | Literal["rows"], centring: float, replay: float = 1.0, kind: RankingLossName = "pairs"
) -> Loss:
    """The mean over prompts of the loss on the scores of the head "reward" at the last token of each answer.

    "pairs": the mean over all pairs of a prompt of -log s(r_w - r_l - m) (InstructGPT, arXiv 2203.02155, Eq. 1; margin:
    Llama 2, arXiv 2307.09288, Eq. 2), and c (r_w + r_l)^2, which keeps scores around 0 (arXiv 2312.09244). With
    "rows" the margin is that of each row.
    "plackett_luce": the likelihood of the whole ranking, and the same centring.
    """

    def items(model: nn.Module, batch: Batch) -> tuple[Components, Mapping[str, torch.Tensor]]:
        outputs = model.outputs(batch)  # type: ignore[operator]
        score_S, pairs = segment_scores(outputs.heads["reward"], batch), ranked_pairs(batch)
        better_K, worse_K = score_S[pairs.better_K], score_S[pairs.worse_K]
        if kind == "plackett_luce":
            losses_G = plackett_luce(score_S, batch, pairs)
        else:
            margin_K = batch.scalars[MARGIN][pairs.better_K] if margin == "rows" else margin
            losses_G = pairs.mean(bradley_terry(better_K, worse_K, margin_K))
        components = {"loss": losses_G.sum(), "replay": replay * text_loss(outputs.logprobs, batch, SIDE)}
        if centring:
            components["centring"] = centring * pairs.mean((better_K + worse_K).square()).sum()
        gap_K = better_K - worse_K
        figures = {"loss": losses_G, "accuracy": pairs.mean((gap_K > 0).to(gap_K.dtype)), "margin": pairs.mean(gap_K)}
        rewards = {"chosen_reward": pairs.mean(better_K), "rejected_reward": pairs.mean(worse_K)}
        return components, figures | rewards

    denominators = {"loss": prompts_of, "replay": text_tokens(SIDE), **({"centring": prompts_of} if centring else {})}
    first_step = {"margin": 0.0}
    if kind == "pairs" and margin != "rows":
        zero = torch.zeros(1, dtype=torch.float64)
        first_step["loss"] = float(bradley_terry(zero, zero, margin))
    return as_loss(items, denominators, first_step)


def prompts_of(batch: Batch) -> float:
    """The prompts of a batch with a pair of which one is better."""
    return float(ranked_pairs(batch).prompts)
