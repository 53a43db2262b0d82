"""A blind choice between checkpoints: ratings from rankings, and when the votes are enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np

from tutelage.annotate.quality import votes_of_items
from tutelage.annotate.state import Annotations
from tutelage.evaluate.arena import arena
from tutelage.evaluate.ratings import Battles, fit_ratings, groups_of
from tutelage.files import read_text
from tutelage.train.selection import held_out_loss

# One reads some 20 answers before one trusts a difference; from then on the votes are looked at every 10 prompts.
FIRST_LOOK, LOOK_EVERY = 20, 10
LEVEL = 0.05
_RESAMPLES = 300


def checkpoints_of(state: Annotations) -> tuple[str, ...]:
    """The names of the models of a log, in their own order."""
    return tuple(dict.fromkeys(model for item in state.items.values() for models in item.models for model in models))


def battles_of(state: Annotations, prompts: int | None = None) -> Battles:
    """The battles of the first `prompts` prompts that were voted on, all of them by default. Models that gave the same
    answer tie; votes on answers that name a model are left out, as they are not blind.

    Raises:
        ValueError: there is no vote.
    """
    players = checkpoints_of(state)
    rows: list[tuple[int, int, float, int]] = []
    for number, ranked in enumerate(_ranked_prompts(state)[:prompts]):
        for ranks in ranked:
            for (one, its), (other, rank) in combinations(ranks.items(), 2):
                won = 0.5 if its == rank else float(its < rank)
                rows.append((players.index(one), players.index(other), won, number))
    if not rows:
        raise ValueError("there is no blind vote yet; rank some answers first")
    first, second, won_, prompt = zip(*rows, strict=True)
    return Battles(players, np.array(first), np.array(second), np.array(won_, float), np.array(prompt))


def _ranked_prompts(state: Annotations) -> list[list[dict[str, int]]]:
    """Of each prompt with a blind vote, or with one answer only, the ranks of the models by each person."""
    found = []
    votes = votes_of_items(state)
    for item in state.items.values():
        if len(item.answers) == 1:
            found.append([dict.fromkeys(item.models[0], 1)])
        elif item.id in votes and not any(item.leaks):
            found.append([_model_ranks(item.models, vote.ranks) for vote in votes[item.id]])
    return found


def _model_ranks(models: Sequence[Sequence[str]], ranks: Sequence[int | None]) -> dict[str, int]:
    pairs = zip(models, ranks, strict=True)
    return {model: rank for writers, rank in pairs if rank is not None for model in writers}


def decision(state: Annotations, seed: int = 0) -> dict[str, Any] | None:
    """The first look at which one checkpoint is better than every other: {"best", "prompts"}; None while there is none.

    At each look the interval of the difference of two ratings must exclude 0, at the level 0.05 divided by the number
    of looks and of other checkpoints (Bonferroni): whoever looks often, and at the best of several, finds differences
    that are not there. The interval is normal, its width from a bootstrap over prompts.
    """
    return next(filter(None, (_look(state, prompts, seed) for prompts in _looks(state))), None)


def until_decided(seed: int = 0) -> Callable[[Annotations], bool]:
    """Whether the votes of a log that grows are enough; each look is taken once."""
    taken: dict[int, bool] = {}

    def decided(state: Annotations) -> bool:
        for prompts in _looks(state):
            if prompts not in taken:
                taken[prompts] = _look(state, prompts, seed) is not None
        return any(taken.values())

    return decided


def look_level(prompts: int, players: int) -> float:
    """The level of each look at so many prompts in all, and of each comparison with the best."""
    looks = max(1, (prompts - FIRST_LOOK) // LOOK_EVERY + 1)
    return LEVEL / looks / max(1, players - 1)


def _looks(state: Annotations) -> range:
    """After how many prompts the votes so far are looked at."""
    return range(FIRST_LOOK, len(_ranked_prompts(state)) + 1, LOOK_EVERY)


def _look(state: Annotations, prompts: int, seed: int) -> dict[str, Any] | None:
    """The best checkpoint after so many prompts, if it is surely better than every other."""
    battles = battles_of(state, prompts)
    best = _better_than_all(battles, look_level(len(state.items), len(battles.players)), seed)
    return None if best is None else {"best": battles.players[best], "prompts": prompts}


def _better_than_all(battles: Battles, level: float, seed: int) -> int | None:
    """The player whose ability is surely above every other's; None too where some never met, not even over others."""
    if len({*groups_of(battles)}) > 1:
        return None
    ability_P = fit_ratings(battles).ability_P
    best = int(ability_P.argmax())
    rng, prompts = np.random.default_rng(seed), int(battles.prompt_N.max()) + 1
    drawn = []
    for _ in range(_RESAMPLES):
        weight = rng.multinomial(prompts, np.full(prompts, 1 / prompts)).astype(float)
        drawn_P = fit_ratings(battles, weight[battles.prompt_N]).ability_P
        drawn.append(drawn_P[best] - drawn_P)
    half_P = NormalDist().inv_cdf(1 - level / 2) * np.std(drawn, axis=0, ddof=1)
    others = np.arange(len(ability_P)) != best
    return best if (ability_P[best] - ability_P - half_P)[others].min() > 0 else None


