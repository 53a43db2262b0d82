"""Prompts to groups of samples: the engine writes them with the weights that are trained, ids in and ids out; rewards
are given to exactly the text that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import numpy as np
import torch

from tutelage.chat import Renderer
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.requests import FinishReason, Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.weights_digest import weights_digest
from tutelage.model.transformer import Transformer
from tutelage.rl.prompts import DrawnPrompt, Prompt
from tutelage.rl.rewards import Rewards, Sample, Scored
from tutelage.train.distributed import all_gather_object, rank, world_size
from tutelage.train.loop import Precision

ROWS = 256  # samples that are written at once


class SamplerMismatch(RuntimeError):
    """Samples were written by other weights than those that are trained."""


@dataclass(frozen=True)
class SampleRow:
    """One sample of a prompt with its reward.

    roles:    of the prompt's tokens, indices into records.ROLES.
    tokens:   every sampled token, the stop token included.
    logprobs: their log-probabilities under the distribution that they were drawn from.
    text, raw: as those of `Sample`.
    parts:    value and outcome of each part of the reward.
    total:    the reward; None where a part abstained, with the reason.
    """

    data: str
    prompt: list[int]
    roles: list[int]
    tokens: list[int]
    logprobs: list[float]
    finish_reason: FinishReason
    text: str
    raw: str
    total: float | None
    parts: dict[str, tuple[float | None, str]] = field(default_factory=dict)
    reason: str = ""

    @property
    def cut_off(self) -> bool:
        """Whether it did not end by itself."""
        return self.finish_reason != "stop"


Group = list[SampleRow]


@dataclass(frozen=True)
class Sampler:
    """What samples need besides prompts and weights. Draws are a function of (settings.seed, id of the drawn prompt,
    sample number, position) alone."""

    renderer: Renderer
    rewards: Rewards
    settings: SamplingSettings
    group_size: int
    precision: Precision = "float32"

    def groups(self, model: Transformer, drawn: Sequence[DrawnPrompt]) -> list[Group]:
        """The samples of each prompt, on every process; each process writes those of its share of the prompts.

        Raises:
            SamplerMismatch: the engine does not have the weights that are trained.
        """
        own = drawn[rank() :: world_size()]
        rows = [self._rewarded(own, self.write(model, own))]
        if world_size() > 1:
            rows = [msgspec.convert(part, list[Group]) for part in all_gather_object(rows[0])]
        return [rows[place % world_size()][place // world_size()] for place in range(len(drawn))]

    def write(self, model: Transformer, drawn: Sequence[DrawnPrompt]) -> list[list[Generation]]:
        """`group_size` answers to each prompt."""
        if not drawn:
            return []
        settings = EngineSettings(max_rows=min(ROWS, len(drawn) * self.group_size), prefix_cache="prompts")
        engine, digest = Engine(model, settings), weights_digest(model)
        requests = [
            [
                engine.add(one.prompt.ids, self.renderer.stop_ids, self.settings, one.id, sample)
                for sample in range(self.group_size)
            ]
            for one in drawn
        ]
        device = model.embedding.weight.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16"):
            engine.run()
        groups = [[request.generation for request in row] for row in requests]
        check_weights([generation for group in groups for generation in group], digest)
        return groups

    def _rewarded(self, drawn: Sequence[DrawnPrompt], written: Sequence[Sequence[Generation]]) -> list[Group]:
        """The generations with their rewards, all of which are given at once: a reward model scores them in batches."""
        pairs = [(one, generation) for one, row in zip(drawn, written, strict=True) for generation in row]
        samples = [self.sample(one.prompt, generation) for one, generation in pairs]
        scored = self.rewards.score(samples)
        rows = [_row(*pair, sample, s) for pair, sample, s in zip(pairs, samples, scored, strict=True)]
        return [rows[start : start + self.group_size] for start in range(0, len(rows), self.group_size)]

    def sample(self, prompt: Prompt, generation: Generation) -> Sample:
        """A generation as rewards see it. Nothing after the stop token exists in it (dllm #118)."""
        return Sample(
            prompt=prompt.task.prompt,
            gold=prompt.task.gold,
            text=self.renderer.parse(generation.content).text,
            raw=opened_reasoning(self.renderer, prompt.ids) + self.renderer.tokenizer.decode(generation.content),
            tokens=len(generation.tokens),
            max_tokens=self.settings.max_tokens,
            finish_reason=generation.finish_reason,
            id=prompt.task.id,
        )


def check_weights(generations: Sequence[Generation], digest: str) -> None:
    """SamplerMismatch where a generation was written by other weights than those of this digest."""
    others = {generation.weights for generation in generations} - {digest}
    if others:
        raise SamplerMismatch(
            f"samples were written by the weights {min(others)}, and the weights that are trained are {digest}; the "
            "engine must be told of new weights"
        )


def opened_reasoning(renderer: Renderer, prompt: np.ndarray) -> str:
    """The end of a prompt from a "<think>" on that its template writes and does not close; "" where it does not."""
    text = renderer.tokenizer.decode(prompt)
    _, mark, rest = text.rpartition("<think>")
    return mark + rest if mark and "</think>" not in rest and not rest.strip() else ""


def _row(drawn: DrawnPrompt, generation: Generation, sample: Sample, scored: Scored) -> SampleRow:
    parts = {name: (part.value, part.outcome) for name, part in scored.parts.items()}
    prompt = drawn.prompt
    return SampleRow(
        data=drawn.data,
        prompt=prompt.ids.tolist(),
        roles=prompt.roles.tolist(),
        tokens=generation.tokens,
        logprobs=generation.sample_logprobs,
        finish_reason=generation.finish_reason,
        text=sample.text,
        raw=sample.raw,
        total=scored.total,
        parts=cast(Any, parts),
        reason=scored.reason,
    )
