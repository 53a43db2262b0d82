"""Budget forcing: a thought is ended after so many tokens, and the model answers; or where it would end sooner, "Wait"
is written and it goes on (s1, Muennighoff et al. 2025, arXiv 2501.19393, section 3.1). With several budgets it gives a
curve of the score over the length of thinking."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tutelage.config import Settings
from tutelage.engine.requests import Request
from tutelage.tokenizer import Tokenizer

OPEN, CLOSE, WAIT = "<think>", "</think>", "Wait"


class ThinkBudget(Settings, frozen=True, kw_only=True):
    """The least and the most tokens of a thought; either may be left out."""

    at_least: int | None = None
    at_most: int | None = None


Process = Callable[[Request, torch.Tensor], torch.Tensor]


def budget_process(tokenizer: Tokenizer, budget: ThinkBudget, opened: bool) -> Process:
    """What keeps a request within its budget."""
    least, most = budget.at_least, budget.at_most
    prolong = None if least is None else prolong_thoughts(tokenizer, least, opened)
    end = None if most is None else end_thoughts(tokenizer, most, opened)

    def process(request: Request, logits_V: torch.Tensor) -> torch.Tensor:
        for change in (prolong, end):
            logits_V = logits_V if change is None else change(request, logits_V)
        return logits_V

    return process


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


def prolong_thoughts(tokenizer: Tokenizer, minimum: int, opened: bool) -> Process:
    """What makes a request think for at least `minimum` tokens: where the likeliest token would end its thought or its
    answer sooner, "Wait" is written. An answer that does not think is left alone. One for each request.

    opened: as of `end_thoughts`.
    """
    begin, end = marker_ids(tokenizer, OPEN), marker_ids(tokenizer, CLOSE)
    wait = tokenizer.encode(WAIT).tolist()
    waits: list[int] = []  # where "Wait" was begun

    def process(request: Request, logits_V: torch.Tensor) -> torch.Tensor:
        tokens = request.generation.tokens
        thinks = opened or tokens[: len(begin)] == begin
        if not thinks or len(tokens) >= minimum:
            return logits_V
        ends = sorted({end[0], *request.stop_ids})
        written = len(tokens) - waits[-1] if waits else len(wait)
        if written >= len(wait):
            masked_V = logits_V.clone()
            masked_V[ends] = -torch.inf
            if int(logits_V.argmax()) not in ends:
                return masked_V
            waits.append(len(tokens))
            written = 0
        masked_V = torch.full_like(logits_V, -torch.inf)
        masked_V[wait[written]] = 0.0
        return masked_V

    return process


def forced_place(tokens: Sequence[int], end: Sequence[int], budget: int) -> int | None:
    """Which id of the closing marker comes next after these tokens; None where the model goes on by itself: the budget
    is not used up, or the thought is closed."""
    if len(tokens) < budget or any(list(tokens[n : n + len(end)]) == list(end) for n in range(len(tokens))):
        return None
    begun = len(tokens) - budget  # since the budget was used up only ids of the marker were drawn
    return begun if begun < len(end) else None
