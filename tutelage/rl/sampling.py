"""Prompts to groups of samples: the engine writes them with the weights that are trained, ids in and ids out; rewards
are given to exactly the text that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch

from tutelage.chat import Renderer
from tutelage.chat.audit.fix import openai_row
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.requests import FinishReason, Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.weights_digest import weights_digest
from tutelage.files import read_json, write_json
from tutelage.model.transformer import Transformer
from tutelage.records import Conversation, Task, ToolResult
from tutelage.rl.prompts import DrawnPrompt, Prompt
from tutelage.rl.remote import RemoteWriter
from tutelage.rl.rewards import Rewards, Sample, Scored
from tutelage.rl.turns import Environment, Written, written
from tutelage.tools.inserted import ASSISTANT, Inserted
from tutelage.tools.loop import run_openings
from tutelage.tools.trace import Opening
from tutelage.train.distributed import all_gather_object, is_main_process, rank, world_size
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
    inserted: context between the sampled tokens, from an environment.
    transcript: where there is any, all text after the prompt, for people to read.
    messages: where there is any, all turns after the prompt, as a row of a file of conversations has them.
    age:      rollouts since the weights that wrote its first token.
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
    inserted: list[Inserted] = field(default_factory=list)
    transcript: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    age: int = 0

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prompt, sampled tokens and what was inserted, end to end: ids int32 [T], loss weights float32 [T], roles
        uint8 [T]. Every sampled token is trained, and nothing else."""
        ids, roles, weights = list(self.prompt), list(self.roles), [0.0] * len(self.prompt)
        sampled = 0
        for after, own, own_roles in [*self.inserted, Inserted(len(self.tokens), [], [])]:
            ids += [*self.tokens[sampled:after], *own]
            roles += [*[ASSISTANT] * (after - sampled), *own_roles]
            weights += [*[1.0] * (after - sampled), *[0.0] * len(own)]
            sampled = after
        return np.array(ids, np.int32), np.array(weights, np.float32), np.array(roles, np.uint8)

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
    environment: Environment | None = None
    remote: RemoteWriter | None = None

    def groups(self, model: Transformer, drawn: Sequence[DrawnPrompt], rollout: int = 0) -> list[Group]:
        """The samples of each prompt, on every process; each process writes those of its share of the prompts.
        `rollout` is the number of the rollout that they are of.

        Raises:
            SamplerMismatch: the engine does not have the weights that are trained.
        """
        own = drawn[rank() :: world_size()]
        written = self.write(model, own) if self.remote is None else self.remote.write(model, own, rollout)
        rows = [self._rewarded(own, written)]
        if world_size() > 1:
            rows = [msgspec.convert(part, list[Group]) for part in all_gather_object(rows[0])]
        return [rows[place % world_size()][place // world_size()] for place in range(len(drawn))]

    @property
    def staleness(self) -> int:
        """How many later rollouts are begun while the model trains on one."""
        return 0 if self.remote is None else self.remote.settings.staleness

    def begin(self, later: Sequence[Sequence[DrawnPrompt]], rollout: int) -> None:
        """Let the samples of later rollouts go on while the model trains on this one."""
        assert self.remote is not None
        self.remote.begin([one for drawn in later for one in drawn[rank() :: world_size()]], rollout)

    def save(self, folder: Path, ahead: int) -> Path | None:
        """Write the samples of later rollouts that were begun at rollout `ahead`, if any were (else -1), into a folder;
        returns the file. All processes must call it."""
        if self.remote is None or ahead < 0:
            return None
        path = folder / f"ahead-{ahead}.json"
        parts = all_gather_object(self.remote.state())
        if is_main_process():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(path, [draft for part in parts for draft in part])
        return path

    def restore(self, folder: Path, ahead: int) -> None:
        """Read what `save` wrote."""
        if self.remote is not None and ahead >= 0:
            self.remote.restore(read_json(folder / f"ahead-{ahead}.json"))

    def write(self, model: Transformer, drawn: Sequence[DrawnPrompt]) -> list[list[Written]]:
        """`group_size` answers to each prompt, by the engine of this process."""
        if not drawn:
            return []
        settings = EngineSettings(max_rows=min(ROWS, len(drawn) * self.group_size), prefix_cache="prompts")
        engine, digest = Engine(model, settings), weights_digest(model)
        device = model.embedding.weight.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16"):
            answers = self._answers(engine, drawn)
        check_weights([one.generation for one in answers], digest)
        return [answers[start : start + self.group_size] for start in range(0, len(answers), self.group_size)]

    def _answers(self, engine: Engine, drawn: Sequence[DrawnPrompt]) -> list[Written]:
        """The answers to all prompts, `group_size` to each."""
        asked = [(one, sample) for one in drawn for sample in range(self.group_size)]
        environment, stops = self.environment, self.renderer.stop_ids
        if environment is None:
            requests = [engine.add(one.prompt.ids, stops, self.settings, one.id, sample) for one, sample in asked]
            engine.run()
            return [Written(request.generation) for request in requests]
        openings = [
            Opening(task_conversation(task), one.prompt.ids.tolist(), environment.first(task), one.id, sample)
            for one, sample in asked
            for task in (one.prompt.task,)
        ]
        traces = run_openings(
            engine, self.renderer, openings, environment.next_turn, self.settings,
            seconds=environment.seconds, exact=False,
        )  # fmt: skip
        return [written(trace, len(one.prompt.task.prompt)) for (one, _), trace in zip(asked, traces, strict=True)]

    def _rewarded(self, drawn: Sequence[DrawnPrompt], written: Sequence[Sequence[Written]]) -> list[Group]:
        """What was written, with rewards, all of which are given at once: a reward model scores them in batches."""
        pairs = [(one, answer) for one, row in zip(drawn, written, strict=True) for answer in row]
        scored = self.score([(one.prompt, answer) for one, answer in pairs])
        rows = [self._row(*pair, *both) for pair, both in zip(pairs, scored, strict=True)]
        return [rows[start : start + self.group_size] for start in range(0, len(rows), self.group_size)]

    def score(self, written: Sequence[tuple[Prompt, Written]]) -> list[tuple[Sample, Scored]]:
        """Each answer as rewards see it, with its reward; none where the environment failed."""
        samples = [self.sample(prompt, answer) for prompt, answer in written]
        scored = self.rewards.score(samples)
        return [
            (sample, replace(one, total=None, reason=answer.problem) if answer.problem else one)
            for sample, one, (_, answer) in zip(samples, scored, written, strict=True)
        ]

    def sample(self, prompt: Prompt, written: Written) -> Sample:
        """What was written as rewards see it: the last answer, after all turns before it. Nothing after the stop token
        exists in it (dllm #118)."""
        content = [token for token in written.answer if token not in self.renderer.stop_ids]
        before = np.array(written.inserted[-1].ids) if written.inserted else prompt.ids
        return Sample(
            prompt=(*prompt.task.prompt, *written.turns),
            gold=prompt.task.gold,
            text=self.renderer.parse(content).text,
            raw=opened_reasoning(self.renderer, before) + self.renderer.tokenizer.decode(content),
            tokens=len(written.generation.tokens),
            max_tokens=self.settings.max_tokens,
            finish_reason=written.generation.finish_reason,
            id=prompt.task.id,
            state=written.state,
        )

    def _turns(self, written: Written) -> list[dict[str, Any]]:
        """All turns after the prompt; none where the assistant has written a result itself, which is no row to keep."""
        turns = (*written.turns, self.renderer.parse(written.answer))
        own = (part for turn in turns if turn.role == "assistant" for part in turn.content)
        if any(isinstance(part, ToolResult) for part in own):
            return []
        return list(openai_row(Conversation(turns))["messages"])

    def _row(self, drawn: DrawnPrompt, written: Written, sample: Sample, scored: Scored) -> SampleRow:
        parts = {name: (part.value, part.outcome) for name, part in scored.parts.items()}
        prompt, generation = drawn.prompt, written.generation
        row = SampleRow(
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
            inserted=list(written.inserted),
            age=written.age,
        )
        if not row.inserted:
            return row
        transcript = self.renderer.tokenizer.decode(row.columns()[0][len(row.prompt) :])
        return replace(row, transcript=transcript, messages=self._turns(written))


def task_conversation(task: Task) -> Conversation:
    """The prompt of a task as a conversation."""
    return Conversation(task.prompt, task.id, tools=task.tools)


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
