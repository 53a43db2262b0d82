"""Results of a benchmark as a log of inspect_ai, version 2 of its JSON format: for its viewer (`inspect view`) and its
data frames. inspect_ai is not needed to write it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from tutelage.evaluate.benchmarks.measured import RESULTS
from tutelage.evaluate.item_results import ItemResult, Sample, read_items
from tutelage.files import read_json, write_bytes

_RIGHT, _WRONG, _UNASKED = "C", "I", "N"  # as its scorers say it


def write_inspect_log(results: Path, logs: Path) -> Path:
    """Write the log of the benchmark in a folder of results into a folder of logs, under a name that inspect_ai lists.
    Each evaluation has a log of its own, as with inspect_ai.

    Raises:
        DiskError: a file cannot be read or written.
        ValueError: the results are broken.
    """
    log = inspect_log(results)
    name = (
        f"{log['eval']['created'].replace(':', '-')}_{log['eval']['task'].replace('_', '-')}_{log['eval']['task_id']}"
    )
    logs.mkdir(parents=True, exist_ok=True)
    write_bytes(logs / f"{name}.json", msgspec.json.encode(log))  # its reader needs "version" first
    return logs / f"{name}.json"


def inspect_log(folder: Path) -> dict[str, Any]:
    """The log of a benchmark's results. Every sample of an item is an epoch. Outcomes other than right and wrong, such
    as cut off, are in each score's metadata. Raises as `write_inspect_log`."""
    plain, items = read_json(folder / RESULTS), read_items(folder)
    content = hashlib.sha256((folder / RESULTS).read_bytes()).hexdigest()
    written = datetime.fromtimestamp((folder / RESULTS).stat().st_mtime, UTC)
    created = written.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    model = f"tutelage/{Path(str(plain['model'])).name}"
    settings = plain["settings"]
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": content[:22],
            "run_id": content[22:44],
            "created": created,
            "task": plain["name"],
            "task_id": content[:22],
            "task_version": 0,
            "task_args": {key: value for key, value in settings.items() if value is not None},
            "dataset": {
                "name": plain["title"],
                "samples": plain["total"],
                "sample_ids": [item.id for item in items],
                "shuffled": plain["asked"] < plain["total"],
            },
            "model": model,
            "config": {"epochs": max((len(item.samples) for item in items), default=1) or 1},
            "packages": {"tutelage": version("tutelage")},
            "metadata": {key: plain[key] for key in ("format", "headline", "weights", "data")},
        },
        "plan": {"name": "plan", "steps": [], "config": _generation(settings)},
        "results": _results(plain, items),
        "stats": {"started_at": created, "completed_at": created, "model_usage": {}},
        "samples": [entry for item in items for entry in _entries(item, model)],
    }


def _generation(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: settings[key] for key in ("max_tokens", "temperature", "seed") if settings[key] is not None}


def _results(plain: Mapping[str, Any], items: list[ItemResult]) -> dict[str, Any]:
    scores = []
    for name, of in plain["rates"].items():
        values = {"accuracy": of["rate"], "ci_low": of["low"], "ci_high": of["high"]}
        metrics = {key: {"name": key, "value": value, "params": {}} for key, value in values.items()}
        scores.append({"name": name, "scorer": name, "scored_samples": of["count"], "params": {}, "metrics": metrics})
    count = sum(max(1, len(item.samples)) for item in items)
    return {"total_samples": count, "completed_samples": count, "scores": scores, "metadata": plain["figures"]}


def _entries(item: ItemResult, model: str) -> list[dict[str, Any]]:
    """An item's samples; a choice by likelihood, and an item that was not asked, is one without tokens."""
    samples = item.samples or [
        Sample(item.output, item.outcome, {name: share == 1 for name, share in item.passed.items()}, item.output)
    ]
    further = {key: getattr(item, key) for key in ("group", "logprobs", "tokens") if getattr(item, key)}
    return [_entry(item, sample, number, model, further) for number, sample in enumerate(samples, 1)]


def _entry(item: ItemResult, sample: Sample, epoch: int, model: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": sample.text, "source": "generate"}
    stop = {"cut off": "max_tokens", "too long": "model_length"}.get(sample.outcome, "stop")
    own = {"outcome": sample.outcome, **({"answer_logprob": sample.logprob} if sample.tokens else {})}
    usage = {model: {"input_tokens": 0, "output_tokens": sample.tokens, "total_tokens": sample.tokens}}
    scores = {
        name: {"value": _RIGHT if right else _WRONG, "answer": sample.extracted, "metadata": own}
        for name, right in sample.passed.items()
    }
    return {
        "id": item.id,
        "epoch": epoch,
        "input": item.prompt,
        "target": item.gold,
        "messages": [{"role": "user", "content": item.prompt, "source": "input"}, message],
        "output": {"model": model, "choices": [{"message": message, "stop_reason": stop}]},
        "scores": scores or {"outcome": {"value": _UNASKED, "answer": "", "metadata": own}},
        "metadata": dict(metadata),
        "store": {},
        "events": [],
        "model_usage": usage if sample.tokens else {},
        "attachments": {},
    }
