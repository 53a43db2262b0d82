from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from tutelage.evaluate.ratings import Battles, as_ratings, elo, fit_ratings, groups_of, unbounded


def battles_of(rows: Sequence[tuple[str, str, float]]) -> Battles:
    """Battles of (first, second, share of the first), each of a prompt of its own."""
    players = tuple(sorted({name for row in rows for name in row[:2]}))
    first, second = (np.array([players.index(row[seat]) for row in rows]) for seat in (0, 1))  # type: ignore[arg-type]
    return Battles(players, first, second, np.array([row[2] for row in rows]), np.arange(len(rows)))


def drawn(abilities: Sequence[float], per_pair: int, tie: float = 0.0, seed: int = 0) -> Battles:
    """Battles drawn from Davidson's model."""
    rng, rows = np.random.default_rng(seed), []
    for one, other in permutations(range(len(abilities)), 2):
        powers = np.exp([abilities[one], abilities[other], (abilities[one] + abilities[other]) / 2])
        powers[2] *= tie
        outcomes = rng.choice([1.0, 0.0, 0.5], per_pair, p=powers / powers.sum())
        rows += [(f"p{one}", f"p{other}", float(outcome)) for outcome in outcomes]
    return battles_of(rows)


def test_journal_citations_are_the_published_ones(data: Callable[[str], Path]) -> None:
    """The vignette of the R package BradleyTerry2."""
    with data("statistics/journal_citations.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["cited"] != row["citing"]]
    battles = battles_of([(row["cited"], row["citing"], 1.0) for row in rows])
    fit = fit_ratings(battles, np.array([float(row["count"]) for row in rows]))
    assert not fit.phantoms
    assert dict(zip(battles.players, fit.ability_P - fit.ability_P[0], strict=True)) == pytest.approx(
        {"Biometrika": 0, "Comm Statist": -2.94907, "JASA": -0.47957, "JRSS-B": 0.26895}, abs=1e-5
    )


def test_baseball_with_and_without_home_advantage_is_the_published_one(data: Callable[[str], Path]) -> None:
    with data("statistics/baseball_1987.csv").open() as file:
        rows = [*csv.DictReader(file)]
    sides = (("home_wins", 1.0), ("away_wins", 0.0))
    battles = battles_of([(row["home"], row["away"], won) for row in rows for _, won in sides])
    counts_N = np.array([float(row[side]) for row in rows for side, _ in sides])
    for seat, published in (
        (False, [0, 1.10770, 0.68385, 1.43641, 1.58136, 1.24762, 1.29449]),
        (True, [0, 1.14380, 0.70469, 1.47536, 1.61956, 1.28134, 1.32711]),
    ):
        fit = fit_ratings(battles, counts_N, first_seat=seat)
        assert fit.ability_P - fit.ability_P[0] == pytest.approx(published, abs=1e-5)
        assert fit.first_seat == pytest.approx(0.3023 if seat else 0.0, abs=5e-5)


def test_online_elo_of_qlora_is_the_published_one(data: Callable[[str], Path]) -> None:
    """Table 1 of the QLoRA paper, within its +-1."""
    won = {"1": 1.0, "2": 0.0, "3": 0.5}
    with data("qlora_judge/gpt4_pairwise_vicuna.csv").open() as file:
        rows = [(row["first"], row["second"], won[row["score"]]) for row in csv.DictReader(file) if row["score"] in won]
    battles, rng = battles_of(rows), np.random.default_rng(0)
    assert len(rows) == 4467
    mean_P = np.mean([elo(battles, rng.permutation(len(rows)).tolist(), 4) for _ in range(100)], 0)
    assert dict(zip(battles.players, mean_P, strict=True)) == pytest.approx(
        {
            "gpt4": 1348,
            "65b-guanaco": 1022,
            "30b-guanaco": 992,
            "vicuna-13b": 974,
            "gpt35": 966,
            "13b-guanaco": 916,
            "bard": 902,
            "7b-guanaco": 879,
        },
        abs=3,
    )


def test_pain_e27_elo_moves_with_the_order_and_bradley_terry_does_not() -> None:
    battles, rng = drawn([1.0, 0.0, -1.0], 30), np.random.default_rng(1)
    orders = [rng.permutation(len(battles.won_N)) for _ in range(20)]
    fits = []
    for order in orders:
        shuffled = replace(
            battles,
            first_N=battles.first_N[order],
            second_N=battles.second_N[order],
            won_N=battles.won_N[order],
        )
        fits.append(fit_ratings(shuffled).ability_P)
    assert np.ptp(fits, axis=0).max() < 1e-9
    assert np.ptp([elo(battles, order.tolist(), 32) for order in orders], axis=0).max() > 10


@pytest.mark.parametrize("tie", [0.0, 0.7])
def test_abilities_are_found_again(tie: float) -> None:
    true_P = np.array([1.5, 0.5, -0.5, -1.5])
    battles = drawn(true_P.tolist(), 2000, tie)
    fit = fit_ratings(battles, ties="davidson" if tie else "half")
    assert fit.ability_P == pytest.approx(true_P, abs=0.12)
    if tie:
        assert np.exp(fit.log_tie) == pytest.approx(tie, rel=0.1)


def test_style_takes_its_part_of_a_win() -> None:
    """Of two equal players the first writes longer answers, and length alone wins."""
    rng = np.random.default_rng(0)
    length_N = rng.normal(1, 1, 4000)
    won_N = (rng.random(4000) < 1 / (1 + np.exp(-2 * length_N))).astype(float)
    battles = battles_of([("long", "short", float(won)) for won in won_N])
    assert np.diff(fit_ratings(battles).ability_P)[0] < -1
    fit = fit_ratings(replace(battles, style_NS=length_N[:, None]))
    assert fit.style_S is not None and fit.style_S[0] == pytest.approx(2, abs=0.2)
    assert fit.ability_P == pytest.approx([0, 0], abs=0.1)


def test_pain_e26_an_undefeated_player_has_a_finite_rating_and_no_upper_bound() -> None:
    battles = battles_of([("best", "a", 1.0)] * 5 + [("a", "b", 1.0), ("b", "a", 1.0), ("best", "b", 1.0)])
    fit = fit_ratings(battles)
    assert fit.phantoms and np.isfinite(fit.ability_P).all()
    assert battles.players[int(fit.ability_P.argmax())] == "best"
    low_P, high_P = unbounded(battles)
    assert [name for name, no in zip(battles.players, high_P, strict=True) if no] == ["best"]
    assert [name for name, no in zip(battles.players, low_P, strict=True) if no] == ["a", "b"]


def test_pain_e26_players_who_only_tie_are_equal() -> None:
    battles = battles_of([("a", "b", 0.5), ("b", "c", 0.5), ("c", "a", 0.5)])
    fit = fit_ratings(battles)
    assert not fit.phantoms
    assert as_ratings(fit.ability_P) == pytest.approx([1000] * 3)
    assert not np.any(unbounded(battles))


def test_pain_e26_players_who_never_met_are_groups() -> None:
    battles = battles_of([("a", "b", 1.0), ("b", "a", 1.0), ("x", "y", 1.0), ("y", "x", 1.0), ("y", "z", 0.5)])
    assert dict(zip(battles.players, groups_of(battles), strict=True)) == {"a": 0, "b": 0, "x": 1, "y": 1, "z": 1}
    assert not fit_ratings(battles).phantoms
