"""Three rules on the logits that make a base model answer, without training.

After Hewitt et al. 2024, "Instruction following without instruction tuning", arXiv 2409.14254, section 6: the longer
the answer, the likelier its end; a few tokens are uniformly likelier or less likely; and tokens that the answer has are
less likely. The rules are theirs; the tokens and weights are set here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from tutelage.engine.requests import Request
from tutelage.tokenizer import Tokenizer

END_AT, END_WEIGHT = 250, 15.0  # tokens after which the end has its full weight, in nats
REPEATED = 1.5
# How a document goes on, and how an answer does not begin; lists and headings.
UNIFORM = {
    "<": -4.0, "_": -1.0, " I": -5.0, "I": -5.0, " We": -3.0, "We": -3.0, " What": -3.0, "What": -3.0, " should": -6.0,
    "*": 1.0, "-": 1.0, "#": 1.0, "1": 1.0, " The": 1.0, "\n": 1.0,
}  # fmt: skip


def rule_adapter(tokenizer: Tokenizer, stop_ids: frozenset[int]) -> Callable[[Request, torch.Tensor], torch.Tensor]:
    """A `process` for `Engine.add`. Texts of UNIFORM that are no token of their own are left out.

    stop_ids: the tokens that end an answer.
    """
    special = {*tokenizer.special_tokens.values()}
    ids = {tokenizer.token_text(token): token for token in range(tokenizer.vocab_size) if token not in special}
    biases = {ids[text]: weight for text, weight in UNIFORM.items() if text in ids}

    def process(request: Request, logits_V: torch.Tensor) -> torch.Tensor:
        logits_V = logits_V.clone()
        for token, weight in biases.items():
            logits_V[token] += weight
        written = request.generation.tokens
        if written:
            seen = torch.tensor(sorted({*written} - stop_ids), device=logits_V.device)
            logits_V[seen] -= REPEATED
        for token in stop_ids:
            logits_V[token] += END_WEIGHT * min(len(written), END_AT) / END_AT
        return logits_V

    return process
