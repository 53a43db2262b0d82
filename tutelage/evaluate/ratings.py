"""Ratings of players from battles of two: Bradley-Terry, Davidson's ties, online Elo.

Shapes: N battles, P players, S style features, F features of the fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tutelage.evaluate.logistic import fit_choice

Ties = Literal["half", "davidson"]
SCALE, START = 400.0, 1000.0  # of a rating: 400 points are odds of 10 to 1, and the mean player has 1000
_PHANTOM = 0.5


@dataclass(frozen=True)
class Battles:
    """Battles of two players each.

    first_N, second_N: places in `players`.
    won_N:             1 where the first won, 0 where the second did, 0.5 for a tie.
    prompt_N:          the number of the prompt; battles of one prompt are resampled together.
    style_NS:          differences of style, first minus second.
    """

    players: tuple[str, ...]
    first_N: np.ndarray
    second_N: np.ndarray
    won_N: np.ndarray
    prompt_N: np.ndarray
    style_NS: np.ndarray | None = None


@dataclass(frozen=True)
class Fit:
    """Abilities on the log scale, their mean 0 in each connected group; the advantage of the first seat; the log of
    Davidson's tie parameter; and the weight of each style feature."""

    ability_P: np.ndarray
    first_seat: float = 0.0
    log_tie: float = -math.inf
    style_S: np.ndarray | None = None
    phantoms: bool = False


def fit_ratings(
    battles: Battles, weight_N: np.ndarray | None = None, ties: Ties = "half", first_seat: bool = False
) -> Fit:
    """Abilities by the highest likelihood: the first of two players wins with probability sigmoid(a_first - a_second)
    (Bradley & Terry 1952, Biometrika 39:324); a tie counts half for each, or has its own probability, as
    tie * sqrt(exp(a_first + a_second)) beside exp(a_first) and exp(a_second) (Davidson 1970, JASA 65:317).

    Where some players never lost to the others, no finite abilities are best. Then half a win of each over the other is
    added to each two that met, and `phantoms` says so.
    """
    weight_N = np.ones(len(battles.won_N)) if weight_N is None else weight_N
    first_N, second_N, won_N = battles.first_N, battles.second_N, battles.won_N
    players, style_NS = len(battles.players), battles.style_NS
    phantoms = not is_strongly_connected(_beats(battles, weight_N))
    if phantoms:
        pairs = np.unique(np.sort(np.stack([first_N, second_N], 1), 1), axis=0)
        first_N, second_N = np.concatenate([first_N, *pairs.T]), np.concatenate([second_N, *pairs.T[::-1]])
        won_N = np.concatenate([won_N, np.ones(2 * len(pairs))])
        weight_N = np.concatenate([weight_N, np.full(2 * len(pairs), _PHANTOM)])
        if style_NS is not None:
            style_NS = np.concatenate([style_NS, np.zeros((2 * len(pairs), style_NS.shape[1]))])
    if style_NS is None:
        first_N, second_N, won_N, weight_N = _counted(first_N, second_N, won_N, weight_N, players)
    rows = np.arange(len(won_N))
    difference_NF = np.zeros((len(rows), players + first_seat + (0 if style_NS is None else style_NS.shape[1])))
    difference_NF[rows, first_N] += 1
    difference_NF[rows, second_N] -= 1
    if first_seat:
        difference_NF[:, players] = 1
    if style_NS is not None:
        difference_NF[:, players + first_seat :] = style_NS
    found_F = _fit(difference_NF, won_N, weight_N, ties)
    log_tie, found_F = (float(found_F[-1]), found_F[:-1]) if ties == "davidson" else (-math.inf, found_F)
    return Fit(
        found_F[:players],
        float(found_F[players]) if first_seat else 0.0,
        log_tie,
        None if style_NS is None else found_F[players + first_seat :],
        phantoms,
    )


def _fit(difference_NF: np.ndarray, won_N: np.ndarray, weight_N: np.ndarray, ties: Ties) -> np.ndarray:
    """Coefficients of the differences; with Davidson's ties, the log of the tie parameter after them."""
    if ties == "half":
        outcomes = [difference_NF, np.zeros_like(difference_NF)]
        return fit_choice(np.stack(outcomes, 1), np.stack([won_N, 1 - won_N], 1), weight_N)
    is_tie_N = won_N == 0.5
    none_N1 = np.zeros((len(won_N), 1))
    outcomes = [
        np.concatenate([difference_NF / 2, none_N1], 1),
        np.concatenate([-difference_NF / 2, none_N1], 1),
        np.concatenate([np.zeros_like(difference_NF), none_N1 + 1], 1),
    ]
    share_NO = np.stack([(won_N == 1), (won_N == 0), is_tie_N], 1).astype(float)
    return fit_choice(np.stack(outcomes, 1), share_NO, weight_N)


