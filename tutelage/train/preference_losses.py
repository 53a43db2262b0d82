"""Losses of preferences: DPO and its relatives, and KTO. Those of reward models are in `reward_losses`.

Each gives component sums over a micro-batch and, for every pair (or labelled answer), a row of figures to log and to
evaluate. Shape suffixes: N tokens of a batch, S segments, P positions with a loss weight, G pairs or labelled answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.batching.packing import segment_sum, to_device
from tutelage.batching.preferences import LABEL, SIDE
from tutelage.records import Batch
from tutelage.train.distributed import all_gather_object
from tutelage.train.losses import Components, Loss
from tutelage.train.metrics import Metrics

REFERENCE = "ref_logprob"  # the stream with the reference model's log-probabilities
Z0 = "z0"  # KTO's estimate of the divergence of policy and reference, a scalar per segment

# (model, batch) -> component sums, and figures for each item [G].
ItemLoss = Callable[[nn.Module, Batch], tuple[Components, Mapping[str, torch.Tensor]]]
PairLossName = Literal["sigmoid", "sigmoid_norm", "robust", "ipo", "ipo_mean", "simpo", "orpo"]


class PairLogprobs(NamedTuple):
    """Summed log-probabilities of the completions of G pairs, by the policy and by the reference, and their trained
    tokens: each [G]."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_reference: torch.Tensor
    rejected_reference: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor


class LossOptions(NamedTuple):
    """Numbers that a pair loss may use."""

    beta: float = 0.1
    label_smoothing: float = 0.0
    gamma: float = 0.5


def log_ratio(pairs: PairLogprobs) -> torch.Tensor:
    """log pi(w)/ref(w) - log pi(l)/ref(l), [G]: the h of DPO (arXiv 2305.18290, Eq. 7)."""
    return pairs.chosen - pairs.chosen_reference - (pairs.rejected - pairs.rejected_reference)


def mean_log_ratio(pairs: PairLogprobs) -> torch.Tensor:
    """The log-ratios per token of each side, [G]."""
    chosen_G = (pairs.chosen - pairs.chosen_reference) / pairs.chosen_tokens
    return chosen_G - (pairs.rejected - pairs.rejected_reference) / pairs.rejected_tokens


def mean_logprob_gap(pairs: PairLogprobs) -> torch.Tensor:
    """log pi(w)/|w| - log pi(l)/|l|, [G] (SimPO, arXiv 2405.14734, Eq. 4)."""
    return pairs.chosen / pairs.chosen_tokens - pairs.rejected / pairs.rejected_tokens


def log_odds_ratio(pairs: PairLogprobs) -> torch.Tensor:
    """log odds(w) - log odds(l) of the mean probability per token, [G] (ORPO, arXiv 2403.07691, Eq. 4)."""
    chosen_G, rejected_G = pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens
    return chosen_G - log1mexp(chosen_G) - (rejected_G - log1mexp(rejected_G))


