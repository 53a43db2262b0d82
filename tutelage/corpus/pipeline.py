"""Runs a curation recipe. Shards run in parallel and are written atomically, so a killed run resumes per shard.

OUT/.work holds one folder per pass and finished shard, named by a fingerprint of all that decides its content, and the
decisions of each global step. At the end the documents move to OUT, and .work is deleted.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from tutelage.config import fingerprint, to_plain
from tutelage.corpus.corpus_step import Corpus, GlobalStep, read_columns
from tutelage.corpus.curation import (
    Curation,
    ocr_of,
    passes,
    shown_recipe,
    steps_fingerprint,
)
from tutelage.corpus.engine import Run, engine
from tutelage.corpus.funnel import MetadataCounts, StepStats, metadata_rows, step_warnings
from tutelage.corpus.input_files import InputFile
from tutelage.corpus.input_shards import InputShard, input_shards
from tutelage.corpus.shard_progress import shown
from tutelage.corpus.shards import FORMAT, PARQUET, RESULT, SUFFIX, is_current, read_documents, read_result
from tutelage.corpus.steps import make
from tutelage.corpus.unread import unread_sentences
from tutelage.corpus.working import DOCUMENTS, DROPPED, STATS, Job, suffix_of
from tutelage.files import atomic_file, atomic_folder, locked, read_json, resolve_folder, write_json
from tutelage.ledger import Ledger
from tutelage.process import Stopped, peak_rss_bytes, stop_requests
from tutelage.progress import status, track

WORK, DETAILS = ".work", "details.json"
BETWEEN = f"{DOCUMENTS}{SUFFIX}"  # the documents of a shard between two passes
_SHOWN_CHARACTERS = 400


def curate(curation: Curation, out: Path, shards: Sequence[InputShard] | None = None) -> dict[str, Any]:
    """Run a recipe, skipping finished shards; `shards`: on some of its shards only. Returns the content of
    OUT/curation.json.

    OUT then holds the documents, in NNNNN.jsonl.zst or NNNNN.parquet, in input order; "dropped/STEP/REASON.jsonl.zst";
    and "curation.json" with the statistics of every step.

    Raises:
        ValueError: an input or a step is invalid; or another run is writing to the folder.
        Stopped: by Ctrl-C. Finished shards are kept.
        DiskError: reading or writing failed.
    """
    shards = input_shards(curation) if shards is None else shards
    _check_inputs_outside(out, shards)
    whole = corpus_fingerprint(curation, shards)
    with locked(out, "choose another out=") as lock:
        before = read_result(out)
        if before is not None and is_current(before) and before["fingerprint"] == whole:
            status(f"{out} is up to date; nothing to do")
            return before
        _check_no_foreign_files(out, before)
        if (ocr := ocr_of(curation)) is not None:
            ocr.check()
        for settings in curation.steps.values():
            make(settings)  # a missing file or package fails now, not in a worker
        began = time.perf_counter()
        with stop_requests() as stop, engine(curation.engine, curation.workers, stop, lock) as run:
            folders, details = _run_passes(curation, shards, (out / WORK).absolute(), run)
        result = _result(curation, shards, folders, details) | {
            "fingerprint": whole,
            "seconds": time.perf_counter() - began,
            "peak_rss_bytes": peak_rss_bytes(),
        }
        _publish(out, folders, result)
    for sentence in result["warnings"]:
        status(f"warning: {sentence}")
    return result


def corpus_fingerprint(curation: Curation, shards: Sequence[InputShard] | None = None) -> str:
    """Fingerprint of all that decides the content of a corpus. Raises as `input_shards`."""
    return fingerprint(
        steps_fingerprint(curation, list(curation.steps)),
        [shard.key for shard in (input_shards(curation) if shards is None else shards)],
        curation.output,
        curation.grounds,
    )


def _check_no_foreign_files(out: Path, before: Mapping[str, Any] | None) -> None:
    """Raise ValueError if the folder holds files that no curation wrote. They would be replaced or taken for its
    own."""
    if (out / WORK).exists():
        return
    names = sorted(file.name for file in out.iterdir() if not file.name.startswith("."))
    if before is not None:
        names = [name for name in names if name.endswith((SUFFIX, PARQUET)) and name not in before["files"]]
    if names:
        raise ValueError(f"{out} contains {names[0]}, which no curation wrote; choose another folder with out=")
    if before is not None:
        status(f"{out}: replacing the corpus that {before['name']} wrote")


def _check_inputs_outside(out: Path, shards: Sequence[InputShard]) -> None:
    for path in (file.path for shard in shards for file in shard.files if "://" not in file.path):
        if Path(path).resolve().is_relative_to(out.resolve()):
            raise ValueError(f"the input {path} lies inside the output folder {out}; choose another folder with out=")


def _run_passes(
    curation: Curation, shards: Sequence[InputShard], folder: Path, run: Run
) -> tuple[list[list[Path]], dict[str, dict[str, Any]]]:
    """Run all passes. Returns, per pass, the folders of its shards; and the details of each global step."""
    plan, keys = passes(curation.steps), [shard.key for shard in shards]
    folders: list[list[Path]] = []
    details: dict[str, dict[str, Any]] = {}
    decisions: Path | None = None
    past: list[str] = []
    for number, this in enumerate(plan):
        past += [*([this.applies] if this.applies else []), *this.steps]
        # In the first pass the output of a shard depends on its own files alone; later, on all files.
        key = fingerprint(
            steps_fingerprint(curation, past),
            keys if number else [],
            to_plain(curation.steps[this.collects]) if this.collects else curation.output,
        )
        outs = [
            folder / f"pass{number}-{key}" / (shard.key if not number else f"{i:05d}") for i, shard in enumerate(shards)
        ]
        jobs = [
            Job(
                curation,
                number,
                shard.files if not number else (InputFile(str(folders[-1][i] / BETWEEN), ""),),
                str(decisions) if decisions else None,
                i,
                str(outs[i]),
                f"{outs[i]}.progress",
            )
            for i, shard in enumerate(shards)
        ]
        _run_pass(curation.name, f"pass {number + 1} of {len(plan)}", jobs, run)
        folders.append(outs)
        if this.collects is not None:
            decisions = folder / f"decisions{number}-{fingerprint(key, keys)}"
            details[this.collects] = _decide(curation, this.collects, outs, decisions)
    return folders, details


def _run_pass(name: str, label: str, jobs: list[Job], run: Run) -> None:
    todo = [job for job in jobs if not resolve_folder(job.out).exists()]
    if not todo:
        return
    done = 0
    with (
        track(f"{name}: {label}", len(jobs), "shards", start=len(jobs) - len(todo)) as bar,
        shown([job.progress for job in todo], bar) as lock,
    ):
        for _ in run(todo):
            done += 1
            with lock:
                bar.update()
    if done < len(todo):
        raise Stopped(f"interrupted in {label}, after {len(jobs) - len(todo) + done} of {len(jobs)} shards")


def _decide(curation: Curation, name: str, folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Let a global step decide, unless its decisions are there. Returns its details."""
    if not resolve_folder(out).exists():
        status(f"{curation.name}: global step {name} over {len(folders)} shards")
        step = make(curation.steps[name])
        assert isinstance(step, GlobalStep)
        began = time.perf_counter()
        shards = [read_columns(folder) for folder in folders]
        columns = {name: [shard[name] for shard in shards] for name in shards[0]}
        with atomic_folder(out) as temporary:
            details = step.decide(Corpus(columns, temporary, int(curation.memory_gib * 2**30)))
            for cluster in details.get("clusters", []):
                cluster["members"] = _members(cluster.pop("documents"), folders)
            details["seconds"] = time.perf_counter() - began
            write_json(temporary / DETAILS, details, sort=False)
    return read_json(resolve_folder(out) / DETAILS)