def _counted(
    first_N: np.ndarray, second_N: np.ndarray, won_N: np.ndarray, weight_N: np.ndarray, players: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Equal battles as one row with their weight."""
    cell_N = (first_N * players + second_N) * 3 + (2 * won_N).astype(int)
    weight_C = np.bincount(cell_N, weights=weight_N)
    (cells,) = np.nonzero(weight_C)
    return cells // 3 // players, cells // 3 % players, cells % 3 / 2, weight_C[cells]


def _beats(battles: Battles, weight_N: np.ndarray) -> np.ndarray:
    """Whether a player has won, or tied, against another: bool [P, P]."""
    beats_PP = np.zeros((len(battles.players),) * 2, dtype=bool)
    met_N = weight_N > 0
    for winner_N, loser_N, share_N in (
        (battles.first_N, battles.second_N, battles.won_N),
        (battles.second_N, battles.first_N, 1 - battles.won_N),
    ):
        some_N = met_N & (share_N > 0)
        beats_PP[winner_N[some_N], loser_N[some_N]] = True
    return beats_PP


def _reaches(edges_PP: np.ndarray) -> np.ndarray:
    """Which players can be reached from which, over any number of edges."""
    reach_PP = edges_PP | np.eye(len(edges_PP), dtype=bool)
    for _ in range(max(1, math.ceil(math.log2(max(len(edges_PP), 2))))):
        reach_PP = reach_PP @ reach_PP
    return reach_PP


def is_strongly_connected(beats_PP: np.ndarray) -> bool:
    """Whether, inside of each group of players that met, every one has beaten or tied every other, directly or over
    others: then and only then the best abilities are finite (Ford 1957, American Mathematical Monthly 64:28)."""
    return bool((_reaches(beats_PP) == _reaches(beats_PP | beats_PP.T)).all())


def groups_of(battles: Battles) -> list[int]:
    """The number of the group of each player; players of different groups never met, not even over others, so that
    their ratings cannot be compared."""
    beats_PP = _beats(battles, np.ones(len(battles.won_N)))
    first_P = _reaches(beats_PP | beats_PP.T).argmax(1)
    order = {int(first): number for number, first in enumerate(np.unique(first_P))}
    return [order[int(first)] for first in first_P]


def unbounded(battles: Battles) -> tuple[np.ndarray, np.ndarray]:
    """Which players' ratings have no lower bound, and which no upper: those that never beat, or never lost to, a player
    outside of their circle, bool [P] each."""
    reach_PP = _reaches(beats_PP := _beats(battles, np.ones(len(battles.won_N))))
    circle_PP = reach_PP & reach_PP.T
    outside_PP = (beats_PP | beats_PP.T) & ~circle_PP
    touches_P = (circle_PP @ outside_PP.any(1)).astype(bool)
    wins_P = (circle_PP @ (beats_PP & ~circle_PP).any(1)).astype(bool)
    losses_P = (circle_PP @ (beats_PP & ~circle_PP).any(0)).astype(bool)
    return touches_P & ~wins_P, touches_P & ~losses_P


def as_ratings(ability_P: np.ndarray, anchor: int | None = None) -> np.ndarray:
    """Abilities as ratings [P]: 400 points for odds of 10; the anchor, or the mean, has 1000."""
    zero = 0.0 if anchor is None else ability_P[anchor]
    return START + SCALE / math.log(10) * (ability_P - zero)


def elo(battles: Battles, order: Sequence[int], k: float) -> np.ndarray:
    """Ratings [P] after the battles in this order, each of which moves its two players by up to `k` points (Elo 1978).
    They depend on the order; `fit_ratings` does not."""
    rating_P = np.full(len(battles.players), START)
    first, second, won = battles.first_N.tolist(), battles.second_N.tolist(), battles.won_N.tolist()
    rating = rating_P.tolist()
    for number in order:
        one, other = first[number], second[number]
        expected = 1 / (1 + 10 ** ((rating[other] - rating[one]) / SCALE))
        move = k * (won[number] - expected)
        rating[one] += move
        rating[other] -= move
    return np.array(rating)
