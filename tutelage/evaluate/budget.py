"""How many prompts an evaluation asks, so that it stays within its time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from tutelage.evaluate.answers import ANSWER, ask
from tutelage.evaluate.session import EvalSession
from tutelage.model.hub import Checkpoint
from tutelage.progress import duration, status
from tutelage.records import Conversation

PROBE = 8  # prompts that are asked to learn how long one takes
MODELS = 2  # the same prompts are asked of the model and of the one it started from

Sets = Mapping[str, Sequence[Conversation]]


def within_budget(session: EvalSession, checkpoint: Checkpoint, sets: Sets) -> Sets:
    """The prompts of each set that are asked: all of them, or a sample that fits into the session's budget. The sample
    is drawn once, so that every model answers the same prompts; which prompts go first depends on their text alone."""
    seconds = session.budget()
    if seconds is None or not any(sets.values()):
        return sets
    if session.asked is None:
        count, total = _affordable(checkpoint, sets, seconds), sum(map(len, sets.values()))
        ordered = {name: sorted(prompts, key=_random_key) for name, prompts in sets.items()}
        chosen = {name: prompts[: max(1, count * len(prompts) // total)] for name, prompts in ordered.items()}
        session.asked = frozenset(prompt.messages for prompts in chosen.values() for prompt in prompts)
        if count < total:
            status(
                f"{session.name}: {len(session.asked)} of {total} prompts are asked, to evaluate in about "
                f"{duration(seconds)}; eval_minutes (--eval-minutes) allows more"
            )
    return {name: [prompt for prompt in prompts if prompt.messages in session.asked] for name, prompts in sets.items()}


def _affordable(checkpoint: Checkpoint, sets: Sets, seconds: float) -> int:
    """How many prompts can be asked of MODELS models in this time, at least PROBE."""
    every = sorted((prompt for prompts in sets.values() for prompt in prompts), key=_random_key)
    if len(every) <= PROBE:
        return len(every)
    began = time.monotonic()
    ask(checkpoint, every[:PROBE], ANSWER, "evaluation: how long an answer takes")
    spent = time.monotonic() - began
    return max(PROBE, int((seconds - spent) / MODELS / (spent / PROBE)))


def _random_key(prompt: Conversation) -> bytes:
    return blake2b("\n".join(message.text for message in prompt.messages).encode(), digest_size=8).digest()
