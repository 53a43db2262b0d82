"""Speculative decoding: several tokens of a request are guessed, one forward pass reads them all, and the model keeps
those that it would have written itself. It pays where a pass over a few tokens takes hardly longer than over one, and
guesses are often right; both are measured while requests run, and guessing stops where it does not pay.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean, median

from tutelage.engine.draft_model import ModelDrafter
from tutelage.engine.ngram_drafts import NgramDrafter
from tutelage.engine.pages import PAGE, PagePool
from tutelage.engine.requests import Request, StepPlan
from tutelage.model.hf_model import HFModel
from tutelage.model.transformer import Transformer

MEASURED = 4  # plain steps before the first guess, and steps with guesses before they are judged
FIRST_PAUSE, LONGEST_PAUSE = 16, 1024  # plain steps before guessing is tried again


@dataclass
class Payoff:
    """Whether guessing pays for batches of about one size."""

    plain: deque[float] = field(default_factory=lambda: deque(maxlen=16))  # seconds of a step for each of its tokens
    drafted: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=16))  # seconds of a step, its tokens
    pause: int = 0
    next_pause: int = FIRST_PAUSE

    def allows(self) -> bool:
        """Whether the next step may guess."""
        self.pause = max(0, self.pause - 1)
        return not self.pause and len(self.plain) >= MEASURED

    def note(self, seconds: float, tokens: int, drafted: bool) -> None:
        """Count a step that wrote so many tokens."""
        if not drafted:
            self.plain.append(seconds / tokens)
            return
        self.drafted.append((seconds, tokens))
        if len(self.drafted) >= MEASURED:
            cost = median(seconds for seconds, _ in self.drafted) / mean(tokens for _, tokens in self.drafted)
            if cost < median(self.plain):
                self.next_pause = FIRST_PAUSE
            else:
                self.pause, self.next_pause = self.next_pause, min(2 * self.next_pause, LONGEST_PAUSE)
                self.drafted.clear()


class Speculation:
    """The drafts of an engine.

    most:    most tokens that are guessed for a request in a step. After wrong guesses fewer are made.
    context: of the model that verifies.
    drafted, accepted: how many tokens were guessed, and how many of them right.
    """

    def __init__(
        self, drafter: NgramDrafter | ModelDrafter, most: int, context: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self.drafter, self.most, self.context, self.clock = drafter, most, context, clock
        self.lengths: dict[Request, int] = {}
        self.payoffs: dict[int, Payoff] = {}
        self.drafted, self.accepted = 0, 0
        self._began, self._written = 0.0, 0

    def begin(self, plan: StepPlan, pool: PagePool, running: int) -> None:
        """Before a step: give its decoding requests drafts, if that pays, and pages for them where there are any."""
        self._began = self.clock()
        self._written = sum(len(request.generation.tokens) for request in plan.decodes)
        for request in plan.decodes:
            request.draft = None
        if not plan.decodes or not self._payoff(plan).allows():
            return
        wanted = [(request, self._room(request, pool, running)) for request in plan.decodes]
        self.drafter.draft([(request, room) for request, room in wanted if room > 0])

    def end(self, plan: StepPlan) -> None:
        """After a step: learn from it, and take the drafts away."""
        drafts = [(request, request.draft) for request in plan.decodes if request.draft]
        for request, draft in drafts:
            right, length = draft.accepted, len(draft.tokens)
            self.drafted, self.accepted = self.drafted + length, self.accepted + right
            if request.state == "running":
                self.lengths[request] = min(self.most, 4 * length) if right == length else min(self.most, right + 2)
            request.draft = None
        if plan.decodes and not plan.chunks:  # prompts take time of their own
            written = sum(len(request.generation.tokens) for request in plan.decodes) - self._written
            self._payoff(plan).note(self.clock() - self._began, written, bool(drafts))

    def forget(self, request: Request) -> None:
        """The request has ended, or gave up its row."""
        self.lengths.pop(request, None)
        self.drafter.forget(request)

    def _payoff(self, plan: StepPlan) -> Payoff:
        return self.payoffs.setdefault(len(plan.decodes).bit_length(), Payoff())

    def _room(self, request: Request, pool: PagePool, running: int) -> int:
        """How many tokens may be guessed: the answer, the context and the request's pages must hold them."""
        rest = request.settings.max_tokens - len(request.generation.tokens) - 1
        room = min(self.lengths.get(request, self.most), rest, self.context - len(request.ids))
        missing = -(-(len(request.ids) + room) // PAGE) - len(request.pages)
        if room > 0 and 0 < missing <= pool.available - running:
            request.pages += pool.allocate(missing) or []
        return min(room, len(request.pages) * PAGE - len(request.ids))


def make_speculation(
    model: Transformer | HFModel, most: int, max_rows: int, draft_model: Transformer | None
) -> Speculation | None:
    """The drafts that an engine makes: up to `most` tokens for each of `max_rows` requests.

    Raises:
        ValueError: the model cannot verify drafts, or the draft model has another vocabulary.
    """
    if not most:
        if draft_model is not None:
            raise ValueError(
                "a draft model is given, but speculate is 0; set it to the most tokens to guess, such as 8"
            )
        return None
    if model.config.hf_parameters is not None:
        raise ValueError("speculate needs one of the built-in model families; this model is held by transformers")
    if draft_model is not None and draft_model.token_count != model.token_count:
        raise ValueError(
            f"the draft model has {draft_model.token_count} tokens, the model {model.token_count}; a draft model needs "
            "the same tokenizer"
        )
    drafter = NgramDrafter() if draft_model is None else ModelDrafter(draft_model, max_rows)
    return Speculation(drafter, most, model.config.context)
