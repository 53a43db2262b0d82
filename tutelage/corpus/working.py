"""The worker: takes one shard through one pass. Writes the documents, the dropped documents and the statistics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tutelage.config import fingerprint, to_plain
from tutelage.corpus.batch import DocumentBatch, Dropped, Step
from tutelage.corpus.corpus_step import ColumnWriter, GlobalStep
from tutelage.corpus.curation import Curation, files_of, passes, read_options
from tutelage.corpus.funnel import MetadataCounts, StepStats, TokenCount, count_metadata, run_step
from tutelage.corpus.input_files import InputFile
from tutelage.corpus.read import documents as read_input
from tutelage.corpus.shard_progress import ShardProgress
from tutelage.corpus.shards import (
    PARQUET,
    SUFFIX,
    compressed_lines,
    document_writer,
    of_corpus,
    read_documents,
    to_row,
)
from tutelage.corpus.steps import make
from tutelage.files import DiskError, atomic_folder, to_json, write_json
from tutelage.ledger import Ledger
from tutelage.records import Document
from tutelage.text.hashing import falls_in

# Limits of a batch: large enough that arrays pay off, small enough to hold several copies in memory.
BATCH_DOCUMENTS, BATCH_CHARACTERS = 1024, 4 << 20

DOCUMENTS, STATS, DROPPED = "documents", "stats.json", "dropped"
READ = "read"
NOT_SAMPLED, LIMITED = "not in the sample", "files read up to the limit"


@dataclass(frozen=True)
class Job:
    """The task of a worker: pass `number` over one shard.

    files:     raw input files in the first pass; later, the documents of the previous pass.
    decisions: folder of the decisions of a global step that the pass begins with, if any.
    shard:     index of the shard, which names its decisions.
    out:       folder to write.
    progress:  the file to write the number of finished documents to; "" for none.
    """

    curation: Curation
    number: int
    files: tuple[InputFile, ...]
    decisions: str | None
    shard: int
    out: str
    progress: str = ""


def work(job: Job) -> None:
    """Run one job. Its folder is written atomically."""
    plan = passes(job.curation.steps)[job.number]
    names = [*([plan.applies] if plan.applies else []), *plan.steps]
    stats = {name: StepStats(name, str(job.curation.steps[name].__struct_config__.tag)) for name in names}
    steps = {name: _step(job.curation, name) for name in plan.steps}
    collect = None if plan.collects is None else _global_step(job.curation, plan.collects).collect
    applier = None if plan.applies is None else _DecisionApplier(job, plan.applies)
    count_tokens = token_count(job.curation.tokenizer)
    ledger = Ledger(READ)
    metadata: MetadataCounts = {}
    progress = ShardProgress(job.progress) if job.progress else None
    with atomic_folder(job.out) as folder, ExitStack() as files:
        suffix = suffix_of(job.curation) if plan.collects is None else SUFFIX
        write = files.enter_context(document_writer(folder / f"{DOCUMENTS}{suffix}", suffix))
        rejects = _RejectWriter(folder / DROPPED, files, job.curation.keep_dropped)
        columns = ColumnWriter(folder, files)
        for batch in batches(_documents(job, ledger)):
            entered = len(batch)
            if applier is not None:
                batch, dropped = run_step(
                    batch, applier.name, applier.step, stats[applier.name], count_tokens, isolate_failures=False
                )
                rejects.write(dropped)
            for name, step in steps.items():
                batch, dropped = run_step(batch, name, step, stats[name], count_tokens)
                rejects.write(dropped)
            if collect is not None:
                columns.write(collect(batch))
            for document in batch.documents:
                write(document)
            if plan.collects is None:
                count_metadata(batch.documents, metadata)
            if progress is not None:
                progress.add(entered)
        if progress is not None:
            progress.add(0, last=True)
        if applier is not None:
            applier.check_all_used()
        for step_stats in stats.values():
            step_stats.check()
        result: dict[str, Any] = {"steps": [step_stats.to_dict() for step_stats in stats.values()]}
        if job.number == 0:
            result["read"] = ledger.to_dict()
        if plan.collects is None:
            result["metadata"] = [[name, list(counts.items())] for name, counts in metadata.items()]
        write_json(folder / STATS, result)


def suffix_of(curation: Curation) -> str:
    """The file name ending of the last pass. Files between passes end with SUFFIX."""
    return PARQUET if curation.output == "parquet" else SUFFIX


def _documents(job: Job, ledger: Ledger) -> Iterator[Document]:
    for file in job.files:
        if job.number:
            yield from read_documents(Path(file.path))
            continue
        of_file = Ledger(READ)
        with closing(_read(file, of_file, job.curation)) as found:
            for document in _limited(found, job.curation.limit, of_file, file.name):
                document = _writable(document, of_file)
                if document.id.startswith(file.path):
                    document = replace(document, id=file.name + document.id[len(file.path) :])
                if job.curation.sample < 1 and not falls_in(f"sample {document.id}", job.curation.sample):
                    of_file.drop_kept(NOT_SAMPLED)
                else:
                    yield document
        of_file.rename(file.path, file.name)
        ledger.merge(of_file)
    if not job.number:
        ledger.check()


def _limited(found: Iterator[Document], limit: int | None, ledger: Ledger, name: str) -> Iterator[Document]:
    """At most so many documents of a file."""
    for number, document in enumerate(found, 1):
        yield document
        if number == limit:
            ledger.note(LIMITED, where=name)
            return


def _read(file: InputFile, ledger: Ledger, curation: Curation) -> Generator[Document]:
    """The documents of a file. If the reader fails in the middle, earlier documents are kept and the rest is
    counted."""
    before = ledger.rows_read
    try:
        yield from (
            _corpus_documents(file.path, ledger)
            if curation.reader is None and of_corpus(Path(file.path))
            else read_input(file.path, ledger, curation.reader, read_options(curation), file.part)
        )
    except (DiskError, MemoryError):
        raise
    except Exception as error:
        if ledger.rows_read == before and isinstance(error, ValueError):
            raise  # not the fault of the content: unknown reader, missing package
        undecided = ledger.rows_read - ledger.rows_kept - ledger.rows_dropped
        if not undecided:
            ledger.read()
        ledger.drop(f"reader failed: {type(error).__name__}", max(1, undecided), where=file.path)


def _corpus_documents(source: str, ledger: Ledger) -> Iterator[Document]:
    """The documents of a curated corpus, with their metadata."""
    for document in read_documents(Path(source)):
        ledger.read()
        ledger.keep()
        yield document


def _writable(document: Document, ledger: Ledger) -> Document:
    """The document with U+FFFD for lone surrogates, which no file can hold."""
    if document.text.isascii():
        return document
    try:
        document.text.encode()
        return document
    except UnicodeEncodeError:
        ledger.note("lone surrogates replaced", where=document.id)
        return replace(document, text=re.sub("[\ud800-\udfff]", "\ufffd", document.text))


def batches(documents: Iterable[Document]) -> Iterator[DocumentBatch]:
    """Group documents into batches. Yields at least one, so that every step runs even on no documents."""
    pending: list[Document] = []
    characters, yielded = 0, False
    for document in documents:
        pending.append(document)
        characters += len(document.text)
        if len(pending) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield DocumentBatch(pending)
            pending, characters, yielded = [], 0, True
    if pending or not yielded:
        yield DocumentBatch(pending)


class _DecisionApplier:
    """The first step of a later pass: applies the decisions of a global step to each batch."""

    def __init__(self, job: Job, name: str) -> None:
        assert job.decisions is not None
        self.name = name
        self._made = _global_step(job.curation, name)
        suffix = f"-{job.shard:05d}.npy"
        found = sorted(Path(job.decisions).glob(f"*{suffix}"))
        self._verdicts = {path.name.removesuffix(suffix): np.load(path, mmap_mode="r") for path in found}
        self._used = dict.fromkeys(self._verdicts, 0)

    def step(self, batch: DocumentBatch) -> None:
        """Apply the rows of the decisions that belong to this batch."""
        rows = {}
        for name, count in self._made.rows(batch).items():
            begin = self._used[name]
            rows[name] = np.asarray(self._verdicts[name][begin : begin + count])
            assert len(rows[name]) == count, f"{self.name}: {count} rows of {name} needed, {len(rows[name])} left"
            self._used[name] += count
        self._made.apply(batch, rows)

    def check_all_used(self) -> None:
        """Raise AssertionError if decisions are left over: they were made for other documents."""
        for name, used in self._used.items():
            assert used == len(self._verdicts[name]), f"{self.name}: {used} of {len(self._verdicts[name])} {name} used"


class _RejectWriter:
    """Writes dropped documents, to one file per step and reason."""

    def __init__(self, folder: Path, files: ExitStack, limit: int | None) -> None:
        self._folder, self._files, self._limit = folder, files, limit
        self._streams: dict[Path, Any] = {}
        self._counts: Counter[Path] = Counter()

    def write(self, dropped: Iterable[Dropped]) -> None:
        """Append dropped documents, up to the limit per file."""
        for drop in dropped:
            path = self._folder / drop_file(drop.step, drop.reason)
            self._counts[path] += 1
            if self._limit is not None and self._counts[path] > self._limit:
                continue
            if path not in self._streams:
                self._streams[path] = self._files.enter_context(compressed_lines(path))
            cause = {"step": drop.step, "reason": drop.reason, "detail": drop.detail}
            self._streams[path].write(to_row(drop.document, cause))


def drop_file(step: str, reason: str) -> Path:
    """The file for one step and reason, relative to the folder of dropped documents."""
    return Path(step, re.sub(r"[^\w.]+", "-", reason).strip("-.")[:80] + SUFFIX)


def _step(curation: Curation, name: str) -> Step:
    made = _made(curation, name)
    assert not isinstance(made, GlobalStep)
    return made


def _global_step(curation: Curation, name: str) -> GlobalStep:
    made = _made(curation, name)
    assert isinstance(made, GlobalStep)
    return made


def _made(curation: Curation, name: str) -> Step | GlobalStep:
    settings = curation.steps[name]
    plain = to_plain(settings)
    return _make_once(type(settings), to_json(plain, indent=None), fingerprint(files_of(plain)))


@lru_cache(maxsize=64)
def _make_once(kind: type, plain: bytes, _files: str) -> Step | GlobalStep:
    # A worker loads a model once, not once per shard, until the model changes.
    return make(msgspec.json.decode(plain, type=kind))


@lru_cache(maxsize=1)
def token_count(source: str | None) -> TokenCount | None:
    """A function that counts tokens with the tokenizer of a folder or file; None if `source` is None."""
    if source is None:
        return None
    from tutelage import tokenizer as tokenizers

    tokenizer = tokenizers.load(Path(source))

    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer.encode_batch(texts)]

    return count