def _members(indices: Sequence[int], folders: Sequence[Path]) -> list[dict[str, str]]:
    """Ids and beginnings of documents, by their indices in the whole corpus."""
    stats = [_steps(folder) for folder in folders]
    counts = [steps[-1].output.documents if steps else None for steps in stats]
    members = []
    for index in indices:
        place = index
        for folder, count in zip(folders, counts, strict=True):
            here = count if count is not None else sum(1 for _ in read_documents(folder / BETWEEN))
            if place < here:
                document = next(islice(read_documents(folder / BETWEEN), place, None))
                members.append({"id": document.id, "text": document.text[:_SHOWN_CHARACTERS]})
                break
            place -= here
    return members


def _steps(folder: Path) -> list[StepStats]:
    return [StepStats.from_dict(plain) for plain in read_json(folder / STATS)["steps"]]


def _result(
    curation: Curation,
    shards: Sequence[InputShard],
    folders: Sequence[Sequence[Path]],
    details: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """The statistics of the whole run. Raises AssertionError if the output of a step is not the input of the next."""
    ledger, metadata = Ledger("read"), MetadataCounts()
    steps: dict[str, StepStats] = {}
    for number, shard_folders in enumerate(folders):
        for folder in shard_folders:
            shard_stats = read_json(folder / STATS)
            if number == 0:
                ledger.merge(Ledger.from_dict(shard_stats["read"]))
            for name, values in shard_stats.get("metadata", []):
                counts = metadata.setdefault(name, {})
                for value, count in values:
                    counts[value] = counts.get(value, 0) + count
            for plain in shard_stats["steps"]:
                stats = StepStats.from_dict(plain)
                if stats.step in steps:
                    steps[stats.step].merge(stats)
                else:
                    steps[stats.step] = stats
    ledger.check()
    for name, stats in steps.items():
        stats.check()
        stats.details = details.get(name, {})
    for before, after in pairwise(steps.values()):
        if before.output != after.input:
            raise AssertionError(
                f"documents were lost between {before.step} and {after.step}: {before.output}, {after.input}"
            )
    empty = [] if ledger.rows_read else ["the input contains no documents"]
    return {
        "format": FORMAT,
        "name": curation.name,
        "recipe": shown_recipe(curation),
        "input_files": len({file.path for shard in shards for file in shard.files}),
        "files": [f"{number:05d}{suffix_of(curation)}" for number in range(len(shards))],
        "read": ledger.to_dict(),
        "metadata": metadata_rows(metadata),
        "steps": [stats.to_dict() for stats in steps.values()],
        "warnings": empty + unread_sentences(curation, ledger) + step_warnings(steps.values()),
    }


def _publish(out: Path, folders: Sequence[Sequence[Path]], result: dict[str, Any]) -> None:
    """Move the documents and the dropped documents into place. curation.json is written last and marks the end."""
    (out / RESULT).unlink(missing_ok=True)
    for suffix in (SUFFIX, PARQUET):
        for file in out.glob(f"{'[0-9]' * 5}{suffix}"):  # of an earlier recipe, which may have had more shards
            file.unlink()
    for name, folder in zip(result["files"], folders[-1], strict=True):
        with atomic_file(out / name) as temporary:
            _link(folder / f"{DOCUMENTS}{''.join(Path(name).suffixes)}", temporary)
    rejects: dict[Path, list[Path]] = {}
    for shard_folders in folders:
        for folder in shard_folders:
            for file in sorted((folder / DROPPED).rglob(f"*{SUFFIX}")):
                rejects.setdefault(file.relative_to(folder / DROPPED), []).append(file)
    with atomic_folder(out / DROPPED) as temporary:
        for name, parts in rejects.items():
            _join(parts, temporary / name)
    write_json(out / RESULT, result, sort=False)
    shutil.rmtree(out / WORK, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _join(parts: Sequence[Path], target: Path) -> None:
    """Concatenate zstandard files; the result is a valid zstandard file of all their lines."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as joined:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined, 1 << 20)
