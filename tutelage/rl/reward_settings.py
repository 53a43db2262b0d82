"""The parts that a reward may have, as a recipe names them."""

from __future__ import annotations

from typing import Any

from tutelage.client import EndpointSettings
from tutelage.config import Settings


class RewardSettings(Settings, frozen=True, kw_only=True):
    """A part of a reward.

    weight: its factor; with 0 it is only logged, as a gold reward beside its proxy.
    """

    weight: float = 1.0


class VerifierReward(RewardSettings, tag="verifier", tag_field="kind", frozen=True, kw_only=True):
    """1 for a right answer by a verifier of `tutelage.scoring`.

    verifier: its name, "package.module:function", or a table with its kind and options.
    wrong, unparsable, abstained: the values of other answers.
    timed_out: the value where the verifier timed out; None: the sample has no reward.
    seconds:  limit for one answer of a verifier that may hang. Programs have the limit of the verifier "unit_tests".
    """

    verifier: str | dict[str, Any]
    wrong: float = 0.0
    unparsable: float = 0.0
    abstained: float = 0.0
    timed_out: float | None = None
    seconds: float = 5.0


class ModelReward(RewardSettings, tag="model", tag_field="kind", frozen=True, kw_only=True):
    """The score of a reward model.

    model: a stage of the recipe, or the folder of a model with a head "reward".
    """

    model: str


class FormatReward(RewardSettings, tag="format", tag_field="kind", frozen=True, kw_only=True):
    """1 where a pattern matches all of an answer, its reasoning included; else 0.

    pattern: a regular expression; "." matches line ends too.
    seconds: limit for one answer; the sample then has no reward.
    """

    pattern: str
    seconds: float = 5.0


class LengthReward(RewardSettings, tag="length", tag_field="kind", frozen=True, kw_only=True):
    """Minus the share of the allowed tokens that an answer takes: with a weight above 0, short answers are better."""


class OverlongReward(RewardSettings, tag="overlong", tag_field="kind", frozen=True, kw_only=True):
    """0 up to some tokens below the limit, then linear to -1 at it (DAPO, arXiv 2503.14476, Eq. 13).

    cache: how many tokens below max_tokens it begins.
    """

    cache: int


class JudgeReward(RewardSettings, tag="judge", tag_field="kind", frozen=True, kw_only=True):
    """The score of a judge, any OpenAI-compatible endpoint, as a share of the highest one. An answer to which the judge
    gives no score has no reward.

    endpoint: url, model and budget; see `tutelage.client.EndpointSettings`.
    criteria: what is good, in words.
    highest:  the best score that the judge may give; the worst is 0.
    """

    endpoint: EndpointSettings
    criteria: str
    highest: float = 10.0


class UtilityReward(RewardSettings, tag="utility", tag_field="kind", frozen=True, kw_only=True):
    """The utility of an answer in the built-in world, which knows it: for prompts of kind "world-prompts".

    proxy: what the labeller thinks that an answer is worth, instead of what it is truly worth.
    """

    proxy: bool = False


class FunctionReward(RewardSettings, tag="function", tag_field="kind", frozen=True, kw_only=True):
    """A function of yours: called with a `Sample`, it returns a number, or None to abstain.

    name: "package.module:function".
    """

    name: str


AnyReward = (
    VerifierReward
    | ModelReward
    | JudgeReward
    | UtilityReward
    | FormatReward
    | LengthReward
    | OverlongReward
    | FunctionReward
)
