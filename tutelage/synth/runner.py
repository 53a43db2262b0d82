"""Runs a synthesis: each method over its rows, the files of each step, `synth.json`, and a page to look at."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from tutelage.config import fingerprint, to_plain
from tutelage.files import locked, read_json, write_json
from tutelage.io.data_files import data_files
from tutelage.ledger import Ledger
from tutelage.process import Stopped, peak_rss_bytes, stop_requests
from tutelage.progress import status, track
from tutelage.synth.diversity import diversity
from tutelage.synth.gate import Gate
from tutelage.synth.method import Method, Row
from tutelage.synth.output import DATA, DROPPED, Output, Totals, clear, read_lines
from tutelage.synth.recipe import SynthRecipe, template_hash
from tutelage.synth.rows import WORLD, read_rows
from tutelage.synth.step import Step
from tutelage.synth.teacher import EndpointTeacher, Teacher
from tutelage.synth.teachers import open_teachers
from tutelage.text.hashing import file_hash
from tutelage.world import World

SUMMARY, FINGERPRINT, ANSWERS, STEPS = "synth.json", "fingerprint.json", "answers", "steps"
# Raise it when the runner, the gate or the parsers make other rows of the same answers.
SYNTHESIS = 2


class TooFewRows(ValueError):
    """Fewer rows were kept than the recipe demands."""


def synthesise(
    recipe: SynthRecipe, out: Path, again: bool = False, teachers: Mapping[str, Teacher] | None = None
) -> dict[str, Any]:
    """Make the rows of a recipe in the folder `out`: data.jsonl, dropped.jsonl, synth.json and index.html. Run it again
    to go on where it was stopped; the files are then those of a run that was never stopped, byte for byte.

    again:    make all rows again from the answers that are there; only what has no answer is asked.
    teachers: models that are open already, by name, instead of those of the recipe.

    Raises:
        ValueError: the input or a model cannot be used; TooFewRows after everything is written.
        EndpointError: an endpoint fails, or the budget is spent; what is finished is written.
        Stopped: the run was interrupted; what is finished is written.
        DiskError: a file cannot be read or written.
    """
    began = time.monotonic()
    with locked(out, "name another folder: out=DIR"), ExitStack() as stack:
        if teachers is None:
            teachers = open_teachers(recipe, out / ANSWERS, stack)
        stop = stack.enter_context(stop_requests())
        ledgers: list[Ledger] = []
        steps: list[dict[str, Any]] = []
        error: Exception | None = None
        source: Path | None = None
        before = ""
        for number, (name, method) in enumerate(recipe.steps):
            last = number == len(recipe.steps) - 1
            folder = out if last else out / STEPS / name
            key = fingerprint(SYNTHESIS, before or _input_key(recipe, method), _content(recipe, method, teachers))
            _prepare(folder, key, again)
            done, error = _run_step(name, method, recipe, teachers, folder, source, ledgers, stop)
            steps.append(_step_summary(name, method, folder))
            if not done:
                break
            source, before = folder / DATA, key
        summary = _summary(recipe, out, steps, ledgers, teachers, done, time.monotonic() - began)
        write_json(out / SUMMARY, summary, sort=False)
        _write_page(out, summary)
    if error is not None:
        raise error
    if not done:
        raise Stopped(f"interrupted with {summary['rows']:,} rows in {out / DATA}")
    if summary["rows"] < recipe.min_kept:
        raise TooFewRows(
            f"{summary['rows']:,} of {steps[-1]['made']:,} rows kept, and min_kept is {recipe.min_kept:,}: "
            f"{_reasons(steps)}; see {out / DROPPED}"
        )
    return summary


def _content(recipe: SynthRecipe, method: Method, teachers: Mapping[str, Teacher]) -> list[Any]:
    """Everything besides the input that decides the rows of a step."""
    models = {name: teacher.model for name, teacher in teachers.items()}
    against = [[file_hash(file) for file in data_files(Path(path))] for path in recipe.gate.against]
    return [template_hash(method), models, recipe.seed, to_plain(recipe.gate), against]


def _input_key(recipe: SynthRecipe, method: Method) -> str:
    assert recipe.input is not None
    if recipe.input == WORLD:
        return fingerprint(WORLD, to_plain(recipe.world), recipe.limit)
    return fingerprint([file_hash(file) for file in data_files(Path(recipe.input))], recipe.limit)


def _prepare(folder: Path, key: str, again: bool) -> None:
    """Remove the rows of other settings: they are made again, from the answers that are there."""
    file = folder / FINGERPRINT
    old = read_json(file) if file.exists() else None
    if old is not None and (old != key or again):
        status(f"{folder}: rows are made again; answers that are there are not asked for again")
        clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, key)


def _run_step(
    name: str, method: Method, recipe: SynthRecipe, teachers: Mapping[str, Teacher], folder: Path, source: Path | None,
    ledgers: list[Ledger], stop: Any,
) -> tuple[bool, Exception | None]:  # fmt: skip
    """Run a method; returns whether it is done, and the error that ended it. Adds the account of its input."""
    ledger = Ledger(f"{name}: input")
    rows = _input_rows(recipe, method, source, ledger)
    seeds: Sequence[Row] = ()
    if method.draws:
        seeds = list(rows)
        rows = ({"id": f"{name} {number}"} for number in count())
    output = Output(folder)
    try:
        step = Step(name, method, template_hash(method), teachers, Gate(recipe.gate), output, recipe.seed, seeds)
        start, unit = (output.totals.items, "items") if method.count is None else (output.totals.kept, "rows")
        with track(name, method.count, unit, start) as bar:
            done = step.run(rows, bar, stop)
    finally:
        output.close()
    if source is None and done and (method.draws or method.count is None):
        ledger.check()
    if source is None:
        ledgers.append(ledger)
    return done, step.error


def _input_rows(recipe: SynthRecipe, method: Method, source: Path | None, ledger: Ledger) -> Iterator[Row]:
    if source is None:
        assert recipe.input is not None
        return read_rows(recipe.input, method.takes, ledger, World(recipe.world), recipe.limit)
    return ({name: value for name, value in row.items() if name != "lineage"} for row in read_lines(source))


def _step_summary(name: str, method: Method, folder: Path) -> dict[str, Any]:
    output = Output(folder)
    totals = output.totals
    output.close()
    items, rows = _ledgers(name, folder, totals)
    return {
        "step": name,
        "title": (type(method).__doc__ or "").split(".")[0],
        "items": totals.items,
        "made": totals.made,
        "kept": totals.kept,
        "ledgers": [items.to_dict(), rows.to_dict()],
        "tokens": {purpose: list(counts) for purpose, counts in sorted(totals.tokens.items())},
        "diversity": diversity(row for row in read_lines(folder / DATA)),
    }


def _ledgers(name: str, folder: Path, totals: Totals) -> tuple[Ledger, Ledger]:
    """The two accounts of a step: its items, and the rows that their replies held."""
    items, rows = Ledger(f"{name}: items to rows"), Ledger(f"{name}: rows through the gate")
    items.read(totals.items)
    rows.read(totals.made)
    rows.keep(totals.kept)
    with_rows = totals.items - totals.empty
    items.rows_kept, items.rows_out = with_rows, totals.made
    for row in read_lines(folder / DROPPED):
        (items if row["level"] == "item" else rows).drop(row["reason"], where=row["id"])
    items.check()
    rows.check()
    return items, rows


def _summary(
    recipe: SynthRecipe, out: Path, steps: list[dict[str, Any]], ledgers: list[Ledger],
    teachers: Mapping[str, Teacher], done: bool, seconds: float,
) -> dict[str, Any]:  # fmt: skip
    usage = {name: teacher.usage() for name, teacher in teachers.items()}
    return {
        "name": recipe.name,
        "done": done,
        "rows": steps[-1]["kept"] if len(steps) == len(recipe.steps) else 0,
        "models": {name: teacher.model for name, teacher in teachers.items()},
        "steps": steps,
        "input": [ledger.to_dict() for ledger in ledgers],
        "usage": usage,
        "cost": _cost(recipe, usage),
        "seconds": seconds,
        "peak_rss_bytes": peak_rss_bytes(),
        "recipe": to_plain(recipe),
    }


def _cost(recipe: SynthRecipe, usage: Mapping[str, Mapping[str, int]]) -> float:
    """What this run cost, by the prices of its endpoints."""
    cost = 0.0
    for name, settings in {"teacher": recipe.teacher, **recipe.models}.items():
        if isinstance(settings, EndpointTeacher) and name in usage:
            cost += settings.cost(usage[name]["prompt_tokens"], usage[name]["completion_tokens"])
    return cost


def _reasons(steps: list[dict[str, Any]]) -> str:
    """The most frequent reasons of all steps."""
    total: Counter[str] = Counter()
    for step in steps:
        for ledger in step["ledgers"]:
            total.update({reason: entry["rows"] for reason, entry in ledger["dropped"].items()})
    return ", ".join(f"{reason} {rows:,}" for reason, rows in total.most_common(6)) or "nothing was made"


def _write_page(out: Path, summary: Mapping[str, Any]) -> None:
    from tutelage.files import write_text
    from tutelage.synth.page import PAGE, synth_page

    write_text(out / PAGE, synth_page(out, summary))
