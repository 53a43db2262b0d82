"""What tests of reinforcement learning share, and a reward that their recipes name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from tutelage.records import Batch, Conversation, Message, message
from tutelage.rl.rewards import Sample
from tutelage.runner import Run
from tutelage.stages import run as stage_run
from tutelage.stages.train_stage import set_up
from tutelage.train.loop import count, mean


def mentions_the_cat(sample: Sample) -> float:
    """A reward that a tiny model earns now and then."""
    return float("cat" in sample.text)


def log_of(run: Run, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / kind / "train.jsonl").read_text().splitlines()]


def never(sample: Sample) -> float | None:
    """A reward that always abstains."""
    return None


def now_and_then(sample: Sample) -> float | None:
    """A reward that abstains for some answers."""
    return None if sample.tokens % 3 == 0 else float("cat" in sample.text)


@contextmanager
def kill_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block a run dies after so many checkpoints."""
    real, saved = stage_run.save_checkpoint, 0

    def killed(*arguments: Any) -> None:
        nonlocal saved
        real(*arguments)
        saved += 1
        if saved == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(stage_run, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        yield
    monkeypatch.setattr(stage_run, "save_checkpoint", real)


def first_step(run: Run, kind: str) -> tuple[list[Batch], Any, torch.nn.Module]:
    setup = set_up(run.trained_stage(kind), run.context(kind))
    step, _ = next(setup.stream.batches(None, False))
    return step, setup.loss, setup.checkpoint.model


def gradient(step: list[Batch], loss: Any, model: torch.nn.Module) -> torch.Tensor:
    denominators = count(step, loss)[2]
    for batch in step:
        mean(loss.function(model, batch)[0], denominators).backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


def moved_gradient(run: Run, kind: str) -> torch.Tensor:
    """The gradient of the first step's samples after the weights have moved, so that ratios differ from 1, and sampler
    and reference from the policy."""
    step, loss, model = first_step(run, kind)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * (parameter.abs().mean() + 0.1) * torch.randn(parameter.shape, generator=generator))
    return gradient(step, loss, model)


def changed_by(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether two gradients differ by more than rounding."""
    assert torch.isfinite(after).all()
    return before.shape != after.shape or not torch.allclose(before, after, rtol=1e-3, atol=1e-9)


def once_more(conversation: Conversation, state: Any) -> tuple[list[Message] | None, Any]:
    """An environment that asks back after the first answer, and is satisfied with the second."""
    turns = sum(turn.role == "assistant" for turn in conversation.messages)
    return (None if turns > 1 else [message("user", "who?")]), state
