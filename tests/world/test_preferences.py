from __future__ import annotations

import math
from itertools import combinations

import pytest

from tutelage.records import Preference, Ranking, Utility
from tutelage.world.preferences import PreferenceSettings, comparisons, noise_ceiling, preferences, value
from tutelage.world.society import World, WorldSettings


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldSettings(people=20))


def agreement(world: World, settings: PreferenceSettings) -> tuple[float, float, list[tuple[Utility, Utility]]]:
    """How often the labels agree with the labeller's and with the true utility, and all pairs of answers."""
    right = {"labeller": 0.0, "true": 0.0}
    pairs = []
    for comparison in comparisons(world, settings):
        for i, k in combinations(range(len(comparison.answers)), 2):
            better, worse = sorted((i, k), key=lambda place: comparison.ranks[place])
            one, other = comparison.utilities[better], comparison.utilities[worse]
            pairs.append((comparison.utilities[i], comparison.utilities[k]))
            right["labeller"] += one.labeller > other.labeller or 0.5 * (one.labeller == other.labeller)
            right["true"] += one.true > other.true or 0.5 * (one.true == other.true)
    return right["labeller"] / len(pairs), right["true"] / len(pairs), pairs


@pytest.mark.parametrize(
    "settings",
    [
        PreferenceSettings(rows=3000),
        PreferenceSettings(rows=3000, temperature=2.0),
        PreferenceSettings(rows=3000, flaw="length", strength=2.0),
        PreferenceSettings(rows=800, answers=4, flaw="politeness"),
    ],
)
def test_labels_follow_bradley_terry_and_the_ceiling_is_what_they_allow(
    world: World, settings: PreferenceSettings
) -> None:
    """The ceiling is computed from the probabilities; the share of drawn labels lies within three standard errors, for
    pairs and for the pairs of rankings."""
    labeller, true, pairs = agreement(world, settings)
    ceiling = noise_ceiling(pairs)
    error = 0.5 / math.sqrt(settings.rows)
    assert labeller == pytest.approx(ceiling.labeller, abs=3 * error)
    assert true == pytest.approx(ceiling.true, abs=3 * error)
    assert ceiling.true <= ceiling.labeller
    assert (ceiling.true < ceiling.labeller - 0.01) == (settings.flaw != "none")


def test_the_ceiling_of_known_pairs() -> None:
    log3 = math.log(3)  # the better one is preferred 3 times of 4
    agree, disagree = (Utility(1, log3), Utility(0, 0)), (Utility(0, log3), Utility(1, 0))
    assert noise_ceiling([agree]) == pytest.approx((0.75, 0.75))
    assert noise_ceiling([disagree]) == pytest.approx((0.75, 0.25))
    assert noise_ceiling([agree, (Utility(2, 5), Utility(2, 5))]) == pytest.approx((0.625, 0.625))


def test_without_noise_the_better_answer_is_chosen(world: World) -> None:
    rows = list(preferences(world, PreferenceSettings(rows=300, temperature=1e-6)))
    assert all(isinstance(row, Preference) for row in rows)
    assert all(row.known[0].labeller >= row.known[1].labeller for row in rows)
    assert len({row.id for row in rows}) == 300


def test_rows_say_what_was_drawn(world: World) -> None:
    settings = PreferenceSettings(rows=50, flaw="politeness", strength=2.0)
    for comparison, row in zip(comparisons(world, settings), preferences(world, settings), strict=True):
        assert isinstance(row, Preference)
        best = comparison.ranks.index(1)
        assert row.chosen[0].text == comparison.answers[best]
        assert row.rejected[0].text == comparison.answers[1 - best]
        assert row.prompt[0].text == comparison.task.prompt
        assert row.known[0] == value(comparison.task, row.chosen[0].text, settings)
        assert row.chosen != row.rejected


def test_rankings_have_ties_where_they_are_asked_for(world: World) -> None:
    plain = list(preferences(world, PreferenceSettings(rows=60, answers=5)))
    tied = list(preferences(world, PreferenceSettings(rows=60, answers=5, ties=1.5)))
    assert all(isinstance(row, Ranking) and sorted(row.ranks) == [1, 2, 3, 4, 5] for row in plain)
    assert any(len(set(row.ranks)) < 5 for row in tied)  # type: ignore[union-attr]
    assert all(len(set(row.ranks)) > 1 and min(row.ranks) == 1 for row in tied)  # type: ignore[union-attr]


def test_another_rule_draws_other_rows_of_the_same_people(world: World) -> None:
    standard, brief = (
        list(comparisons(world, PreferenceSettings(rows=20, rule=rule))) for rule in ("standard", "brief")
    )  # type: ignore[arg-type]
    assert [row.task.person for row in standard] == [row.task.person for row in brief]
    assert all(len(row.task.attributes) == 1 for row in brief)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rows": 0}, "rows of preferences must be 1 or more"),
        ({"answers": 10}, "answers is 10; 2 gives pairs, 3 to 9 rankings"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        ({"ties": 1.0}, "ties is 1.0; it is a width of rankings"),
        ({"strength": -1.0}, "strength is -1.0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PreferenceSettings(**settings)  # type: ignore[arg-type]
