"""Battles and rankings from a file to ratings with intervals.

A row is one of
  {"prompt": ..., "first": MODEL, "second": MODEL, "winner": "first" | "second" | "tie" | MODEL}
  {"prompt": ..., "models": [MODEL, ...], "ranks": [1, 2, 2, ...]}          the best has the lowest rank; ties are equal
Chatbot Arena's names `model_a`, `model_b` are known too. With `first_answer` and `second_answer` style can be
controlled. `prompt` is any text or number; battles of one prompt are resampled together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.evaluate.ratings import Battles, Fit, Ties, as_ratings, elo, fit_ratings, groups_of, unbounded
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows
from tutelage.ledger import Ledger

RESAMPLES, ELO_ORDERS, ELO_K = 200, 20, 4.0
STYLE = ("length", "headings", "list items", "bold")
_PROMPT = ("prompt", "question_id", "prompt_id", "question", "id")
_FIRST, _SECOND = ("first", "model_a", "model_1"), ("second", "model_b", "model_2")
_WINNERS = {"first": 1.0, "model_a": 1.0, "a": 1.0, "model_1": 1.0, "1": 1.0} | {
    "second": 0.0,
    "model_b": 0.0,
    "b": 0.0,
    "model_2": 0.0,
    "2": 0.0,
}
_MARKS = (re.compile(r"^#{1,6} ", re.M), re.compile(r"^[ \t]*(?:[-*+]|\d+[.)]) ", re.M), re.compile(r"\*\*[^*\n]+\*\*"))


@dataclass(frozen=True)
class _Battle:
    prompt: str
    first: str
    second: str
    won: float
    answers: tuple[str, str] | None = None


def read_battles(path: Path, ledger: Ledger) -> Battles:
    """The battles of a file, or of a folder of files. A row without a verdict is dropped, with its place and reason, in
    `ledger`.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a file is damaged, or holds no battle.
    """
    return _as_arrays(_read_files(path, ledger))


def _read_files(path: Path, ledger: Ledger) -> list[_Battle]:
    battles: list[_Battle] = []
    for file in data_files(path):
        for place, row in rows(file, _is_battle):
            ledger.read()
            try:
                if row is None or isinstance(row, BrokenRow):
                    raise row or BrokenRow("blank line")
                found = [*_read(row, place)]
            except BrokenRow as error:
                ledger.drop(error.reason, where=f"{place}: {error}")
                continue
            ledger.split(len(found))
            battles += found
    if not battles:
        reasons = ", ".join(f"{dropped.rows} x {reason}" for reason, dropped in ledger.dropped.items())
        raise ValueError(
            f"{path} has no battle with a verdict ({reasons or 'no rows'}); a row is {{'prompt': ..., 'first': MODEL, "
            "'second': MODEL, 'winner': 'first', 'second' or 'tie'}"
        )
    return battles


def prompt_shares(path: Path, names: tuple[str, str]) -> dict[str, float]:
    """What the first of two models won over the battles of the two, by prompt; all else as `read_battles`."""
    found: dict[str, list[float]] = {}
    for battle in _read_files(path, Ledger("battles")):
        if {battle.first, battle.second} == {*names}:
            found.setdefault(battle.prompt, []).append(battle.won if battle.first == names[0] else 1 - battle.won)
    if not found:
        raise ValueError(f"{path} has no battle of {names[0]} and {names[1]}; --names must be those of its rows")
    return {prompt: sum(shares) / len(shares) for prompt, shares in found.items()}


def _is_battle(row: Row) -> bool:
    return "models" in row or any(name in row for name in _FIRST)


def _read(row: Row, place: str) -> Iterator[_Battle]:
    prompt = next((str(row[name]) for name in _PROMPT if row.get(name) is not None), place)
    if row.get("models") is not None:
        yield from _ranking(row, prompt)
        return
    first, second = (_name(row, names) for names in (_FIRST, _SECOND))
    if first == second:
        raise BrokenRow("a model against itself", first)
    texts = [row.get(f"{seat}_answer") for seat in ("first", "second")]
    answers = (texts[0], texts[1]) if isinstance(texts[0], str) and isinstance(texts[1], str) else None
    yield _Battle(prompt, first, second, _won(row, first, second), answers)


def _name(row: Row, names: Sequence[str]) -> str:
    name = next((row[name] for name in names if row.get(name) is not None), None)
    if not isinstance(name, str) or not name.strip():
        raise BrokenRow("no model", f"none in {', '.join(repr(name) for name in names)}")
    return name.strip()


def _won(row: Row, first: str, second: str) -> float:
    said = row.get("winner", row.get("verdict"))
    text = str(said).strip()
    if text in (first, second):
        return 1.0 if text == first else 0.0
    if text.lower().startswith("tie") or text.lower() in ("draw", "both"):
        return 0.5
    if text.lower() not in _WINNERS:
        raise BrokenRow("no verdict", f"the winner is {said!r}")
    return _WINNERS[text.lower()]


def _ranking(row: Row, prompt: str) -> Iterator[_Battle]:
    models, ranks = row["models"], row.get("ranks")
    if not isinstance(models, list) or not isinstance(ranks, list) or len(models) != len(ranks) or len(models) < 2:
        raise BrokenRow("malformed ranking", "'models' and 'ranks' must be lists of the same length, 2 or more")
    if len({*map(str, models)}) < len(models) or not all(type(rank) in (int, float) for rank in ranks):
        raise BrokenRow("malformed ranking", "a model stands in it twice, or a rank is not a number")
    for (one, its), (other, rank) in combinations(zip(map(str, models), ranks, strict=True), 2):
        yield _Battle(prompt, one, other, 0.5 if its == rank else float(its < rank))


def _as_arrays(battles: Sequence[_Battle]) -> Battles:
    players = tuple(sorted({name for battle in battles for name in (battle.first, battle.second)}))
    place = {name: number for number, name in enumerate(players)}
    prompts = {name: number for number, name in enumerate(dict.fromkeys(battle.prompt for battle in battles))}
    answers = [battle.answers for battle in battles]
    style = None if None in answers else _style([pair for pair in answers if pair is not None])
    return Battles(
        players,
        np.array([place[battle.first] for battle in battles]),
        np.array([place[battle.second] for battle in battles]),
        np.array([battle.won for battle in battles]),
        np.array([prompts[battle.prompt] for battle in battles]),
        style,
    )


def _style(answers: Sequence[tuple[str, str]]) -> np.ndarray:
    """Differences of length, headings, list items and bold, as shares of their sum, in standard deviations [N, S] (Li
    et al. 2024, "Does style matter?", LMSYS)."""
    counts = np.array([[[len(text), *(len(m.findall(text)) for m in _MARKS)] for text in pair] for pair in answers])
    total = counts.sum(1)
    share = np.divide(counts[:, 0] - counts[:, 1], total, out=np.zeros(total.shape), where=total > 0)
    spread = share.std(0)
    return np.divide(share, spread, out=np.zeros_like(share), where=spread > 0)


def arena(
    battles: Battles,
    ties: Ties = "half",
    style: bool = False,
    first_seat: bool = False,
    anchor: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The rating of each player with its 95% interval from a bootstrap over prompts, the best first; and, to show how
    it depends on the order, the range of online Elo over random orders.

    Raises:
        ValueError: the anchor did not play; or style is asked for and a battle has no answers.
    """
    if anchor is not None and anchor not in battles.players:
        raise ValueError(f"the anchor {anchor!r} did not play; players: {', '.join(battles.players)}")
    if style and battles.style_NS is None:
        raise ValueError("style needs 'first_answer' and 'second_answer' in every row")
    if not style:
        battles = Battles(battles.players, battles.first_N, battles.second_N, battles.won_N, battles.prompt_N)
    place = None if anchor is None else battles.players.index(anchor)
    fit = fit_ratings(battles, None, ties, first_seat)
    drawn_RP = _resampled(battles, ties, first_seat, place, resamples, seed)
    low_P, high_P = np.quantile(drawn_RP, [0.025, 0.975], axis=0)
    endless_low_P, endless_high_P = unbounded(battles)
    rating_P, groups = as_ratings(fit.ability_P, place), groups_of(battles)
    elo_OP = _elos(battles, seed)
    players = []
    for p in np.argsort(-rating_P):
        won = np.concatenate([battles.won_N[battles.first_N == p], 1 - battles.won_N[battles.second_N == p]])
        players.append(
            {
                "name": battles.players[p],
                "rating": float(rating_P[p]),
                "low": None if endless_low_P[p] else float(low_P[p]),
                "high": None if endless_high_P[p] else float(high_P[p]),
                "battles": len(won),
                "win_rate": float(won.mean()),
                "ties": float((won == 0.5).mean()),
                "group": groups[p],
                "elo_low": float(elo_OP[:, p].min()),
                "elo_high": float(elo_OP[:, p].max()),
            }
        )
    prompts = int(battles.prompt_N.max()) + 1
    return {"players": players, "battles": len(battles.won_N), "prompts": prompts, **_effects(fit, ties, first_seat)}


