"""What a request asks of its logits: the most likely tokens to report, biases, and the mask of a grammar.

Shape suffix: V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from tutelage.engine.requests import Request
from tutelage.serve.grammar import Grammar


@dataclass
class LogitRules:
    """Called by the engine before each token of a request; returns the logits to draw from.

    bias: added to the logits of these tokens.
    top:  how many of the most likely tokens to keep for each position, before bias and mask.
    kept: those, as (id, log-probability), the most likely first.
    """

    bias: dict[int, float] = field(default_factory=dict)
    grammar: Grammar | None = None
    top: int = 0
    kept: list[list[tuple[int, float]]] = field(default_factory=list)

    def __call__(self, request: Request, logits_V: torch.Tensor) -> torch.Tensor:
        if self.top:
            scores_V = logits_V.to(torch.promote_types(logits_V.dtype, torch.float32))
            logprobs_V = scores_V - scores_V.logsumexp(-1)  # as the engine computes that of the chosen token
            best = logprobs_V.topk(min(self.top, len(scores_V)))
            self.kept.append(list(zip(best.indices.tolist(), best.values.tolist(), strict=True)))
        if self.bias:
            logits_V = logits_V.clone()
            logits_V[list(self.bias)] += torch.tensor(list(self.bias.values())).to(logits_V)
        if self.grammar is not None:
            allowed = torch.from_numpy(self.grammar.allowed(request.generation.tokens)[: len(logits_V)])
            masked_V = torch.full_like(logits_V, -torch.inf)
            masked_V[: len(allowed)] = logits_V[: len(allowed)].masked_fill(~allowed.to(logits_V.device), -torch.inf)
            logits_V = masked_V
        return logits_V
