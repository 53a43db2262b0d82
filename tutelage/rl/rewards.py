"""Rewards: what a sample is worth, as a weighted sum of named parts, each of which is logged.

A part gives a number, or none: it abstains (a grader that timed out, an answer that cannot be scored). A sample with a
part that abstains has no reward; it leaves its group and is counted by the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.config import SettingsError
from tutelage.engine.requests import FinishReason
from tutelage.records import Message
from tutelage.rl.judge import Judge
from tutelage.rl.model_scores import RewardModel
from tutelage.rl.reward_settings import (
    AnyReward,
    FormatReward,
    FunctionReward,
    JudgeReward,
    LengthReward,
    ModelReward,
    OverlongReward,
    UtilityReward,
    VerifierReward,
)
from tutelage.scoring import Gold, Outcome, Verifier, make_verifier
from tutelage.scoring.trial import check_verifier
from tutelage.workers import TimedWorker
from tutelage.world.preferences import KnownUtility
from tutelage.world.utility import AnswerTask


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer, as rewards see it: exactly what is trained.

    text:       the answer without reasoning and without the template's tokens.
    raw:        all of it, with reasoning that the prompt opens.
    tokens:     sampled tokens, the stop token included; `max_tokens` is their limit.
    finish_reason: "stop" where it ended itself; else it was cut off.
    id:         of the prompt.
    state:      of the environment after the answer, where there is one.
    """

    prompt: tuple[Message, ...]
    gold: Gold | None
    text: str
    raw: str
    tokens: int
    max_tokens: int
    finish_reason: FinishReason
    id: str = ""
    state: Any = None


class Part(NamedTuple):
    """The value of a part of the reward, None where it abstains; and its outcome, for counts."""

    value: float | None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """The reward of a sample: the weighted sum of its parts; None, with the reason, where one of them abstains."""

    total: float | None
    parts: Mapping[str, Part]
    reason: str = ""


Score = Callable[[Sequence[Sample]], list[Part]]


class Sources(NamedTuple):
    """What parts are loaded from: the gold answers of all prompts; the models of a recipe by stage; the labeller of
    the built-in world with its questions by id, where there is one; and a file for the replies of judges."""

    golds: Sequence[Gold | None] = ()
    folders: Mapping[str, Any] = {}
    labeller: KnownUtility | None = None
    questions: Mapping[str, AnswerTask] = {}
    responses: Path | None = None


class Rewards:
    """The parts of a reward, loaded and checked.

    Raises:
        SettingsError: a part cannot be loaded, or fails on its own gold answers.
    """

    def __init__(self, settings: Mapping[str, AnyReward], sources: Sources) -> None:
        self.weights = {name: part.weight for name, part in settings.items()}
        self._parts: dict[str, Score] = {}
        for name, part in settings.items():
            try:
                self._parts[name] = load_part(part, sources)
            except (ValueError, re.error) as error:
                raise SettingsError(f"reward '{name}': {error}") from error

    def score(self, samples: Sequence[Sample]) -> list[Scored]:
        """The reward of each sample."""
        columns = {name: part(samples) for name, part in self._parts.items()}
        return [self._sum({name: column[place] for name, column in columns.items()}) for place in range(len(samples))]

    def _sum(self, parts: Mapping[str, Part]) -> Scored:
        total = 0.0
        for name, part in parts.items():
            if self.weights[name] and part.value is None:
                return Scored(None, parts, f"{name}: {part.outcome}")
            total += self.weights[name] * (part.value or 0.0)
        return Scored(total, parts)


def load_part(settings: AnyReward, sources: Sources) -> Score:
    """A part as a function of samples.

    Raises:
        ValueError: it cannot be loaded, or fails on its own gold answers.
    """
    match settings:
        case VerifierReward():
            verify = make_verifier(settings.verifier, settings.seconds)
            check_verifier(settings.verifier, verify, sources.golds)
            return partial(verified, verify, settings)
        case ModelReward():
            return partial(_scored_by_model, RewardModel(sources.folders.get(settings.model, settings.model)))
        case JudgeReward():
            if settings.highest <= 0:
                raise ValueError(f"highest is {settings.highest}; it must be above 0")
            return partial(_judged, Judge(settings.endpoint, settings.criteria, settings.highest, sources.responses))
        case UtilityReward():
            labeller = sources.labeller
            if labeller is None:
                raise ValueError('it needs [data] of kind "world-preferences", whose labeller it asks')
            return partial(_utility, labeller.proxy if settings.proxy else labeller.true, sources.questions)
        case FormatReward():
            re.compile(settings.pattern)
            return partial(_formatted, TimedWorker(partial(_matches, settings.pattern), settings.seconds))
        case LengthReward():
            return lambda samples: [Part(-sample.tokens / sample.max_tokens) for sample in samples]
        case OverlongReward():
            if settings.cache < 1:
                raise ValueError(f"cache is {settings.cache}; it is a number of tokens, at least 1")
            return lambda samples: [Part(overlong(s.tokens, s.max_tokens, settings.cache)) for s in samples]
        case FunctionReward():
            return partial(_called, load_function(settings.name))


def overlong(tokens: int, limit: int, cache: int) -> float:
    """0 up to limit - cache, -1 beyond the limit, linear between (DAPO, arXiv 2503.14476, Eq. 13)."""
    return -min(1.0, max(0.0, (tokens - (limit - cache)) / cache))


def load_function(name: str) -> Callable[..., Any]:
    """The function "package.module:function".

    Raises:
        ValueError: the name leads to none.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{name!r} cannot be imported ({error}); it must be package.module:function") from error
    return found


def verified(verify: Verifier, settings: VerifierReward, samples: Sequence[Sample]) -> list[Part]:
    """The value of each sample by the outcome that a verifier gives it."""
    values: dict[Outcome, float | None] = {
        "right": 1.0,
        "wrong": settings.wrong,
        "unparsable": settings.unparsable,
        "abstained": settings.abstained,
        "timed out": settings.timed_out,
    }
    outcomes = [verify(sample.text, sample.gold if sample.gold is not None else "").outcome for sample in samples]
    return [Part(values[outcome], outcome) for outcome in outcomes]


def _scored_by_model(model: RewardModel, samples: Sequence[Sample]) -> list[Part]:
    scores = model.score([(sample.prompt, sample.text) for sample in samples])
    return [Part(score, "" if score is not None else "cannot be rendered") for score in scores]


def _judged(judge: Judge, samples: Sequence[Sample]) -> list[Part]:
    return [Part(*judgement) for judgement in judge.score([(sample.prompt, sample.text) for sample in samples])]


def _utility(
    value: Callable[[AnswerTask, str], float], questions: Mapping[str, AnswerTask], samples: Sequence[Sample]
) -> list[Part]:
    return [Part(value(questions[sample.id], sample.text)) for sample in samples]


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def _formatted(matches: Callable[[str], bool], samples: Sequence[Sample]) -> list[Part]:
    return [_match(matches, sample.raw) for sample in samples]


def _match(matches: Callable[[str], bool], text: str) -> Part:
    try:
        return Part(float(matches(text)))
    except TimeoutError:
        return Part(None, "timed out")


def _called(function: Callable[[Sample], float | None], samples: Sequence[Sample]) -> list[Part]:
    values = [function(sample) for sample in samples]
    return [Part(None, "abstained") if value is None else Part(float(value)) for value in values]
