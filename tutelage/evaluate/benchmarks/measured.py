"""What a benchmark gives: the results of its items, rates with intervals, and how it was asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tutelage.evaluate.item_results import OUTCOMES, ItemResult, write_items
from tutelage.evaluate.statistics import Rate, rate
from tutelage.files import write_json

RESULTS = "results.json"


@dataclass(frozen=True)
class AskSettings:
    """How a benchmark is asked; None is the benchmark's own choice.

    limit:          at most so many items, a stratified seeded part.
    budget_seconds: as many items as fit into this time, a stratified seeded part.
    shots, form, max_tokens: as of the benchmark.
    chat:           in the model's chat template. By default answers are written in it where there is one, and
                    likelihoods are those of plain text.
    samples:        answers to each prompt; more than one needs a temperature above 0.
    power:          draw whole answers in proportion to this power of their probability (`engine.power_sampling`).
    reward:         the folder of a reward model that picks the best of them.
    think_tokens:   also end every thought after so many tokens, for each number, and show the score of each.
    think_at_least: also let every thought go on for so many tokens, for each number, and show the score of each.
    by_answer:      sets of multiple choice are answered in words too, and not scored by likelihood.
    pmi:            score each choice without its question too, where the headline does not need it.
    """

    limit: int | None = None
    budget_seconds: float | None = None
    shots: int | None = None
    form: str | None = None
    chat: bool | None = None
    max_tokens: int | None = None
    samples: int = 1
    temperature: float = 0.0
    power: float | None = None
    seed: int = 0
    reward: str | None = None
    by_answer: bool = False
    pmi: bool = False
    think_tokens: tuple[int, ...] = ()
    think_at_least: tuple[int, ...] = ()


@dataclass(frozen=True)
class Measured:
    """The results of one benchmark.

    format:  how it was asked, a part of the score's name.
    headline: the name of its main rate.
    rates:   shares with their 95% intervals.
    figures: other numbers.
    total:   the items of its files, of which `items` were asked.
    """

    name: str
    title: str
    format: str
    headline: str
    items: Sequence[ItemResult]
    rates: Mapping[str, Rate]
    figures: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[str] = ()
    total: int = 0


def outcome_rates(outcomes: Sequence[str]) -> dict[str, Rate]:
    """The share of each outcome that occurs, other than right; of all items that were asked."""
    counts = Counter(outcomes)
    asked = len(outcomes) - counts["too long"]
    return {
        name.replace(" ", "_"): rate(counts[name], asked)
        for name in OUTCOMES
        if counts[name] and name not in ("right", "too long")
    }


def group_figures(items: Sequence[ItemResult], metric: str) -> dict[str, Any]:
    """The share of each group, and their mean (macro) where there are several; the share of all items is the rate
    itself (micro). Both are named, since they differ where groups have different sizes."""
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for item in items:
        if item.group and metric in item.passed:
            groups[item.group].append(item.passed[metric])
    if len(groups) < 2:
        return {}
    means = {name: sum(values) / len(values) for name, values in sorted(groups.items())}
    counts = {name: len(values) for name, values in sorted(groups.items())}
    return {"macro": sum(means.values()) / len(means), "groups": means, "group_counts": counts}


def to_plain(measured: Measured) -> dict[str, Any]:
    """The results without the items, ready for JSON."""
    plain = {key: value for key, value in vars(measured).items() if key not in ("items", "rates")}
    rates = {name: asdict(value) for name, value in measured.rates.items()}
    return {**plain, "files": list(measured.files), "asked": len(measured.items), "rates": rates}


def write_measured(folder: Path, measured: Measured, more: Mapping[str, Any]) -> None:
    """Write results.json, with `more`, and items.jsonl into the folder of a benchmark."""
    folder.mkdir(parents=True, exist_ok=True)
    write_items(folder, measured.items)
    write_json(folder / RESULTS, {**to_plain(measured), **more})
