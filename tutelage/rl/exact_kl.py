"""The divergence of a policy from its reference over the whole vocabulary: what k1 and k2 estimate from samples.

Shape suffixes: P positions with a loss weight, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tutelage.batching.packing import collate, pack, to_device
from tutelage.model.transformer import TEMPERATURE, Transformer, temperatures
from tutelage.records import ROLE_STREAM, Batch, Example, Schema
from tutelage.train.policy_losses import RESPONSE

SMALL_VOCABULARY = 4096  # of a model for which it is measured


def divergence(logits_PV: torch.Tensor, reference_PV: torch.Tensor) -> torch.Tensor:
    """KL(pi, ref) at each position, [P]: the sum over the vocabulary of pi (log pi - log ref)."""
    logprobs_PV, other_PV = logits_PV.log_softmax(-1), reference_PV.log_softmax(-1)
    return (logprobs_PV.exp() * (logprobs_PV - other_PV)).sum(-1)


@torch.no_grad()
def exact_kl(policy: Transformer, reference: Transformer, examples: Sequence[Example], micro_tokens: int) -> float:
    """The mean of the divergence over the positions that predict sampled tokens, each at its sample's temperature."""
    total, count = 0.0, 0
    schema = ROLE_STREAM | Schema(scalars={RESPONSE: 0.0, TEMPERATURE: 1.0})
    device = policy.embedding.weight.device
    for row in pack([len(example.tokens) for example in examples], micro_tokens):
        batch = to_device(collate([(examples[place],) for place in row], schema), device)
        values_P = divergence(trained_logits(policy, batch), trained_logits(reference, batch))
        total, count = total + float(values_P.double().sum()), count + len(values_P)
    return total / max(count, 1)


def trained_logits(model: Transformer, batch: Batch) -> torch.Tensor:
    """Logits at the positions with a loss weight, float32 [P, V]."""
    hidden_ND = model.hidden(batch.tokens_N, batch.positions_N, model.within_segments(batch.lengths))
    hidden_PD = (hidden_ND / temperatures(batch))[batch.weights_N != 0]
    return model.logits(hidden_PD).float()


def is_small(model: torch.nn.Module) -> bool:
    """Whether the divergence is measured: a built-in architecture with a small vocabulary."""
    return (
        isinstance(model, Transformer) and model.config.hf_parameters is None and model.config.vocab <= SMALL_VOCABULARY
    )
