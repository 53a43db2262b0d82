"""Best of n, or rejection sampling: sample answers, keep those with the highest reward, as rows for fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np

from tutelage.chat import make_renderer
from tutelage.config import SettingsError
from tutelage.engine.sampling import SamplingSettings
from tutelage.ledger import Ledger
from tutelage.model.hub import load_model
from tutelage.progress import track
from tutelage.rl.best_of_n import as_row, best, kl_bound, reward
from tutelage.rl.prompts import DrawnPrompt
from tutelage.rl.reward_settings import AnyReward
from tutelage.rl.sampling import Sampler
from tutelage.stages.base import DataSetup, DataStage, Reads, RecipeTables, StageContext
from tutelage.stages.environment import load_environment, offered, turn_refusals
from tutelage.stages.rewards import check_rewards, load_rewards, model_fingerprints, read_prompt_sets, reward_models
from tutelage.tools.environment import ToolLimits

AT_ONCE = 32  # prompts that are sampled together


class BestOfN(DataStage, tag="best_of_n", tag_field="kind", frozen=True, kw_only=True):
    """Write conversations: each prompt with its best sampled answers. Fine-tuned on, they make expert iteration.

    rewards:    as in GRPO.
    samples:    answers to each prompt.
    keep:       how many of them become rows, the best first; equal answers once.
    min_reward: answers below it are left out, such as 1 for a verifier's right answers.
    max_tokens, temperature: of an answer; one that was cut off is left out.
    environment, environment_seconds, tools, tool_limits: as in GRPO; rows then have several turns.
    """

    reads: ClassVar[Reads] = "prompts"
    title: ClassVar[str] = "best of n"

    rewards: dict[str, AnyReward]
    samples: int = 8
    keep: int = 1
    min_reward: float | None = None
    max_tokens: int = 256
    temperature: float = 1.0
    environment: str | None = None
    environment_seconds: float = 60.0
    tools: str | None = None
    tool_limits: ToolLimits = ToolLimits()
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.keep <= self.samples:
            raise SettingsError(f"keep is {self.keep}; it must be at least 1 and at most samples = {self.samples}")
        if self.max_tokens < 1 or self.temperature <= 0:
            raise SettingsError("max_tokens must be at least 1, and temperature above 0")
        for name, refused, why in turn_refusals(self):
            if refused:
                raise SettingsError(f"{name} is {msgspec.json.encode(getattr(self, name)).decode()}; {why}")

    def other_models(self) -> list[str]:
        return reward_models(self.rewards)

    def content(self) -> list[object]:
        return [*super().content(), *model_fingerprints(self.rewards)]

    def check(self, name: str, recipe: RecipeTables, here: str) -> None:
        super().check(name, recipe, here)
        check_rewards(self.rewards, name, recipe, here)

    def make(self, at: StageContext) -> DataSetup:
        """The best answers to the prompts that are not held out."""
        ledger, figures = Ledger(f"{at.name}: prompts to rows"), {"kl_bound": kl_bound(self.samples)}
        return DataSetup(self._rows(at, ledger, figures), ledger, figures)

    def _rows(self, at: StageContext, ledger: Ledger, figures: dict[str, float]) -> Iterator[Mapping[str, Any]]:
        checkpoint = load_model(at.parent_folder(self))
        sets = read_prompt_sets(self, at, checkpoint, self.max_tokens, offered(self, at.data))
        settings = SamplingSettings(temperature=self.temperature, max_tokens=self.max_tokens, seed=self.seed)
        renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
        special = frozenset(checkpoint.tokenizer.special_tokens.values()) - renderer.stop_ids
        rewards, environment = load_rewards(self.rewards, at, sets), load_environment(self, at.data, renderer)
        sampler = Sampler(renderer, rewards, settings, self.samples, environment=environment)
        prompts = [(name, prompt) for name, one in sets.items() for prompt in one.train]
        drawn = [DrawnPrompt(name, prompt, number) for number, (name, prompt) in enumerate(prompts)]
        every, kept = [], []
        with track(at.name, len(drawn), "prompts") as bar:
            for start in range(0, len(drawn), AT_ONCE):
                part = drawn[start : start + AT_ONCE]
                for one, group in zip(part, sampler.groups(checkpoint.model, part), strict=True):
                    rows, reason = best(group, self.keep, self.min_reward, special)
                    ledger.read()
                    ledger.split(len(rows)) if rows else ledger.drop(reason, where=one.prompt.task.id)
                    every += [row.total for row in group if row.total is not None]
                    kept += [reward(row) for row in rows]
                    yield from (as_row(one, row) for row in rows)
                bar.update(len(part))
        figures |= {"reward_sampled": float(np.mean(every or [0])), "reward_kept": float(np.mean(kept or [0]))}
