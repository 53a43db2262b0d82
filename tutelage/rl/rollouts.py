"""Rollouts as a stream of training data: prompts -> groups of samples -> rewards -> advantages -> examples.

A rollout is sampled with the weights as they are when its first step begins, and used for `minibatches` times
`inner_epochs` optimizer steps. The stream's state is a JSON value: cursors of the prompts, the number of the rollout,
the step within it. The samples of a rollout that is not used up are part of the state too: they lie beside the
checkpoint, named by their digest. So a run that was killed resumes bit for bit, samples included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.batching import loader
from tutelage.batching.loader import DataState, WeightedStore, micro_batches, step_groups
from tutelage.batching.store import loss_weight
from tutelage.model.hub import load_tensors, save_tensors
from tutelage.model.transformer import TEMPERATURE, Transformer
from tutelage.records import ROLE_STREAM, Batch, Example, ExampleGroup, Schema, Stream
from tutelage.rl.exact_kl import exact_kl, is_small
from tutelage.rl.figures import no_signal_reason, rollout_figures
from tutelage.rl.passes import Columns, Pass, columns_of
from tutelage.rl.prompts import Cursors, Prompt, draw_prompts, read_cursors, write_cursors
from tutelage.rl.rollout_files import digest_of, from_tensors, to_tensors
from tutelage.rl.sampling import Group, Sampler, SampleRow
from tutelage.train.distributed import is_main_process
from tutelage.train.layout import data_rank, data_world_size
from tutelage.train.loop import Precision
from tutelage.train.policy_losses import OLD, RESPONSE, SAMPLED
from tutelage.train.preference_losses import REFERENCE

FOLDER = "rollouts"  # beside the checkpoint
EMPTY_AFTER = 3  # rollouts in a row of which no sample has a reward

# (samples with a reward, by prompt; their columns from the passes, [T] of trained tokens; the KL factor) -> the streams
# of each sample, [T] or a number for all its tokens.
Assign = Callable[[Sequence[Group], Sequence[Sequence[Columns]], float], list[list[dict[str, Any]]]]


@dataclass(frozen=True)
class RolloutPlan:
    """How rollouts are made and used up.

    prompts:      prompts of a rollout, each with a group of samples.
    minibatches, inner_epochs: a rollout is cut into so many steps, and used so many times.
    refill:       how often prompts are drawn again in place of those whose group has no signal.
    mask_cut_off: samples that were cut off count for the group's mean, and are not trained.
    kl:           the factor of the divergence at the start; `adapt` gives the next one from it and the measured
                  divergence of a sample.
    schema:       what the examples carry.
    """

    prompts: int
    minibatches: int
    inner_epochs: int
    refill: int
    mask_cut_off: bool
    seed: int
    micro_tokens: int
    precision: Precision
    kl: float
    schema: Schema
    adapt: Callable[[float, float], float] | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps of a rollout."""
        return self.minibatches * self.inner_epochs


