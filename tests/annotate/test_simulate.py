"""Annotators of known noise: what their votes tell, how many are needed, and whether the intervals hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from annotate_helpers import items
from click.testing import CliRunner

from tutelage.annotate.choose import FIRST_LOOK, LOOK_EVERY, battles_of, decision, look_level
from tutelage.annotate.events import AnnotationItem, LogSettings, PromptTurn
from tutelage.annotate.export import ExportRules, export_rows
from tutelage.annotate.items import make_item
from tutelage.annotate.plan import (
    LabelCost,
    bits_of_ranking,
    cost_table,
    known_share,
    pilot_figures,
    pilot_lines,
    prompts_needed,
    prompts_until_decided,
)
from tutelage.annotate.quality import quality_figures
from tutelage.annotate.simulate import SimulatedAnnotator, scored_utility, simulate, team, world_items, world_prompts
from tutelage.annotate.state import Annotations
from tutelage.cli import main
from tutelage.config import recipes_folder
from tutelage.evaluate.arena import arena
from tutelage.ledger import Ledger
from tutelage.records import Message
from tutelage.world.preferences import PreferenceSettings
from tutelage.world.society import World, WorldSettings

RANK = LogSettings(task="rank", overlap=2)


def by_number(item: AnnotationItem, answer: str) -> float:
    """The utility of the helpers' answers: "Answer 2 to 5." is worth -2."""
    return -float(answer.split()[1])


def run(path: Path, count: int, temperature: float, ties: float = 0.0, careless: float = 0.0) -> Annotations:
    settings = LogSettings(task="rank", overlap=2, repeat=0.3)
    return simulate(path, settings, items(count, answers=4), [*team(3, temperature, ties, careless)], by_number)


def test_without_noise_they_rank_by_utility_and_agree_and_the_log_is_always_the_same(tmp_path: Path) -> None:
    state = run(tmp_path / "one", 30, 1e-6)
    assert {vote.ranks for vote in state.votes()} == {(1, 2, 3, 4)}
    found = quality_figures(state)
    assert found["agreement"]["alpha"]["value"] == pytest.approx(1)
    assert all(own["self"]["share"] == 1 and own["fast"] == 0 for own in found["people"].values())
    assert len({order for given in state.assigned.values() for order in [a.order for a in given]}) > 5
    run(tmp_path / "two", 30, 1e-6)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with pytest.raises(ValueError, match="a log of their own"):
        run(tmp_path / "one", 30, 1e-6)


def test_noise_lowers_agreement_with_others_and_with_themselves_as_predicted(tmp_path: Path) -> None:
    """Two independent votes on a pair are the same with probability p^2 + (1 - p)^2."""
    temperature = 1.5
    state = run(tmp_path / "log", 150, temperature)
    pairs = [(k - i) / temperature for i in range(4) for k in range(i + 1, 4)]
    chances = [1 / (1 + math.exp(-gap)) for gap in pairs]
    expected = float(np.mean([p * p + (1 - p) ** 2 for p in chances]))
    shown = quality_figures(state)
    same = shown["agreement"]["same"]
    assert same["low"] - 0.03 < expected < same["high"] + 0.03
    own = [person["self"] for person in shown["people"].values()]
    again = sum(each["share"] * each["count"] for each in own) / sum(each["count"] for each in own)
    assert abs(again - expected) < 0.1


def test_a_careless_one_is_seen_by_time_and_by_agreement(tmp_path: Path) -> None:
    people = quality_figures(run(tmp_path / "log", 60, 0.3, careless=0.8))["people"]
    assert people["person3"]["fast"] > 20
    assert people["person1"]["fast"] == 0
    assert people["person3"]["self"]["share"] < people["person1"]["self"]["share"]


def test_ties_have_the_width_that_is_asked_for(tmp_path: Path) -> None:
    wide = run(tmp_path / "wide", 40, 0.2, ties=2.0)
    assert np.mean([len({*vote.ranks}) for vote in wide.votes()]) < 3


