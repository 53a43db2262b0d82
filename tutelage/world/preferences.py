"""Preferences of a labeller whose utility is known: pairs and rankings with known noise, and the noise ceiling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import NamedTuple

from tutelage.config import Settings
from tutelage.records import Preference, Ranking, Split, Utility, message
from tutelage.world.answers import draw_answer, tasks
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.society import World
from tutelage.world.utility import AnswerTask, Flaw, Rule, proxy_utility, true_utility

RESOLUTION = 1 << 53  # of a uniform random number


class PreferenceSettings(Settings, frozen=True, kw_only=True):
    """Preferences about the people of the built-in world.

    rows:        how many prompts.
    answers:     2 gives pairs, 3 to 9 rankings of so many answers, for a reward model.
    temperature: of the Bradley-Terry noise: answer a is preferred to b with probability
                 sigmoid((utility(a) - utility(b)) / temperature).
    ties:        answers of a ranking whose noisy utilities fall into the same interval of this width are tied; 0: no
                 ties.
    flaw:        what the labeller overrates: "length" or "politeness".
    strength:    how much: in units of utility for each 20 words, or for each polite phrase after the first.
    rule:        which answers are good. "brief" is out of distribution for models of "standard": it asks for the value
                 alone, and politeness and length cost.
    split:       which half of the people they are about.
    """

    rows: int = 2000
    answers: int = 2
    temperature: float = 0.5
    ties: float = 0.0
    flaw: Flaw = "none"
    strength: float = 1.0
    rule: Rule = "standard"
    split: Split = "train"

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"rows of preferences must be 1 or more, not {self.rows}")
        if not 2 <= self.answers <= 9:
            raise ValueError(f"answers is {self.answers}; 2 gives pairs, 3 to 9 rankings")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0 (0.01 is almost without noise)")
        if self.ties < 0 or (self.ties and self.answers == 2):
            raise ValueError(f"ties is {self.ties}; it is a width of rankings: 0, or above 0 with answers above 2")
        if self.strength < 0:
            raise ValueError(f"strength is {self.strength}; it must be 0 or more")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers to one task, with the labeller's ranks: 1 is the best, and equal ranks are ties."""

    task: AnswerTask
    answers: tuple[str, ...]
    utilities: tuple[Utility, ...]
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KnownUtility:
    """A world with the labeller of some preferences: the utility of any answer to any of its questions, as a reward or
    to measure a model by."""

    world: World
    settings: PreferenceSettings

    def true(self, task: AnswerTask, text: str) -> float:
        """What an answer is truly worth."""
        return true_utility(task, text)

    def proxy(self, task: AnswerTask, text: str) -> float:
        """What the labeller thinks that an answer is worth, in the same units."""
        return proxy_utility(task, text, self.settings.flaw, self.settings.strength)

    def tasks(self, split: Split, rule: Rule, count: int, purpose: str = "evaluation") -> list[AnswerTask]:
        """Questions that are in no preference; of another `purpose` others."""
        return list(tasks(self.world, split, rule, count, purpose))


def value(task: AnswerTask, text: str, settings: PreferenceSettings) -> Utility:
    """The true and the labeller's utility of any text."""
    proxy = proxy_utility(task, text, settings.flaw, settings.strength)
    return Utility(true_utility(task, text), proxy / settings.temperature)


def comparisons(world: World, settings: PreferenceSettings) -> Iterator[Comparison]:
    """Each task with distinct answers, ranked by utility plus Gumbel noise: this draws rankings from the Plackett-Luce
    model, whose pairs follow Bradley-Terry (Yellott 1977)."""
    seed = world.settings.seed
    for number, task in enumerate(tasks(world, settings.split, settings.rule, settings.rows, "preferences")):
        rng = KeyedRandom(seed, "preferences", settings.split, settings.rule, number)
        answers: list[str] = []
        while len(answers) < settings.answers:
            answer = draw_answer(task, rng)
            if answer not in answers:
                answers.append(answer)
        utilities = tuple(value(task, answer, settings) for answer in answers)
        noisy = [utility.labeller + _gumbel(rng) for utility in utilities]
        yield Comparison(task, tuple(answers), utilities, _ranks(noisy, settings.ties / settings.temperature))


def _gumbel(rng: KeyedRandom) -> float:
    return -log(-log((rng.randbelow(RESOLUTION) + 0.5) / RESOLUTION))


def _ranks(noisy: Sequence[float], width: float) -> tuple[int, ...]:
    """1 for the highest; values in the same interval of this width are tied."""
    levels = [value // width if width else value for value in noisy]
    order = sorted(set(levels), reverse=True)
    return tuple(order.index(level) + 1 for level in levels)


def preferences(world: World, settings: PreferenceSettings) -> Iterator[Preference | Ranking]:
    """The comparisons as rows: pairs, or rankings of three answers and more. A ranking of ties alone is left out."""
    for comparison in comparisons(world, settings):
        prompt = (message("user", comparison.task.prompt),)
        answers = [(message("assistant", answer),) for answer in comparison.answers]
        id_, ranks, known = comparison.task.id, comparison.ranks, comparison.utilities
        if settings.answers > 2:
            if len(set(ranks)) > 1:
                yield Ranking(prompt, tuple(answers), ranks, id_, known=known)
            continue
        chosen = ranks.index(1)
        sides, of = (answers[chosen], answers[1 - chosen]), (known[chosen], known[1 - chosen])
        yield Preference(prompt, *sides, id_, known=of)


class Ceiling(NamedTuple):
    """The expected accuracy on noisy labels: of the labeller's own utility, which nothing exceeds, and of the true
    one."""

    labeller: float
    true: float


def noise_ceiling(pairs: Sequence[tuple[Utility, Utility]]) -> Ceiling:
    """Computed from the known probabilities, whatever labels were drawn; a tie in utility is right half the time."""
    labeller = true = 0.0
    for first, second in pairs:
        probability = 1 / (1 + exp(second.labeller - first.labeller))
        labeller += max(probability, 1 - probability)
        gap = first.true - second.true
        true += probability if gap > 0 else 1 - probability if gap < 0 else 0.5
    return Ceiling(labeller / len(pairs), true / len(pairs))
