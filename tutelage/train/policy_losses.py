"""Losses of policies: clipped ratios and their relatives, the penalty for leaving the reference, the value loss of PPO.

A step holds samples (segments with the scalar "response") and perhaps replayed text. Each token of a sample carries
its advantage and the log-probability under the distribution that it was drawn from; where a sample is used for more
than one step, also its log-probability under the policy before the first of them.

Shape suffixes: N tokens of a batch, S segments, P positions with a loss weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import nn

from tutelage.batching.packing import segment_sum
from tutelage.records import Batch
from tutelage.train.losses import Components, Loss
from tutelage.train.metrics import Metrics
from tutelage.train.preference_losses import REFERENCE, text_loss, text_tokens

# Streams: log-probabilities under the distribution sampled from, and under the policy before the samples' first step;
# the advantage; and for PPO the value before that step, and the return.
SAMPLED, OLD, ADVANTAGE, OLD_VALUE, RETURN = "sample_logprob", "old_logprob", "advantage", "old_value", "return"
RESPONSE = "response"  # scalar: 1 for samples, 0 for replayed text

PolicyLossName = Literal["clip", "gspo", "cispo", "reinforce"]
Normalisation = Literal["token", "sequence", "constant"]
KlName = Literal["k1", "k2", "k3"]


class PolicyOptions(NamedTuple):
    """Numbers of a policy loss.

    loss_type:      see POLICY_LOSSES.
    normalisation:  "token" divides by the trained tokens of the step (DAPO); "sequence" takes the mean of each sample,
                    then that over samples (GRPO); "constant" divides by samples times `max_tokens` (Dr. GRPO).
    clip_low, clip_high: the ratio counts between 1 - clip_low and 1 + clip_high.
    importance_cap: the largest weight of a sample whose sampler and trainer differ; None: no correction.
    kl:             factor of the divergence from the reference, by the estimator `kl_estimator`.
    replay:         factor of the loss on replayed text.
    """

    loss_type: PolicyLossName = "clip"
    normalisation: Normalisation = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    importance_cap: float | None = None
    kl: float = 0.0
    kl_estimator: KlName = "k2"
    max_tokens: int = 1
    replay: float = 1.0


class ValueOptions(NamedTuple):
    """Numbers of PPO's value loss: its factor, and how far a value may move from its old one before the loss counts the
    worse of both."""

    weight: float = 0.5
    clip: float = 0.2


class Ratios(NamedTuple):
    """What a policy loss reads of each token, [P]: log-probabilities of the policy now and before its first step on
    these samples, the advantage, the loss weight."""

    logprobs: torch.Tensor
    old: torch.Tensor
    advantages: torch.Tensor
    weights: torch.Tensor


# (ratios, batch, options) -> the loss of each token [P], before its importance weight; and whether it is clipped.
TokenLoss = Callable[[Ratios, Batch, PolicyOptions], tuple[torch.Tensor, torch.Tensor]]


def clip_loss(ratios: Ratios, batch: Batch, options: PolicyOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """-min(r A, clip(r, 1 - e_low, 1 + e_high) A), r = pi / pi_old of a token (PPO, arXiv 1707.06347, Eq. 7; another
    upper bound: DAPO, arXiv 2503.14476, Eq. 10)."""
    ratio_P, advantage_P = (ratios.logprobs - ratios.old).exp(), ratios.advantages
    bounded_P = ratio_P.clamp(1 - options.clip_low, 1 + options.clip_high)
    losses_P = -torch.minimum(ratio_P * advantage_P, bounded_P * advantage_P)
    return losses_P, is_clipped(ratio_P, advantage_P, options)


def gspo_loss(ratios: Ratios, batch: Batch, options: PolicyOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """As `clip_loss`, with one ratio for a whole sample: exp of the mean log-ratio of its tokens (GSPO, arXiv
    2507.18071, Eqs. 5 and 7). Each token has its sample's loss, so the mean over its tokens is that of the sample."""
    means_S = segment_mean((ratios.logprobs - ratios.old) * ratios.weights, ratios.weights, batch)
    same = ratios._replace(logprobs=spread(means_S, batch), old=torch.zeros_like(ratios.old))
    return clip_loss(same, batch, options)