def test_a_pair_tells_what_the_entropy_of_its_label_says() -> None:
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    for spread, temperature in ((1.0, 1.0), (1.0, 0.3)):
        chance = 1 / (1 + np.exp(-points * math.sqrt(2) * spread / temperature))
        chance = np.clip(chance, 1e-12, 1 - 1e-12)
        entropy = -(chance * np.log2(chance) + (1 - chance) * np.log2(1 - chance))
        exact = 1 - float(weights @ entropy) / math.sqrt(2 * math.pi)
        assert bits_of_ranking(2, spread, temperature) == pytest.approx(exact, abs=0.012)


def test_a_ranking_tells_more_than_a_pair_and_never_more_than_its_orders() -> None:
    bits = [bits_of_ranking(count, 1.0, 1.0) for count in range(2, 10)]
    assert bits == sorted(bits)
    assert all(0 < own < math.log2(math.factorial(count)) for count, own in enumerate(bits, 2))
    assert bits[2] > 3 * bits[0]  # four answers: more than three pairs
    assert bits_of_ranking(4, 1.0, 1e-4) == pytest.approx(math.log2(24), abs=0.01)
    assert bits_of_ranking(4, 1e-4, 1.0) == pytest.approx(0, abs=0.02)
    rows = cost_table([2, 4], 1.0, 1.0, LabelCost())
    assert rows[1]["bits_per_minute"] > rows[0]["bits_per_minute"]
    assert rows[1]["pairs"] == 6


@pytest.mark.parametrize(("gap", "spread", "temperature"), [(0.5, 1.0, 1.0), (0.3, 0.5, 0.5)])
@pytest.mark.parametrize("overlap", [1, 3])
def test_the_labels_needed_for_a_decision_are_predicted_within_a_fifth(
    gap: float, spread: float, temperature: float, overlap: int
) -> None:
    """With a fifth fewer prompts the decision is made less often than with probability 0.8, with a fifth more, more
    often: so the number that is truly needed lies between."""
    predicted = prompts_needed(*known_share(gap, spread, temperature, overlap))

    def decided(prompts: int) -> float:
        rng = np.random.default_rng(7)
        chance_RN = 1 / (1 + np.exp(-rng.normal(gap, spread, (3000, prompts)) / temperature))
        share_RN = rng.binomial(overlap, chance_RN) / overlap
        half_R = 1.96 * share_RN.std(1, ddof=1) / math.sqrt(prompts)
        return float((share_RN.mean(1) - half_R > 0.5).mean())

    assert decided(round(0.8 * predicted)) < 0.8 < decided(round(1.2 * predicted))


@pytest.mark.parametrize(("gap", "spread"), [(0.8, 1.0), (0.4, 0.5)])
def test_the_prompts_until_a_choice_is_decided_are_predicted_within_a_fifth(gap: float, spread: float) -> None:
    """As above, with all looks of `annotate choose`; an interval of the share stands for that of the ratings."""
    predicted = prompts_until_decided(*known_share(gap, spread, 1.0))

    def decided(prompts: int) -> float:
        rng = np.random.default_rng(7)
        won_RN = rng.random((3000, prompts)) < 1 / (1 + np.exp(-rng.normal(gap, spread, (3000, prompts))))
        z, sure_R = NormalDist().inv_cdf(1 - look_level(prompts, 2) / 2), np.zeros(3000, bool)
        for look in range(FIRST_LOOK, prompts + 1, LOOK_EVERY):
            seen_RN = won_RN[:, :look]
            sure_R |= seen_RN.mean(1) - z * seen_RN.std(1, ddof=1) / math.sqrt(look) > 0.5
        return float(sure_R.mean())

    assert decided(round(0.8 * predicted)) < 0.8 < decided(round(1.2 * predicted))


def pilot(path: Path, gaps: list[float], prompts: int, seed: int = 0) -> Annotations:
    """Votes of one annotator of noise 1 between models whose answers are worth `gaps`."""
    names = [f"m{n}" for n in range(len(gaps))]
    new = [
        make_item([PromptTurn("user", f"{n}?")], [f"Answer {place} to {n}." for place in range(len(gaps))], names)
        for n in range(prompts)
    ]
    settings = LogSettings(task="choose", seed=seed)
    return simulate(path, settings, new, [SimulatedAnnotator("ann")], lambda item, answer: gaps[int(answer.split()[1])])


