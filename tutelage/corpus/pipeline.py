"""A curation recipe, run: shards in parallel, each whole or not at all, so that a run that was killed goes on.

Under OUT/.work stands, for each pass, a folder for every shard that is done, named by all that decides what is in it;
for each step over the whole corpus the verdicts. Once all is done the documents move up to OUT, and .work goes.
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
from tutelage.corpus.corpus_step import Corpus, CorpusStep, read_columns
from tutelage.corpus.curation import Curation, InputShard, Pass, input_shards, passes, steps_fingerprint
from tutelage.corpus.engine import Run, engine
from tutelage.corpus.funnel import Account, Facts, fact_rows, quiet_steps
from tutelage.corpus.shards import PARQUET, RESULT, SUFFIX, finished, read_documents
from tutelage.corpus.steps import make
from tutelage.corpus.working import ACCOUNT, DOCUMENTS, DROPPED, Job, suffix_of
from tutelage.files import atomic_file, atomic_folder, locked, read_json, resolve_folder, write_json
from tutelage.ledger import Ledger
from tutelage.process import Stopped, peak_rss_bytes, stop_requests
from tutelage.progress import status, track

WORK, FIGURES = ".work", "figures.json"
BETWEEN = f"{DOCUMENTS}{SUFFIX}"  # the documents of a shard that go on to a further pass
_SHOWN_CHARACTERS, _REASONS_SHOWN = 400, 3


def curate(curation: Curation, out: Path) -> dict[str, Any]:
    """Runs what of a recipe is not done, and gives the content of OUT/curation.json.

    OUT holds then: the documents, in files NNNNN.jsonl.zst or NNNNN.parquet, in the order of the input; under "dropped"
    what each step dropped, by reason; "curation.json" with the account of every step.

    Raises:
        ValueError: an input or a step cannot be used; another run is writing to the folder.
        Stopped: by Ctrl-C; the shards that are done stay.
        DiskError: the disk refuses.
    """
    shards = input_shards(curation)
    _refuse_inputs_within(out, shards)
    whole = fingerprint(
        steps_fingerprint(curation, list(curation.steps)), [shard.key for shard in shards], curation.output
    )
    with locked(out, "choose another out=") as lock:
        done = finished(out)
        if done is not None and done["fingerprint"] == whole:
            status(f"{out} is done already; nothing to do")
            return done
        _refuse_strangers(out, done)
        for settings in curation.steps.values():
            make(settings)  # what is missing is told now, and not by a worker
        began = time.perf_counter()
        with stop_requests() as stop, engine(curation.engine, curation.workers, stop, lock) as run:
            folders, figures = _run_passes(curation, shards, (out / WORK).absolute(), run)
        result = _result(curation, shards, folders, figures) | {
            "fingerprint": whole,
            "seconds": time.perf_counter() - began,
            "peak_rss_bytes": peak_rss_bytes(),
        }
        _publish(out, folders, result)
    for sentence in result["warnings"]:
        status(f"look here: {sentence}")
    return result


def _refuse_strangers(out: Path, done: Mapping[str, Any] | None) -> None:
    """Refuses a folder with files that no curation has made, which would be replaced, or taken for its own."""
    if (out / WORK).exists():
        return
    names = sorted(file.name for file in out.iterdir() if not file.name.startswith("."))
    if done is not None:
        names = [name for name in names if name.endswith((SUFFIX, PARQUET)) and name not in done["files"]]
    if names:
        raise ValueError(f"{out} holds {names[0]}, which no curation has made; choose another folder with out=")
    if done is not None:
        status(f"{out}: what {done['name']} has made there before is replaced")


def _refuse_inputs_within(out: Path, shards: Sequence[InputShard]) -> None:
    for path in (path for shard in shards for path in shard.paths if "://" not in path):
        if Path(path).resolve().is_relative_to(out.resolve()):
            raise ValueError(
                f"the input {path} stands in {out}, where the corpus goes; choose another folder with out="
            )


def _run_passes(
    curation: Curation, shards: Sequence[InputShard], folder: Path, run: Run
) -> tuple[list[list[Path]], dict[str, dict[str, Any]]]:
    """Runs all passes; gives for each pass the folders of its shards, and the figures of each step over the corpus."""
    plan, keys = passes(curation.steps), [shard.key for shard in shards]
    folders: list[list[Path]] = []
    figures: dict[str, dict[str, Any]] = {}
    verdicts: Path | None = None
    past: list[str] = []
    for number, one in enumerate(plan):
        past += [*([one.judged] if one.judged else []), *one.steps]
        # What a document comes to hangs on its own file alone, until a step has looked at the whole corpus.
        mark = fingerprint(
            steps_fingerprint(curation, past),
            keys if number else [],
            _plain(curation, one) if one.collects else curation.output,
        )
        outs = [
            folder / f"pass{number}-{mark}" / (shard.key if not number else f"{i:05d}")
            for i, shard in enumerate(shards)
        ]
        jobs = [
            Job(
                curation,
                number,
                shard.paths if not number else (str(folders[-1][i] / BETWEEN),),
                str(verdicts) if verdicts else None,
                i,
                str(outs[i]),
            )
            for i, shard in enumerate(shards)
        ]
        _run_pass(curation.name, f"pass {number + 1} of {len(plan)}", jobs, run)
        folders.append(outs)
        if one.collects is not None:
            verdicts = folder / f"verdicts{number}-{fingerprint(mark, keys)}"
            figures[one.collects] = _decide(curation, one.collects, outs, verdicts)
    return folders, figures


def _plain(curation: Curation, one: Pass) -> Any:
    assert one.collects is not None
    return to_plain(curation.steps[one.collects])


def _run_pass(name: str, label: str, jobs: list[Job], run: Run) -> None:
    todo = [job for job in jobs if not resolve_folder(job.out).exists()]
    if not todo:
        return
    with track(f"{name}: {label}", len(jobs), "shards", start=len(jobs) - len(todo)) as bar:
        done = 0
        for _ in run(todo):
            done += 1
            bar.update()
    if done < len(todo):
        raise Stopped(f"stopped in {label}, after {len(jobs) - len(todo) + done} of {len(jobs)} shards")


def _decide(curation: Curation, name: str, folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Lets a step over the whole corpus decide, unless it has; gives its figures."""
    if not resolve_folder(out).exists():
        status(f"{curation.name}: {name} compares the documents of {len(folders)} shards")
        made = make(curation.steps[name])
        assert isinstance(made, CorpusStep)
        began = time.perf_counter()
        shards = [read_columns(folder) for folder in folders]
        columns = {name: [shard[name] for shard in shards] for name in shards[0]}
        with atomic_folder(out) as temporary:
            figures = made.decide(Corpus(columns, temporary, int(curation.memory_gib * 2**30)))
            for cluster in figures.get("clusters", []):
                cluster["members"] = _members(cluster.pop("documents"), folders)
            figures["seconds"] = time.perf_counter() - began
            write_json(temporary / FIGURES, figures, sort=False)
    return read_json(resolve_folder(out) / FIGURES)