@dataclass(eq=False)
class RolloutStream:
    """The stream of a stage that samples.

    live:      gives the whole model as it is now.
    of_policy, of_reference: what is computed of the samples by the policy before its first step on them, and by the
               reference; None: nothing.
    assign:    rewards to advantages.
    replay, replay_share: text that is trained beside the samples, and its share of the trained tokens.
    """

    plan: RolloutPlan
    sets: Mapping[str, Sequence[Prompt]]
    shares: Mapping[str, float]
    sampler: Sampler
    live: Callable[[], Transformer]
    of_policy: Pass | None
    reference: tuple[Transformer, Pass] | None
    assign: Assign
    replay: Mapping[str, WeightedStore]
    replay_share: float
    folder: Path
    _figures: dict[str, Any] = field(default_factory=dict)
    _pending: tuple[str, list[Example]] | None = None

    def batches(self, state: DataState, endless: bool) -> Iterator[tuple[list[Batch], DataState]]:
        """The micro-batches of each step of this process, and the state after it; never ends."""
        at = dict(state) if state else self._start()
        self.sampler.restore(self.folder, at.get("ahead", -1))
        examples = self._load(at["digest"]) if at["digest"] else []
        while True:
            if not at["digest"]:
                examples, at = self._sample(at)
            groups, weight = self._part(examples, at["rollout"], at["step"])
            text, after = self._text(at, weight)
            at = self._counted(after, groups, text)
            last = at["step"] + 1 == self.plan.steps
            at |= {"rollout": at["rollout"] + 1, "step": 0, "digest": ""} if last else {"step": at["step"] + 1}
            self._pending = None if last else self._pending
            everything = [*groups, *text]
            part = data_rank(), data_world_size()
            micro = micro_batches(everything, self.plan.micro_tokens, *part, self._schema(), share=True)
            yield micro, dict(at)

    def figures(self) -> dict[str, Any]:
        """What the log says of the rollout that the last step began; empty for later steps of it."""
        figures, self._figures = self._figures, {}
        return figures

    @contextmanager
    def saving(self, state: DataState) -> Iterator[None]:
        """Around the writing of a checkpoint with this state: before it the samples that it needs are written, after it
        those of older checkpoints are removed."""
        digest = state["digest"] if state else ""
        path = self.folder / f"{digest}.safetensors"
        if digest and is_main_process() and not path.exists():
            assert self._pending is not None and self._pending[0] == digest
            self.folder.mkdir(parents=True, exist_ok=True)
            save_tensors(path, to_tensors(self._pending[1], self.plan.schema))
        ahead = self.sampler.save(self.folder, state.get("ahead", -1) if state else -1)
        yield
        if is_main_process() and self.folder.exists():
            for old in self.folder.glob("*.*"):
                if old not in (path, ahead):
                    old.unlink()

    def _start(self) -> dict[str, Any]:
        cursors = write_cursors(read_cursors(None, self.sets))
        return {
            "cursors": cursors, "rollout": 0, "step": 0, "digest": "", "kl": self.plan.kl, "trained": {}, "text": None,
        }  # fmt: skip

    def _schema(self) -> Schema:
        schema = self.plan.schema
        for dataset in self.replay.values():
            schema |= dataset.store.schema
        return schema

    def _load(self, digest: str) -> list[Example]:
        path = self.folder / f"{digest}.safetensors"
        if self._pending is None or self._pending[0] != digest:
            if not path.exists():
                raise ValueError(f"{path} is missing, and the checkpoint needs it; remove the stage's folder")
            self._pending = digest, from_tensors(load_tensors(path), self.plan.schema)
        return self._pending[1]

    def _sample(self, at: dict[str, Any]) -> tuple[list[Example], dict[str, Any]]:
        """A new rollout, and the state before its first step."""
        model, plan = self.live(), self.plan
        kept, sampled, cursors = self._groups(model, at)
        rows = [row for group in kept for row in group]
        scored = [self._example(row) for row in rows]
        passes = [(model, self.of_policy)] if self.of_policy else []
        passes += [self.reference] if self.reference else []
        columns = columns_of(passes, scored, plan.schema.scalars, plan.micro_tokens, plan.precision)
        by_group = iter(columns)
        of_groups = [[next(by_group) for _ in group] for group in kept]
        streams = [one for group in self.assign(kept, of_groups, at["kl"]) for one in group]
        examples = [self._finished(*parts) for parts in zip(rows, scored, columns, streams, strict=True)]
        examples = [example for example in examples if loss_weight(example)]
        if not examples:
            raise ValueError(
                f"all {len(rows)} samples were cut off after {self.sampler.settings.max_tokens} tokens, and with "
                "mask_cut_off none of them is trained; raise max_tokens"
            )
        spread = float(np.std([float(np.mean(one["advantage"])) for one in streams]))
        prompt = self.sampler.renderer.tokenizer.decode(np.array(sampled[0][0].prompt))
        self._figures = rollout_figures(sampled, prompt, spread)
        if self.reference is not None and is_small(model):
            self._figures["kl_exact"] = exact_kl(model, self.reference[0], scored, plan.micro_tokens)
        if plan.adapt is not None:
            measured = float(np.mean([np.sum(c[OLD] - c[REFERENCE]) for c in columns]))
            self._figures |= {"kl_factor": at["kl"], "kl_of_sample": measured}
            at = {**at, "kl": plan.adapt(at["kl"], measured)}
        digest = ""
        if plan.steps > 1:
            digest = digest_of(examples)
            self._pending = digest, examples
        at = {**at, "cursors": write_cursors(cursors), "digest": digest}
        return examples, at | ({"ahead": at["rollout"]} if self._look_ahead(cursors, at["rollout"]) else {})

    def _look_ahead(self, cursors: Cursors, rollout: int) -> bool:
        """Begin the samples of later rollouts, if the sampler may."""
        if not self.sampler.staleness:
            return False
        later = []
        for _ in range(self.sampler.staleness):
            drawn, cursors = draw_prompts(self.sets, self.shares, self.plan.prompts, self.plan.seed, cursors)
            later.append(drawn)
        self.sampler.begin(later, rollout)
        return True

    def _groups(self, model: Transformer, at: Mapping[str, Any]) -> tuple[list[Group], list[Group], Any]:
        """The groups to train on, without samples that have no reward; all that were sampled; the cursors after them.

        Raises:
            ValueError: in several rollouts no sample had a reward.
        """
        cursors = read_cursors(at["cursors"], self.sets)
        sampled: list[Group] = []
        with_signal: list[Group] = []
        others: list[Group] = []
        for _ in range(EMPTY_AFTER if not self.plan.refill else self.plan.refill + 1):
            wanted = self.plan.prompts - len(with_signal)
            drawn, cursors = draw_prompts(self.sets, self.shares, wanted, self.plan.seed, cursors)
            for group in self.sampler.groups(model, drawn, at["rollout"]):
                sampled.append(group)
                rewarded = [row for row in group if row.total is not None]
                if rewarded and (not self.plan.refill or not no_signal_reason(group)):
                    with_signal.append(rewarded)
                elif rewarded:
                    others.append(rewarded)
            if len(with_signal) == self.plan.prompts or (not self.plan.refill and with_signal):
                break
        kept = with_signal or others[: self.plan.prompts]
        if not kept:
            reasons = sorted({row.reason for group in sampled for row in group})
            raise ValueError(
                f"no sample of {len(sampled)} prompts has a reward ({'; '.join(reasons)}); check the reward on a few "
                "answers"
            )
        return kept, sampled, cursors

    def _example(self, row: SampleRow) -> Example:
        """A sample with the weights and scalars of its loss."""
        tokens, weights, roles = row.columns()
        temperature = self.sampler.settings.temperature
        scalars = {RESPONSE: 1.0, **({TEMPERATURE: temperature} if temperature != 1 else {})}
        return Example(tokens, weights, None, {"roles": roles}, scalars)

    def _finished(self, row: SampleRow, example: Example, columns: Columns, streams: Mapping[str, Any]) -> Example:
        """The example with everything that the loss reads."""
        weights = np.asarray(example.weights)
        trained = weights > 0
        values = {SAMPLED: row.logprobs, **columns, **streams}
        made = dict(example.streams)
        for name, stream in self.plan.schema.streams.items():
            if name not in made:
                made[name] = np.full(len(weights), stream.fill, stream.dtype)
                made[name][trained] = values[name]
        if self.plan.mask_cut_off and row.cut_off:
            weights = np.zeros_like(weights)
        return Example(example.tokens, weights, None, made, example.scalars)

    def _part(self, examples: Sequence[Example], rollout: int, step: int) -> tuple[list[ExampleGroup], float]:
        """The samples of a step of a rollout, and their trained tokens. Each use of a rollout has its own order."""
        use, part = divmod(step, self.plan.minibatches)
        order = np.arange(len(examples))
        if self.plan.minibatches > 1:
            order = np.random.Generator(np.random.Philox(key=[self.plan.seed, rollout], counter=use)).permutation(order)
        parts = min(self.plan.minibatches, len(examples))  # fewer samples than planned may have a reward
        mine = np.array_split(order, parts)[part % parts]
        groups: list[ExampleGroup] = [(examples[place],) for place in sorted(mine.tolist())]
        return groups, sum(loss_weight(example) for (example,) in groups)

    def _text(self, at: dict[str, Any], weight: float) -> tuple[list[ExampleGroup], dict[str, Any]]:
        """The text that is replayed beside samples of so many trained tokens, and the state after it."""
        tokens = round(weight * self.replay_share / (1 - self.replay_share))
        if not self.replay or not tokens:
            return [], at
        text, after = next(step_groups(self.replay, tokens, self.plan.seed, None, at["text"]))
        plain = [tuple(Example(e.tokens, e.weights, e.targets, e.streams) for e in group) for group in text]
        return plain, {**at, "text": after}

    def _counted(self, at: dict[str, Any], groups: Sequence[ExampleGroup], text: Sequence[ExampleGroup]) -> dict:
        """The state with the trained tokens of a step added to those of each dataset."""
        trained = dict(at["trained"])
        main = next(iter(self.sets))
        trained[main] = trained.get(main, 0.0) + sum(loss_weight(example) for (example,) in groups)
        if at["text"]:
            trained |= {name: cursor.trained_tokens for name, cursor in loader.read_cursors(at["text"]).items()}
        return {**at, "trained": trained}


def rollout_schema(streams: Sequence[str], temperature: float) -> Schema:
    """What samples carry: roles, these streams of float32, and the scalars of a policy loss."""
    scalars = {RESPONSE: 0.0, **({TEMPERATURE: 1.0} if temperature != 1 else {})}
    return ROLE_STREAM | Schema({name: Stream("float32") for name in streams}, scalars)
