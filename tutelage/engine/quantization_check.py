"""How far 8-bit weights change a model: measured at load, on text that the model writes itself, so that it needs no
data and suits any language.

Shape suffixes: N tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.inference_copy import int8_copy, packed_copy
from tutelage.model.transformer import Transformer

ROWS, LENGTH = 8, 48


@dataclass(frozen=True)
class QuantizationLoss:
    """Perplexity of the full model and of the 8-bit one on the same tokens, and the mean Kullback-Leibler divergence of
    the 8-bit model's next-token distribution from the full one's, in nats."""

    full_perplexity: float
    perplexity: float
    kl: float

    def sentence(self) -> str:
        """For people, as it is printed at load."""
        return (
            f"8-bit weights: perplexity {self.perplexity:.2f}, full weights {self.full_perplexity:.2f}, on "
            f"{ROWS * LENGTH} tokens that the full model wrote; KL divergence {self.kl:.4f} nats per token"
        )


@torch.inference_mode()
def measure_quantization(model: Transformer, seed: int = 0) -> QuantizationLoss:
    """Compare on texts sampled at temperature 1, each from a random first token."""
    length = min(LENGTH, model.config.context - 1)
    firsts = np.random.default_rng(seed).integers(0, model.token_count, ROWS)
    sampling = SamplingSettings(temperature=1.0, max_tokens=length, seed=seed)
    answers = generate(model, [np.array([first]) for first in firsts], frozenset(), sampling)
    tokens = torch.tensor([[first, *answer.tokens] for first, answer in zip(firsts, answers, strict=True)])
    labels_N = tokens[:, 1:].flatten()
    full_NV, reduced_NV = (_logprobs(copy, tokens[:, :-1]) for copy in (packed_copy(model), int8_copy(model)))
    full, reduced = (F.nll_loss(logprobs, labels_N).exp().item() for logprobs in (full_NV, reduced_NV))
    kl = F.kl_div(reduced_NV, full_NV, log_target=True, reduction="batchmean").item()
    return QuantizationLoss(full, reduced, kl)


def _logprobs(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of what follows each token, float32 [N, V]."""
    rows, length = tokens.shape
    positions = torch.arange(length).repeat(rows)
    hidden_ND = model.hidden(tokens.flatten(), positions, model.within_segments((length,) * rows))
    return model.logits(hidden_ND)[:, : model.token_count].float().log_softmax(dim=-1)
