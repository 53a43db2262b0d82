"""Budget forcing: a thought is ended after so many tokens, and the model answers (s1, Muennighoff et al. 2025, arXiv
2501.19393, section 3.1). With several budgets it gives a curve of the score over the length of thinking."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tutelage.engine.requests import Request
from tutelage.tokenizer import Tokenizer

OPEN, CLOSE = "<think>", "</think>"

Process = Callable[[Request, torch.Tensor], torch.Tensor]


def marker_ids(tokenizer: Tokenizer, marker: str) -> list[int]:
    """The ids of a marker: its own token, or its text."""
    special = tokenizer.special_tokens.get(marker)
    return tokenizer.encode(marker).tolist() if special is None else [special]


def end_thoughts(tokenizer: Tokenizer, budget: int, opened: bool) -> Process:
    """What makes a request end its thought after `budget` tokens, if it has not: the marker's ids are the only ones
    that can be drawn. An answer that does not think is left alone.

    opened: the prompt ends inside a thought; otherwise the answer has to begin with "<think>".
    """
    begin, end = marker_ids(tokenizer, OPEN), marker_ids(tokenizer, CLOSE)

    def process(request: Request, logits_V: torch.Tensor) -> torch.Tensor:
        tokens = request.generation.tokens
        thinks = opened or tokens[: len(begin)] == begin
        place = forced_place(tokens, end, budget) if thinks else None
        if place is None:
            return logits_V
        masked_V = torch.full_like(logits_V, -torch.inf)
        masked_V[end[place]] = 0.0
        return masked_V

    return process


def forced_place(tokens: Sequence[int], end: Sequence[int], budget: int) -> int | None:
    """Which id of the closing marker comes next after these tokens; None where the model goes on by itself: the budget
    is not used up, or the thought is closed."""
    if len(tokens) < budget or any(list(tokens[n : n + len(end)]) == list(end) for n in range(len(tokens))):
        return None
    begun = len(tokens) - budget  # since the budget was used up only ids of the marker were drawn
    return begun if begun < len(end) else None