def choice_figures(state: Annotations, seed: int = 0) -> dict[str, Any]:
    """Ratings with their intervals, the decision, and what the score and the loss of training would have chosen.

    Raises:
        ValueError: there is no vote.
    """
    rated = arena(battles_of(state), seed=seed)
    trained = {name: training_scores(name) for name in checkpoints_of(state)}
    return {
        "players": [{**player, **trained[player["name"]]} for player in rated["players"]],
        "prompts": rated["prompts"],
        "decision": decision(state, seed),
        "by_score": _first(trained, "score", highest=True),
        "by_loss": _first(trained, "held_out_loss", highest=False),
    }


def training_scores(name: str) -> dict[str, float | None]:
    """The score of the dev eval and the held-out loss that training logged for RUN/STAGE@STEP; None where it has
    none."""
    nothing: dict[str, float | None] = {"score": None, "held_out_loss": None}
    stage, _, step = name.rpartition("@")
    log = Path(stage) / "train.jsonl"
    if not step.isdecimal() or not log.exists():
        return nothing
    for text in reversed(read_text(log).splitlines()):
        try:
            line = msgspec.json.decode(text)
        except msgspec.DecodeError:
            continue  # training writes it now
        if line.get("step") == int(step):
            loss, dev = held_out_loss(line), line.get("dev_eval")
            return {"score": dev["score"] if dev else None, "held_out_loss": loss if loss < math.inf else None}
    return nothing


def _first(trained: Mapping[str, Mapping[str, float | None]], name: str, highest: bool) -> str | None:
    known = {model: value for model, scores in trained.items() if (value := scores[name]) is not None}
    if len(known) < len(trained):
        return None
    return max(known, key=known.__getitem__) if highest else min(known, key=known.__getitem__)


def choice_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines for the terminal."""
    for player in found["players"]:
        bounds = [f"{player[side]:.0f}" if player[side] is not None else "open" for side in ("low", "high")]
        parts = [f"{player['name']}: rating {player['rating']:.0f} ({bounds[0]} to {bounds[1]})"]
        parts += [f"{label} {player[name]:.4g}" for name, label in _TRAINED.items() if player[name] is not None]
        yield ", ".join(parts)
    best = found["decision"]
    if best is None:
        yield f"not decided after {found['prompts']:,} prompts"
    else:
        yield f"people choose {best['best']}, decided after {best['prompts']:,} prompts"
    for name, label in (("by_score", "score"), ("by_loss", "held-out loss")):
        if found[name] is not None:
            yield f"the {label} of training chooses {found[name]}"


_TRAINED = {"score": "score", "held_out_loss": "held-out loss"}
