"""A results file of an evaluation, such as `tutelage evaluate ... --json` writes: each item's outcome, to be compared
item by item with another model's.

The file is a JSON object with `items`, or JSON lines of items. Each has an `id` and an `outcome` ("right", ...), or
`passed` by metric, or `gold` and `picks` by metric, or a numeric `score`. What decided the prompts: `SETTINGS`.
Items may have a `prompt`, a `group` (a subject, for the macro mean) and a `cluster` (items that are not independent,
such as questions on one passage).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.evaluate.benchmarks.measured import RESULTS
from tutelage.evaluate.item_results import ITEMS
from tutelage.files import read_json
from tutelage.io.row import BrokenRow
from tutelage.io.rows import rows

LINES = (".jsonl", ".ndjson")
SETTINGS = ("suite", "format", "system", "shots", "seed", "limit", "decoding", "settings")
Item = Mapping[str, Any]


@dataclass(frozen=True)
class ResultFile:
    """The results of one model.

    scores:   by metric, each item's score by its id: 1 and 0 for right and not right.
    items:    the items as they stand in the file, by id.
    settings: what decided what was asked, and how.
    headline: the main metric, where the results name one; the items' outputs are by it.
    """

    path: Path
    model: str
    settings: Mapping[str, Any]
    items: Mapping[str, Item]
    scores: Mapping[str, Mapping[str, float]]
    headline: str = ""


def read_result_file(path: Path) -> ResultFile:
    """The results of a file.

    Raises:
        DiskError: it cannot be read.
        ValueError: it holds no items, an item has no outcome, or two have one id; the message names it.
    """
    plain = {"items": _lines(path)} if path.suffix in LINES else read_json(path)
    listed = plain.get("items") if isinstance(plain, dict) else None
    if not isinstance(listed, list) or not listed:
        raise ValueError(
            f"{path} has no 'items'; write it with: tutelage evaluate MODEL --suite FILE --json > {path.name}"
        )
    items: dict[str, Item] = {}
    scores: dict[str, dict[str, float]] = {}
    for number, item in enumerate(listed):
        name = str(item["id"]) if isinstance(item, dict) and item.get("id") is not None else None
        if name is None or name in items:
            raise ValueError(f"{path}, item {number}: {'no id' if name is None else f'the id {name!r} occurs twice'}")
        items[name] = item
        for metric, score in _scores(item, f"{path}, item {name}").items():
            scores.setdefault(metric, {})[name] = score
    settings = {key: plain[key] for key in SETTINGS if plain.get(key) is not None}
    if "suite" in settings:
        settings["suite"] = Path(str(settings["suite"])).name  # the same file may lie in another folder
    return ResultFile(path, str(plain.get("model", path.stem)), settings, items, scores)


def is_result_folder(folder: Path) -> bool:
    """Whether a folder holds the results of a benchmark, or of several, as `tutelage evaluate --suite NAME` writes
    them."""
    return folder.is_dir() and bool(result_folders(folder))


def result_folders(folder: Path) -> dict[str, Path]:
    """The folders of benchmarks in a folder of results, by name; the folder itself where it is one."""
    if (folder / RESULTS).is_file() and (folder / ITEMS).is_file():
        return {folder.name: folder}
    return {one.name: one for one in sorted(folder.iterdir()) if (one / RESULTS).is_file() and (one / ITEMS).is_file()}


def read_result_folder(folder: Path) -> ResultFile:
    """The results of a benchmark: its settings from results.json, its items from items.jsonl. Prompts in a chat
    template differ between models, and are compared by the data alone. Raises as `read_result_file`."""
    plain, items = read_json(folder / RESULTS), read_result_file(folder / ITEMS)
    if not isinstance(plain, dict):
        raise ValueError(f"{folder / RESULTS} holds no results; run the evaluation again")
    settings = {key: plain[key] for key in ("name", "format", "data") if plain.get(key) is not None}
    # An option that an older version did not have is one that was not used.
    settings["settings"] = {key: value for key, value in dict(plain.get("settings") or {}).items() if value}
    of_items = items.items
    if "chat" in str(plain.get("format")):
        of_items = {name: {key: item[key] for key in item if key != "prompt"} for name, item in of_items.items()}
    model, headline = str(plain.get("model", folder.name)), str(plain.get("headline", ""))
    return ResultFile(folder, model, settings, of_items, items.scores, headline)


def _lines(path: Path) -> list[Any]:
    """The items of JSON lines; ValueError for a broken one."""
    found: list[Any] = []
    for place, row in rows(path, lambda row: "id" in row):
        if isinstance(row, BrokenRow):
            raise ValueError(f"{path.with_name(place)}: {row}; run the evaluation again")
        found += [] if row is None else [row]
    return found


def _scores(item: Item, where: str) -> dict[str, float]:
    if isinstance(passed := item.get("passed"), dict) and passed:
        return {str(metric): float(share) for metric, share in passed.items()}
    if isinstance(picks := item.get("picks"), dict) and item.get("gold") is not None:
        return {str(metric): float(pick == item["gold"]) for metric, pick in picks.items()}
    if item.get("outcome") == "too long":
        return {}  # it was not asked
    if isinstance(outcome := item.get("outcome"), str):
        return {"right": float(outcome == "right")}
    if isinstance(score := item.get("score"), int | float):
        return {"score": float(score)}
    raise ValueError(f"{where}: it has neither 'outcome' nor 'passed', nor 'gold' and 'picks', nor a numeric 'score'")


def check_comparable(first: ResultFile, second: ResultFile) -> None:
    """Raises ValueError where the two were not asked the same: a setting, an item or the prompt of an item differs."""
    for key in {**first.settings, **second.settings}:
        values = [result.settings.get(key) for result in (first, second)]
        if values[0] != values[1]:
            raise ValueError(
                f"the two were measured with different {key}: {values[0]!r} in {first.path.name} and {values[1]!r} in "
                f"{second.path.name}; evaluate both alike"
            )
    for here, there in ((first, second), (second, first)):
        if missing := [name for name in here.items if name not in there.items]:
            raise ValueError(
                f"{there.path.name} lacks {len(missing)} of the {len(here.items)} items of {here.path.name}, such as "
                f"{', '.join(missing[:3])}; evaluate both on the same items"
            )
    for name, item in first.items.items():
        prompts = [one.get("prompt") for one in (item, second.items[name])]
        if None not in prompts and prompts[0] != prompts[1]:
            raise ValueError(f"item {name} has another prompt in {second.path.name}; evaluate both on the same prompts")