def log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, stable near 0 and far from it (Maechler 2012). A log-probability that rounds to 0
    counts as the nearest number below it."""
    x = x.clamp(max=-torch.finfo(x.dtype).tiny)
    near = x > -0.6931471805599453
    # The branch that is not taken must have a finite gradient too.
    near_x, far_x = torch.where(near, x, -1.0), torch.where(near, -1.0, x)
    return torch.where(near, torch.log(-torch.expm1(near_x)), torch.log1p(-torch.exp(far_x)))


def sigmoid_loss(margin_G: torch.Tensor, options: LossOptions) -> torch.Tensor:
    """-(1 - e) log s(b h) - e log s(-b h). DPO (2305.18290, Eq. 7); with e > 0 conservative DPO."""
    logits_G, smoothing = options.beta * margin_G, options.label_smoothing
    return -(1 - smoothing) * F.logsigmoid(logits_G) - smoothing * F.logsigmoid(-logits_G)


def robust_loss(margin_G: torch.Tensor, options: LossOptions) -> torch.Tensor:
    """(-(1 - e) log s(b h) + e log s(-b h)) / (1 - 2 e): unbiased under labels flipped with rate e (2403.00409)."""
    logits_G, rate = options.beta * margin_G, options.label_smoothing
    return (-(1 - rate) * F.logsigmoid(logits_G) + rate * F.logsigmoid(-logits_G)) / (1 - 2 * rate)


def ipo_loss(margin_G: torch.Tensor, options: LossOptions) -> torch.Tensor:
    """(h - 1 / (2 b))^2 (IPO, arXiv 2310.12036, Eq. 17, with tau = b)."""
    return (margin_G - 1 / (2 * options.beta)).square()


def simpo_loss(margin_G: torch.Tensor, options: LossOptions) -> torch.Tensor:
    """-log s(b h - gamma) (SimPO, arXiv 2405.14734, Eq. 6)."""
    return -F.logsigmoid(options.beta * margin_G - options.gamma)


def odds_ratio_loss(margin_G: torch.Tensor, options: LossOptions) -> torch.Tensor:
    """-b log s(h) (ORPO, arXiv 2403.07691, Eqs. 6 and 7, with lambda = b; its other part is the NLL term)."""
    return -options.beta * F.logsigmoid(margin_G)


class PairLoss(NamedTuple):
    """The margin h of a pair, the loss of a margin, and whether the margin is relative to the reference."""

    margin: Callable[[PairLogprobs], torch.Tensor]
    loss: Callable[[torch.Tensor, LossOptions], torch.Tensor]
    reference: bool = True


PAIR_LOSSES: Mapping[PairLossName, PairLoss] = {
    "sigmoid": PairLoss(log_ratio, sigmoid_loss),
    "sigmoid_norm": PairLoss(mean_log_ratio, sigmoid_loss),
    "robust": PairLoss(log_ratio, robust_loss),
    "ipo": PairLoss(log_ratio, ipo_loss),
    "ipo_mean": PairLoss(mean_log_ratio, ipo_loss),
    "simpo": PairLoss(mean_logprob_gap, simpo_loss, reference=False),
    "orpo": PairLoss(log_odds_ratio, odds_ratio_loss, reference=False),
}


def pair_logprobs(logprobs_P: torch.Tensor, batch: Batch) -> PairLogprobs:
    """The pairs of a batch; numerators and token counts use the same loss weights. Without the reference's stream its
    log-probabilities are 0."""
    weights_P = batch.weights_N[batch.weights_N != 0]
    reference_P = batch.trained(REFERENCE) if REFERENCE in batch.streams else torch.zeros_like(weights_P)
    side_S, columns = batch.scalars[SIDE], []
    for values_P in (logprobs_P * weights_P, reference_P * weights_P, weights_P):
        sums_S = segment_sum(values_P, batch)
        columns += [sums_S[side_S > 0], sums_S[side_S < 0]]
    return PairLogprobs(*columns)


def pair_loss(name: PairLossName, options: LossOptions, nll: float = 0.0, replay: float = 1.0) -> Loss:
    """The loss of preference pairs. Its components are the mean over pairs, `nll` times the mean negative
    log-probability of the chosen tokens, and `replay` times that of replayed text."""
    kind = PAIR_LOSSES[name]

    def items(model: nn.Module, batch: Batch) -> tuple[Components, Mapping[str, torch.Tensor]]:
        logprobs_P = model(batch)
        pairs = pair_logprobs(logprobs_P, batch)
        margin_G = kind.margin(pairs)
        losses_G = kind.loss(margin_G, options)
        components = {"loss": losses_G.sum(), "replay": replay * text_loss(logprobs_P, batch, SIDE)}
        if nll:
            components["nll"] = -nll * pairs.chosen.sum()
        return components, {
            "loss": losses_G,
            **pair_figures(pairs, options.beta * margin_G, REFERENCE in batch.streams),
        }

    denominators = {"loss": pairs_of, "replay": text_tokens(SIDE), **({"nll": chosen_tokens} if nll else {})}
    start = kind.loss(torch.zeros(1, dtype=torch.float64), options)
    return as_loss(items, denominators, {"loss": float(start), "margin": 0.0} if kind.reference else {})


def pair_figures(pairs: PairLogprobs, margin_G: torch.Tensor, with_reference: bool) -> dict[str, torch.Tensor]:
    """What is logged of each pair: whether chosen is preferred, by the margin and by log-probability per token; the
    margin; the log-probabilities; and by how many nats per token they moved from the reference's."""
    likelier = mean_logprob_gap(pairs) > 0
    figures = {"accuracy": margin_G > 0, "margin": margin_G, "likelier": likelier}
    figures |= {"chosen_logprob": pairs.chosen, "rejected_logprob": pairs.rejected}
    if with_reference:
        before = PairLogprobs(pairs.chosen_reference, pairs.rejected_reference, *pairs[2:])
        figures["likelier_before"] = mean_logprob_gap(before) > 0
        figures["chosen_shift"] = (pairs.chosen - pairs.chosen_reference) / pairs.chosen_tokens
        figures["rejected_shift"] = (pairs.rejected - pairs.rejected_reference) / pairs.rejected_tokens
    return figures