def test_a_pilot_predicts_what_the_known_noise_does(tmp_path: Path) -> None:
    state = pilot(tmp_path / "log", [0.0, 0.8], 400)
    (found,) = pilot_figures(state)
    truth = prompts_until_decided(*known_share(0.8, 1e-9, 1.0))
    assert 0.5 < found["needed"] / truth < 2  # of one pilot; its own error is larger than that of the formula
    assert "to tell them apart" in next(pilot_lines([found]))
    with pytest.raises(ValueError, match="equally often"):
        prompts_needed(0.5, 0.25)


@pytest.mark.slow
def test_choices_are_decided_about_as_often_as_predicted(tmp_path: Path) -> None:
    """25 choices with the predicted number of prompts, by the rule itself: 80% are decided; 14 or fewer has a
    probability below 0.005."""
    gap = 1.2
    prompts = prompts_until_decided(*known_share(gap, 1e-9, 1.0))
    found = [decision(pilot(tmp_path / f"log{seed}", [0.0, gap], prompts, seed), seed) for seed in range(25)]
    assert sum(choice is not None for choice in found) > 14
    assert all(choice is None or choice["best"] == "m1" for choice in found)


@pytest.mark.slow
def test_the_intervals_of_the_ratings_cover_the_truth_at_their_rate(tmp_path: Path) -> None:
    """Of a pair; 95% intervals of 60 pilots: 51 or fewer covered has a probability below 0.002."""
    gap, covered = 0.7, 0
    for seed in range(60):
        state = pilot(tmp_path / f"log{seed}", [0.0, gap], 80, seed)
        rated = arena(battles_of(state), anchor="m0", seed=seed)
        player = next(player for player in rated["players"] if player["name"] == "m1")
        covered += player["low"] <= 1000 + 400 / math.log(10) * gap <= player["high"]
    assert covered > 51


def test_the_worlds_utility_is_what_they_rank_and_write_by(tmp_path: Path) -> None:
    world = World(WorldSettings(people=20))
    new, utility = world_items(world, PreferenceSettings(rows=20, answers=4, temperature=1e-6))
    state = simulate(tmp_path / "rank", RANK, new, [*team(2, 1e-6, 0, 0)], utility)
    for vote in state.votes():
        worth = [utility(state.items[vote.item], answer) for answer in state.items[vote.item].answers]
        best = [worth[place] for place, rank in enumerate(vote.ranks) if rank == 1]
        assert best[0] == max(worth)
    ledger = Ledger("votes")
    assert len([*export_rows(state, "rankings", ExportRules(), ledger)]) == 2 * len(new)
    ledger.check()
    asked, write = world_prompts(world, 20)
    state = simulate(tmp_path / "write", LogSettings(task="write"), asked, [*team(2, 1, 0, 0)], utility, written=write)
    rows = [*export_rows(state, "demonstrations", ExportRules(), Ledger("votes"))]
    assert len(rows) == len(asked)
    assert {row["annotator"] for row in rows} == {"person1", "person2"}


def test_a_model_may_be_the_utility(tmp_path: Path) -> None:
    """Such as a reward model; an answer that it cannot score is the worst."""
    new = items(3)

    def score(answers: Sequence[tuple[tuple[Message, ...], str]]) -> list[float | None]:
        return [None if text.startswith("Answer 0") else float(text.split()[1]) for _, text in answers]

    state = simulate(tmp_path / "log", RANK, new, [*team(2, 1e-6, 0, 0)], scored_utility(new, score))
    assert all(vote.ranks[2] == 1 and {vote.ranks[0], vote.ranks[1]} == {2, 3} for vote in state.votes())
    with pytest.raises(ValueError, match="can score none"):
        scored_utility(new, lambda answers: [None] * len(answers))


def test_the_command_wants_a_labeller(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["annotate", "simulate", *arguments, "--out", str(tmp_path / "log")])
        assert result.exit_code == 1
        return result.output

    assert "no [data] of kind 'world-preferences'" in run(str(recipes_folder() / "demo.toml"))
    assert "give --reward MODEL" in run(str(tmp_path / "answers.jsonl"))