def cispo_loss(ratios: Ratios, batch: Batch, options: PolicyOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """-min(r, 1 + e_high) A log pi, without a gradient through the ratio: a clipped token still teaches (CISPO, arXiv
    2506.13585, Eqs. 4 and 5; the lower bound is off, as in the paper)."""
    ratio_P = (ratios.logprobs - ratios.old).detach().exp()
    weight_P = ratio_P.clamp(max=1 + options.clip_high)
    return -weight_P * ratios.advantages * ratios.logprobs, ratio_P > 1 + options.clip_high


def reinforce_loss(ratios: Ratios, batch: Batch, options: PolicyOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """-A log pi (Williams 1992); right only for samples of the present policy."""
    return -ratios.advantages * ratios.logprobs, torch.zeros_like(ratios.advantages, dtype=torch.bool)


POLICY_LOSSES: Mapping[PolicyLossName, TokenLoss] = {
    "clip": clip_loss,
    "gspo": gspo_loss,
    "cispo": cispo_loss,
    "reinforce": reinforce_loss,
}


def is_clipped(ratio_P: torch.Tensor, advantage_P: torch.Tensor, options: PolicyOptions) -> torch.Tensor:
    """Where the bound of the ratio holds back the policy, bool [P]."""
    above = (ratio_P > 1 + options.clip_high) & (advantage_P > 0)
    return above | ((ratio_P < 1 - options.clip_low) & (advantage_P < 0))


def kl_k1(logprobs_P: torch.Tensor, reference_P: torch.Tensor) -> torch.Tensor:
    """log pi / ref: unbiased, but the expectation of its gradient is 0, so it belongs into the reward."""
    return logprobs_P - reference_P


def kl_k2(logprobs_P: torch.Tensor, reference_P: torch.Tensor) -> torch.Tensor:
    """(log pi / ref)^2 / 2: biased, but its gradient is that of the reverse divergence."""
    return (logprobs_P - reference_P).square() / 2


def kl_k3(logprobs_P: torch.Tensor, reference_P: torch.Tensor) -> torch.Tensor:
    """ref / pi - 1 - log ref / pi: unbiased and never negative, but its gradient is that of the forward divergence
    KL(ref, pi)."""
    log_ratio_P = reference_P - logprobs_P
    return torch.expm1(log_ratio_P) - log_ratio_P


# Estimators of KL(pi, ref) on tokens drawn from pi (Schulman 2020, "Approximating KL divergence").
KL_ESTIMATORS: Mapping[KlName, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "k1": kl_k1,
    "k2": kl_k2,
    "k3": kl_k3,
}


def importance_weights(old_P: torch.Tensor, sampled_P: torch.Tensor, cap: float) -> torch.Tensor:
    """min(pi_old / mu, cap), where mu is what a token was drawn from: truncated importance sampling between sampler and
    trainer (arXiv 2510.26788)."""
    return (old_P - sampled_P).exp().clamp(max=cap)


def policy_loss(options: PolicyOptions) -> Loss:
    """The loss of samples, their divergence from the reference, and replayed text."""
    return Loss(partial(_function, options, None), _denominators(options), FIRST_STEP)


def ppo_loss(options: PolicyOptions, value: ValueOptions) -> Loss:
    """The same with the loss of the head "value"."""
    first_step = {**FIRST_STEP, "value_shift": 0.0}
    return Loss(partial(_function, options, value), {**_denominators(options), "value": response_tokens}, first_step)


# Before any weight has changed: samples are of the present policy, which is the reference; sampler and trainer agree.
FIRST_STEP = {"ratio": 1.0, "kl": 0.0, "mismatch": 0.0}


def _function(
    options: PolicyOptions, value: ValueOptions | None, model: nn.Module, batch: Batch
) -> tuple[Components, Metrics]:
    outputs = model.outputs(batch) if value is not None else None  # type: ignore[operator]
    logprobs_P = model(batch) if outputs is None else outputs.logprobs
    weights_P = batch.weights_N[batch.weights_N != 0]
    present_P, sampled_P = logprobs_P.detach(), batch.trained(SAMPLED)
    old_P = batch.trained(OLD) if OLD in batch.streams else present_P
    ratios = Ratios(logprobs_P, old_P, batch.trained(ADVANTAGE), weights_P)
    losses_P, clipped_P = POLICY_LOSSES[options.loss_type](ratios, batch, options)
    if options.importance_cap is not None:
        losses_P = losses_P * importance_weights(old_P, sampled_P, options.importance_cap)
    policy = reduce_samples(losses_P, batch, options)
    components = {"policy": policy, "replay": options.replay * text_loss(logprobs_P, batch, RESPONSE)}
    ratio_P = (present_P - old_P).exp()
    figures = {"ratio": ratio_P, "clipped": clipped_P, "entropy": -present_P}
    # E[mu / pi - 1 - log mu / pi] >= 0: the divergence of sampler and trainer, on tokens drawn from the sampler.
    figures["mismatch"] = torch.expm1(old_P - sampled_P) - (old_P - sampled_P)
    if REFERENCE in batch.streams:
        reference_P = batch.trained(REFERENCE)
        figures |= {"kl": kl_k1(present_P, reference_P), "kl_k2": kl_k2(present_P, reference_P)}
        if options.kl:
            # Samples of an earlier policy count by their ratio; it is 1 for those of the present one.
            divergence_P = ratio_P * KL_ESTIMATORS[options.kl_estimator](logprobs_P, reference_P)
            components["kl"] = options.kl * reduce_samples(divergence_P, batch, options)
    if value is not None:
        assert outputs is not None
        components["value"], value_figures = _value_loss(outputs.heads["value"], batch, value)
        figures |= value_figures
    metrics = Metrics({name: _token_sum(values_P, batch) for name, values_P in figures.items()})
    metrics.add(Metrics({"loss": (float(policy.detach()), _divisor(options)(batch))}))
    metrics.add(Metrics({"replay": (float(components["replay"].detach()), text_tokens(RESPONSE)(batch))}))
    return components, metrics


def _value_loss(
    values_N: torch.Tensor, batch: Batch, options: ValueOptions
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    """max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2) / 2 at the position that predicts each trained token, the
    state that the token was chosen in (Schulman et al., PPO's published implementation)."""
    values_P, old_P, return_P = values_N[batch.weights_N != 0], batch.trained(OLD_VALUE), batch.trained(RETURN)
    bounded_P = old_P + (values_P - old_P).clamp(-options.clip, options.clip)
    errors_P = torch.maximum((values_P - return_P).square(), (bounded_P - return_P).square()) / 2
    of_samples_P = errors_P * batch.weights_N[batch.weights_N != 0] * spread(batch.scalars[RESPONSE], batch)
    figures = {"value_loss": errors_P.detach(), "value": values_P.detach(), "return": return_P}
    return options.weight * of_samples_P.sum(), {**figures, "value_shift": (values_P.detach() - old_P).abs()}


def reduce_samples(values_P: torch.Tensor, batch: Batch, options: PolicyOptions) -> torch.Tensor:
    """The sum over the samples of a batch of values at trained positions, ready for the denominator of
    `options.normalisation`."""
    weights_P = batch.weights_N[batch.weights_N != 0]
    if options.loss_type == "gspo" or options.normalisation == "sequence":
        of_samples_S = segment_mean(values_P * weights_P, weights_P, batch)
    else:
        of_samples_S = segment_sum(values_P * weights_P, batch)
    total = (of_samples_S * batch.scalars[RESPONSE]).sum()
    return total / options.max_tokens if options.normalisation == "constant" else total


def response_tokens(batch: Batch) -> float:
    """The summed loss weight of the samples of a batch."""
    weights_P = batch.weights_N[batch.weights_N != 0].double()
    return float((segment_sum(weights_P, batch) * batch.scalars[RESPONSE]).sum())


def responses(batch: Batch) -> float:
    """The samples of a batch that have a loss weight."""
    weights_P = batch.weights_N[batch.weights_N != 0]
    return float(((segment_sum(weights_P, batch) > 0) * batch.scalars[RESPONSE]).sum())


def segment_mean(weighted_P: torch.Tensor, weights_P: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The mean over each segment of values that are multiplied by the loss weights already, [S]; 0 without a weight."""
    weights_S = segment_sum(weights_P, batch)
    return segment_sum(weighted_P, batch) / weights_S.where(weights_S > 0, 1.0)


def spread(values_S: torch.Tensor, batch: Batch) -> torch.Tensor:
    """A value of each segment at its positions with a loss weight, [P]."""
    lengths_S = torch.tensor(batch.lengths, device=values_S.device)
    return torch.repeat_interleave(values_S, lengths_S)[batch.weights_N != 0]


def _divisor(options: PolicyOptions) -> Callable[[Batch], float]:
    return response_tokens if options.normalisation == "token" and options.loss_type != "gspo" else responses


def _denominators(options: PolicyOptions) -> dict[str, Callable[[Batch], float]]:
    divisor = _divisor(options)
    return {"policy": divisor, "replay": text_tokens(RESPONSE), **({"kl": divisor} if options.kl else {})}


def _token_sum(values_P: torch.Tensor, batch: Batch) -> tuple[float, float]:
    """The sum of a figure over the trained tokens of samples, and their number."""
    of_samples_P = spread(batch.scalars[RESPONSE], batch).bool()
    return float(values_P[of_samples_P].double().sum()), float(of_samples_P.sum())