def kto_loss(beta: float, desirable: float, undesirable: float, replay: float = 1.0) -> Loss:
    """l_y (1 - s(b (r - z0))) for desirable answers, with r - z0 negated for undesirable ones; r = log pi / ref (KTO,
    arXiv 2402.01306, Eqs. 7 and 8). `z0` is the scalar that the stream puts into each step."""

    def items(model: nn.Module, batch: Batch) -> tuple[Components, Mapping[str, torch.Tensor]]:
        logprobs_P = model(batch)
        weights_P, label_S = batch.weights_N[batch.weights_N != 0], batch.scalars[LABEL]
        ratio_S = segment_sum((logprobs_P - batch.trained(REFERENCE)) * weights_P, batch)
        ratio_G, label_G = ratio_S[label_S != 0], label_S[label_S != 0]
        z0_G = batch.scalars[Z0][label_S != 0] if Z0 in batch.scalars else torch.zeros_like(ratio_G)
        losses_G = kto(ratio_G, z0_G, label_G, beta) * torch.where(label_G > 0, desirable, undesirable)
        margin_G = beta * ratio_G * label_G
        components = {"loss": losses_G.sum(), "replay": replay * text_loss(logprobs_P, batch, LABEL)}
        return components, {"loss": losses_G, "accuracy": margin_G > 0, "margin": margin_G, "kl": z0_G}

    return as_loss(items, {"loss": labelled, "replay": text_tokens(LABEL)}, {"margin": 0.0, "kl": 0.0})


def kto(ratio_G: torch.Tensor, z0_G: torch.Tensor, label_G: torch.Tensor, beta: float) -> torch.Tensor:
    """1 - s(+-b (r - z0)), [G]; labels are 1 (desirable) and -1."""
    return 1 - torch.sigmoid(label_G * beta * (ratio_G - z0_G))


@torch.no_grad()
def estimate_z0(model: nn.Module, batches: Sequence[Batch], bfloat16: bool = False) -> float:
    """max(0, the mean of log pi / ref over answers to other prompts), over all processes (arXiv 2402.01306, section
    4.1). The model's present weights count; nothing is differentiated."""
    device, pairs = next(model.parameters()).device, [0.0, 0.0]
    for batch in batches:
        batch = to_device(batch, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            weights_P = batch.weights_N[batch.weights_N != 0]
            ratio_S = segment_sum((model(batch) - batch.trained(REFERENCE)) * weights_P, batch)
        if not batch.padding:
            pairs = [pairs[0] + float(ratio_S.double().sum()), pairs[1] + len(ratio_S)]
    total, count = (sum(column) for column in zip(*all_gather_object(pairs), strict=True))
    return max(0.0, total / count) if count else 0.0


def text_loss(logprobs_P: torch.Tensor, batch: Batch, scalar: str) -> torch.Tensor:
    """The summed negative log-probability of segments that are neither side of a pair nor labelled: replayed text."""
    weights_P = batch.weights_N[batch.weights_N != 0]
    return -segment_sum(logprobs_P * weights_P, batch)[batch.scalars[scalar] == 0].sum()


def text_tokens(scalar: str) -> Callable[[Batch], float]:
    """The denominator of `text_loss`."""
    return lambda batch: _tokens(batch, batch.scalars[scalar] == 0)


def chosen_tokens(batch: Batch) -> float:
    """The trained tokens of chosen answers."""
    return _tokens(batch, batch.scalars[SIDE] > 0)


def _tokens(batch: Batch, where_S: torch.Tensor) -> float:
    weights_P = batch.weights_N[batch.weights_N != 0]
    return float(segment_sum(weights_P.double(), batch)[where_S].sum())


def pairs_of(batch: Batch) -> float:
    """The pairs of a batch."""
    return float((batch.scalars[SIDE] > 0).sum())


def labelled(batch: Batch) -> float:
    """The labelled answers of a batch."""
    return float((batch.scalars[LABEL] != 0).sum())


def as_loss(
    items: ItemLoss, denominators: Mapping[str, Callable[[Batch], float]], first_step: Mapping[str, float]
) -> Loss:
    """A loss that logs the mean of each figure of its items."""

    def function(model: nn.Module, batch: Batch) -> tuple[Components, Metrics]:
        components, figures = items(model, batch)
        return components, Metrics({n: (float(v.detach().double().sum()), len(v)) for n, v in figures.items()})

    return Loss(function, denominators, first_step, items)