def _members(numbers: Sequence[int], folders: Sequence[Path]) -> list[dict[str, str]]:
    """Documents by their numbers over the whole corpus, with how they begin."""
    counts = [_accounts(folder)[-1].out.documents if _accounts(folder) else None for folder in folders]
    found = []
    for number in numbers:
        place = number
        for folder, count in zip(folders, counts, strict=True):
            here = count if count is not None else sum(1 for _ in read_documents(folder / BETWEEN))
            if place < here:
                document = next(islice(read_documents(folder / BETWEEN), place, None))
                found.append({"id": document.id, "text": document.text[:_SHOWN_CHARACTERS]})
                break
            place -= here
    return found


def _accounts(folder: Path) -> list[Account]:
    return [Account.from_dict(one) for one in read_json(folder / ACCOUNT)["accounts"]]


def _result(
    curation: Curation,
    shards: Sequence[InputShard],
    folders: Sequence[Sequence[Path]],
    figures: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """The account of the whole run. AssertionError where what left a step is not what came to the next."""
    ledger, facts = Ledger("read"), Facts()
    accounts: dict[str, Account] = {}
    for number, of_pass in enumerate(folders):
        for folder in of_pass:
            told = read_json(folder / ACCOUNT)
            if number == 0:
                ledger.merge(Ledger.from_dict(told["read"]))
            for name, values in told.get("facts", []):
                counts = facts.setdefault(name, {})
                for value, count in values:
                    counts[value] = counts.get(value, 0) + count
            for plain in told["accounts"]:
                account = Account.from_dict(plain)
                if account.step in accounts:
                    accounts[account.step].merge(account)
                else:
                    accounts[account.step] = account
    ledger.check()
    for name, account in accounts.items():
        account.check()
        account.figures = figures.get(name, {})
    for before, after in pairwise(accounts.values()):
        if before.out != after.read:
            raise AssertionError(
                f"between {before.step} and {after.step} documents were lost: {before.out}, {after.read}"
            )
    unread = []
    if ledger.rows_dropped:
        reasons = sorted(ledger.dropped.items(), key=lambda entry: -entry[1].rows)[:_REASONS_SHOWN]
        why = ", ".join(f"{reason} ({entry.rows:,})" for reason, entry in reasons)
        unread = [f"records that were not taken: {ledger.rows_dropped:,}: {why}"]
    nothing = [] if ledger.rows_read else ["the input holds no documents"]
    return {
        "name": curation.name,
        "curation": to_plain(curation),
        "inputs": sum(len(shard.paths) for shard in shards),
        "files": [f"{number:05d}{suffix_of(curation)}" for number in range(len(shards))],
        "read": ledger.to_dict(),
        "facts": fact_rows(facts),
        "accounts": [account.to_dict() for account in accounts.values()],
        "warnings": nothing + unread + quiet_steps(accounts.values()),
    }


def _publish(out: Path, folders: Sequence[Sequence[Path]], result: dict[str, Any]) -> None:
    """Puts the finished documents and drops in place; curation.json, written last, says that all of it is there."""
    (out / RESULT).unlink(missing_ok=True)
    for suffix in (SUFFIX, PARQUET):
        for file in out.glob(f"{'[0-9]' * 5}{suffix}"):  # of an earlier recipe, which may have had more
            file.unlink()
    for name, folder in zip(result["files"], folders[-1], strict=True):
        with atomic_file(out / name) as temporary:
            _link(folder / f"{DOCUMENTS}{''.join(Path(name).suffixes)}", temporary)
    aside: dict[Path, list[Path]] = {}
    for of_pass in folders:
        for folder in of_pass:
            for file in sorted((folder / DROPPED).rglob(f"*{SUFFIX}")):
                aside.setdefault(file.relative_to(folder / DROPPED), []).append(file)
    with atomic_folder(out / DROPPED) as temporary:
        for name, parts in aside.items():
            _join(parts, temporary / name)
    write_json(out / RESULT, result, sort=False)
    shutil.rmtree(out / WORK, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _join(parts: Sequence[Path], target: Path) -> None:
    """Compressed files one after the other are a compressed file of all their lines."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as joined:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined, 1 << 20)