def _effects(fit: Fit, ties: Ties, first_seat: bool) -> dict[str, Any]:
    """What the fit found besides abilities."""
    effects: dict[str, Any] = {"separated": fit.phantoms}
    if first_seat:
        effects["first_seat"] = fit.first_seat
    if ties == "davidson":
        effects["tie"] = float(np.exp(fit.log_tie))
    if fit.style_S is not None:
        effects["style"] = dict(zip(STYLE, map(float, fit.style_S), strict=True))
    return effects


def _resampled(
    battles: Battles, ties: Ties, first_seat: bool, anchor: int | None, resamples: int, seed: int
) -> np.ndarray:
    """Ratings of as many resamples of the prompts, [R, P]."""
    rng, prompts = np.random.default_rng(seed), int(battles.prompt_N.max()) + 1
    drawn = []
    for _ in range(resamples):
        weight = rng.multinomial(prompts, np.full(prompts, 1 / prompts)).astype(float)
        drawn.append(as_ratings(fit_ratings(battles, weight[battles.prompt_N], ties, first_seat).ability_P, anchor))
    return np.array(drawn)


def _elos(battles: Battles, seed: int) -> np.ndarray:
    """Online Elo after the battles in each of a few random orders, [O, P]."""
    rng = np.random.default_rng(seed)
    return np.array([elo(battles, rng.permutation(len(battles.won_N)).tolist(), ELO_K) for _ in range(ELO_ORDERS)])


def warnings(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before comparing the ratings."""
    found = []
    if len({player["group"] for player in result["players"]}) > 1:
        found.append("players of different groups never met, not even over others: their ratings cannot be compared")
    if result["separated"]:
        found.append(
            "some players never lost to the others, so that no rating is high enough: half a win was added to each "
            "side of each two that met, and their interval is open"
        )
    return found
