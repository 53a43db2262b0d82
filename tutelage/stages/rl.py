"""What the stages that sample share: prompts, rewards, the reference, rollouts as a stream, evaluation on held-out
prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import ClassVar, Literal

import msgspec
import numpy as np

from tutelage.chat import ChatConfig, Rendered, make_renderer
from tutelage.config import SettingsError
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.session import EvalSession, TaskItem
from tutelage.model.hub import Checkpoint
from tutelage.model.lora import check_alike
from tutelage.records import Conversation
from tutelage.rl.passes import Pass, logprob_pass
from tutelage.rl.prompts import PromptSet
from tutelage.rl.remote import OWN_SERVER, RemoteEngineSettings
from tutelage.rl.reward_settings import AnyReward, VerifierReward
from tutelage.rl.rewards import Rewards
from tutelage.rl.rollouts import Assign, RolloutPlan, RolloutStream, rollout_schema
from tutelage.rl.sampling import Sampler
from tutelage.stages.base import Reads, RecipeTables, StageContext
from tutelage.stages.data import DataTable, tasks
from tutelage.stages.environment import load_environment, offered, turn_refusals
from tutelage.stages.fine_tune import FineTune
from tutelage.stages.held_out import evaluate_stores
from tutelage.stages.held_out_prompts import evaluate_prompts, held_out_prompts, task_items
from tutelage.stages.preferences import PREFERENCE_LR_SHARE
from tutelage.stages.remote_engine import make_writer
from tutelage.stages.rewards import check_rewards, load_rewards, model_fingerprints, read_prompt_sets, reward_models
from tutelage.stages.rollout_stream import rollout_data_stream
from tutelage.stages.train_stage import RolloutShape, TrainSetup, micro_tokens, precision_of
from tutelage.tokenizer import Tokenizer
from tutelage.tools.environment import ToolLimits
from tutelage.train.losses import Loss
from tutelage.train.policy_losses import ADVANTAGE, OLD, SAMPLED, KlName, PolicyOptions
from tutelage.train.preference_losses import REFERENCE
from tutelage.train.selection import Selection


class RolloutStage(FineTune, frozen=True, kw_only=True):
    """A stage that samples answers and learns from their rewards.

    rewards:       the parts of the reward by name, each with a weight; weight 0 only logs it.
    prompts, group_size: a rollout has so many prompts, with so many samples each.
    max_tokens:    tokens of an answer, at most; a longer one is cut off.
    temperature:   of sampling. There is no top_k, top_p or min_p: samples are drawn from the policy that is trained.
    minibatches, inner_epochs: a rollout is cut into so many optimizer steps, and used so many times.
    refill:        how often prompts are drawn again in place of those whose samples all have the same reward.
    mask_cut_off:  answers that were cut off are not trained; their rewards still count for their group.
    clip_low, clip_high: how far the ratio of new to old policy counts below and above 1.
    importance_cap: the largest weight of a token whose sampler and trainer differ; None: no correction.
    kl:            factor of the divergence from the model that training starts from.
    kl_in:         where it counts: as a part of the loss, or taken from the reward. None: in the loss of GRPO, in the
                   reward of PPO.
    kl_estimator:  of the loss: "k2" has the gradient of the reverse divergence, "k3" that of the forward one.
    track_kl:      measure the divergence where kl is 0; it needs the starting model in memory, and a forward pass.
    replay_weight: factor of the loss on replayed text.
    environment:   "package.module:function", which answers the assistant, so that a sample has several turns; see
                   tutelage.rl.turns. max_tokens then counts the sampled tokens of all turns. "world-agents" is the
                   simulated user and the tools of data of kind "world-agent-tasks".
    environment_seconds: for one of its turns; a sample whose environment takes longer has no reward.
    tools:         offered with every prompt, and run where samples call them: a list as of `tutelage chat --tools`.
                   "search" alone searches the built-in world of the recipe.
    tool_limits:   what the calls of a sample may cost.
    engine:        the endpoint that writes the samples, in place of this process; see tutelage.rl.remote.
    held_out:      the share of the prompts that are kept to evaluate on.
    keep:          "last": nothing else selects weights here.
    """

    reads: ClassVar[Reads] = "prompts"
    chats: ClassVar[bool] = True
    kl_default: ClassVar[str] = "loss"

    rewards: dict[str, AnyReward]
    prompts: int = 16
    group_size: int = 8
    max_tokens: int = 256
    temperature: float = 1.0
    minibatches: int = 1
    inner_epochs: int = 1
    refill: int = 0
    mask_cut_off: bool = False
    clip_low: float = 0.2
    clip_high: float = 0.2
    importance_cap: float | None = 2.0
    kl: float = 0.0
    kl_in: Literal["loss", "reward"] | None = None
    kl_estimator: KlName = "k2"
    track_kl: bool = True
    replay_weight: float = 1.0
    environment: str | None = None
    environment_seconds: float = 60.0
    tools: str | None = None
    tool_limits: ToolLimits = ToolLimits()
    engine: RemoteEngineSettings | None = None
    keep: Selection = "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora is not None:
            check_alike(self.lora, "sampler, policy and reference must be computed alike")
        for name in ("prompts", "group_size", "max_tokens", "minibatches", "inner_epochs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name, refused, why in self.refusals():
            if refused:
                raise SettingsError(f"{name} is {msgspec.json.encode(getattr(self, name)).decode()}; {why}")

    def in_reward(self) -> bool:
        """Whether the divergence is taken from the reward."""
        return self.kl > 0 and (self.kl_in or self.kl_default) == "reward"

    def policy_options(self) -> PolicyOptions:
        """The settings of the policy loss that all kinds share."""
        kl = 0.0 if self.in_reward() else self.kl
        return PolicyOptions(
            clip_low=self.clip_low, clip_high=self.clip_high, importance_cap=self.importance_cap, kl=kl,
            kl_estimator=self.kl_estimator, max_tokens=self.max_tokens, replay=self.replay_weight,
        )  # fmt: skip

    def refusals(self) -> list[tuple[str, bool, str]]:
        """Settings that cannot work, or would have no effect: name, whether it is so here, and why."""
        return [
            ("temperature", self.temperature <= 0, "samples of a greedy policy are all the same: set it above 0"),
            ("minibatches", self.minibatches > self.prompts * self.group_size, "there are fewer samples in a rollout"),
            ("refill", self.refill < 0, "it is a number of draws: at least 0"),
            ("clip_low", not 0 < self.clip_low <= 1, "it must be above 0 and at most 1"),
            ("clip_high", self.clip_high <= 0, "it must be above 0"),
            ("importance_cap", (self.importance_cap or 1) <= 0, "it must be above 0"),
            ("kl", self.kl < 0, "it is a factor: at least 0"),
            ("kl_in", self.kl_in is not None and not self.kl, "kl is 0, so it counts nowhere"),
            (
                "kl_estimator",
                self.kl_estimator == "k1" and not self.in_reward(),
                'in the loss its expected gradient is 0: take "k2", or kl_in = "reward"',
            ),
            (
                "kl_estimator",
                self.kl_estimator != "k2" and (self.in_reward() or not self.kl),
                'it has no effect: the reward takes the unbiased "k1" anyway, and without kl there is none in the loss',
            ),
            ("track_kl", not self.track_kl and self.kl > 0, "kl above 0 measures the divergence anyway"),
            ("replay_weight", self.replay_weight != 1 and not self.replay, "it weighs replayed text: set replay"),
            *turn_refusals(self),
            *self._remote_refusals(),
            ("find_lr", self.find_lr, "the range test compares losses, and those of sampled answers do not fall"),
            ("keep", self.keep != "last", 'nothing selects weights here: use "last", and save_every to keep others'),
            ("batch_tokens", self.batch_tokens is not None, "a step is prompts times group_size; leave it out"),
            ("batch_rows", self.batch_rows is not None, "a step is prompts times group_size; leave it out"),
        ]

    def _remote_refusals(self) -> list[tuple[str, bool, str]]:
        if self.engine is None:
            return []
        stale, own = self.engine.staleness > 0, self.engine.reload == OWN_SERVER
        return [
            ("temperature", self.temperature != 1, "endpoints send the log-probabilities of temperature 1"),
            ("environment", self.environment is not None, "requests at an endpoint cannot be paused for it"),
            ("tools", self.tools is not None, "requests at an endpoint cannot be paused for them"),
            ("lora", self.lora is not None and own, "the server gets the weights of a whole model; leave lora out"),
            ("importance_cap", stale and self.importance_cap is None, "samples of older weights must be weighted"),
        ]

    def loss(self) -> Loss:
        """The loss, with its settings."""
        raise NotImplementedError

    def peak_lr(self, at: StageContext, checkpoint: Checkpoint) -> float:
        return super().peak_lr(at, checkpoint) * (1.0 if self.lr is not None else PREFERENCE_LR_SHARE)

    def start_settings(self, at: StageContext) -> str:
        folder, precision = at.parent_folder(self), self.precision or "the default precision"
        return (
            f"policy: {folder}, {precision}; samples: the same weights, {precision}; reference: {folder}, {precision}"
        )

    def sampling(self) -> SamplingSettings:
        return SamplingSettings(temperature=self.temperature, max_tokens=self.max_tokens, seed=self.seed)

    def step_tokens(self, tokens: float, longest: int) -> int:
        """As of every stage: room for the samples of a step."""
        return max(1, self.prompts * self.group_size // self.minibatches) * longest

    def steps_of(self, rows: int) -> int:
        """Optimizer steps; an epoch draws each prompt of `rows` once."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * rows / self.prompts) * self.minibatches * self.inner_epochs

    def rollouts(self, rows: float) -> RolloutShape:
        steps, samples, uses = self.steps_of(round(rows)), self.prompts * self.group_size, self.inner_epochs
        before = self.kl_default == "reward" or self.minibatches * uses > 1 or self.in_reward()
        passes = int(before) + int(self.kl > 0 or self.track_kl)
        count = math.ceil(steps / (self.minibatches * uses))
        return RolloutShape(steps, samples / self.minibatches, samples, count, self.max_tokens, passes)

    def other_models(self) -> list[str]:
        return reward_models(self.rewards)

    def content(self) -> list[object]:
        return [*super().content(), *model_fingerprints(self.rewards)]

    def check(self, name: str, recipe: RecipeTables, here: str) -> None:
        super().check(name, recipe, here)
        check_rewards(self.rewards, name, recipe, here)

    def prompt_sets(self, at: StageContext, checkpoint: Checkpoint) -> dict[str, PromptSet]:
        """The prompts of each dataset as the model reads them."""
        return read_prompt_sets(self, at, checkpoint, self.max_tokens, offered(self, at.data))

    def load_rewards(self, at: StageContext, sets: Mapping[str, PromptSet]) -> Rewards:
        """The rewards, tried on the gold answers of all prompts."""
        return load_rewards(self.rewards, at, sets)

    def set_up(self, at: StageContext, checkpoint: Checkpoint, own: Pass | None, assign: Assign, streams: Sequence[str],
               adapt: Callable[[float, float], float] | None = None) -> TrainSetup:  # fmt: skip
        """The setup of a stage over rollouts; `own` is what is computed of the samples by the policy before their first
        step, `streams` what examples carry besides log-probabilities and advantages."""
        if self.temperature != 1 and checkpoint.model.config.logit_softcap is not None:
            raise SettingsError(f"stage {at.name}: a model with a logit softcap is sampled at temperature 1 only")
        sets = self.prompt_sets(at, checkpoint)
        renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
        precision = precision_of(self, checkpoint.model)
        longest = max(len(p.ids) for one in sets.values() for p in one.train) + self.max_tokens
        rewards = self.load_rewards(at, sets)
        sampler = Sampler(
            renderer, rewards, self.sampling(), self.group_size, precision, load_environment(self, at.data, renderer),
            None if self.engine is None else make_writer(self.engine, self.sampling(), self.group_size, at, checkpoint),
        )  # fmt: skip
        # Samples of an earlier policy than the present one carry the log-probabilities of that policy.
        if own is None and (self.minibatches * self.inner_epochs > 1 or self.in_reward()):
            own, streams = logprob_pass(OLD), (*streams, OLD)
        measured = self.kl > 0 or self.track_kl
        names = [SAMPLED, ADVANTAGE, *streams, *([REFERENCE] if measured else [])]
        plan = RolloutPlan(
            self.prompts, self.minibatches, self.inner_epochs, self.refill, self.mask_cut_off, self.seed,
            micro_tokens(self, longest), precision, self.kl, rollout_schema(names, self.temperature), adapt,
        )  # fmt: skip
        reference = None
        if measured:
            reference = msgspec.structs.replace(self, lora=None).start(at).model, logprob_pass(REFERENCE)
        context = self.context or checkpoint.model.config.context
        rollouts = RolloutStream(
            plan, {name: one.train for name, one in sets.items()}, self.data, sampler, lambda: checkpoint.model, own,
            reference, assign, self.replayed(at, checkpoint.tokenizer, context), self.replay, at.folder / "rollouts",
        )  # fmt: skip
        steps = self.steps_of(len(next(iter(sets.values())).train))
        stream = rollout_data_stream(rollouts, sets, longest, steps, self.step_tokens(0, longest))
        texts = evaluate_stores(self, stream, {}, self.base_held_out(at, checkpoint.tokenizer, context))
        evaluate = partial(evaluate_prompts, held_out_prompts(sets), sampler, texts)
        return TrainSetup(checkpoint, stream, self.loss(), self.peak_lr(at, checkpoint), evaluate)

    def holds(self, at: StageContext | RecipeTables) -> frozenset[str]:
        return (super().holds(at) - {"rows"}) | {"tasks"}

    def session(self, at: StageContext) -> EvalSession:
        return replace(super().session(at), answer_tasks=partial(self._task_items, at))

    def _task_items(self, at: StageContext, checkpoint: Checkpoint) -> list[TaskItem]:
        sets = self.prompt_sets(at, checkpoint)
        renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
        rewards, environment = self.load_rewards(at, sets), load_environment(self, at.data, renderer)
        sampler = Sampler(renderer, rewards, self.sampling(), 1, environment=environment)
        verifier = next((name for name, part in self.rewards.items() if isinstance(part, VerifierReward)), None)
        return task_items(checkpoint, sampler, held_out_prompts(sets), verifier)

    def render_sample(
        self, name: str, table: DataTable, tokenizer: Tokenizer, config: ChatConfig, rows: int, context: int
    ) -> list[Rendered]:
        """The first prompts, each with an answer of `max_tokens`: what a step reads at most."""
        renderer = make_renderer(tokenizer, self.chat_config(config))
        own = offered(self, table)
        chats = [
            Conversation(task.prompt, task.id, tools=task.tools or own) for task in islice(tasks(name, table), rows)
        ]
        tail = np.zeros(self.max_tokens, np.int32)

        def longer(values: np.ndarray, fill: np.ndarray) -> np.ndarray:
            return np.concatenate([values, fill.astype(values.dtype)])

        prompts = renderer.render_prompts(chats)
        return [Rendered(longer(p.ids, tail), longer(p.weights, tail + 1), longer(p.roles, tail)) for p in prompts]
