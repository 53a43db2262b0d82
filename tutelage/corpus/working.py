"""One shard through one pass: documents in, documents out, drops aside, an account of every step."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tutelage.config import to_plain
from tutelage.corpus.batch import DocumentBatch, Dropped, Step
from tutelage.corpus.corpus_step import ColumnWriter, CorpusStep
from tutelage.corpus.curation import Curation, passes
from tutelage.corpus.funnel import Account, Facts, TokenCount, count_facts, run_step
from tutelage.corpus.read import documents as read_input
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

# A batch is as many documents as these allow: enough for arrays to pay off, few enough to hold a few times in memory.
BATCH_DOCUMENTS, BATCH_CHARACTERS = 1024, 4 << 20

DOCUMENTS, ACCOUNT, DROPPED = "documents", "account.json", "dropped"
READ = "read"


@dataclass(frozen=True)
class Job:
    """What a worker is told: pass `number` over one shard.

    sources:  raw files for the first pass; for others the documents that the pass before left.
    verdicts: the folder of the verdicts that the pass begins with, where it does.
    shard:    the shard's number, by which its verdicts are named.
    out:      the folder to write.
    """

    curation: Curation
    number: int
    sources: tuple[str, ...]
    verdicts: str | None
    shard: int
    out: str


def work(job: Job) -> None:
    """Does one job; its folder is there whole at the end, or not at all."""
    plan = passes(job.curation.steps)[job.number]
    names = [*([plan.judged] if plan.judged else []), *plan.steps]
    accounts = {name: Account(name, str(job.curation.steps[name].__struct_config__.tag)) for name in names}
    steps = {name: _step(job.curation, name) for name in plan.steps}
    collect = None if plan.collects is None else _corpus_step(job.curation, plan.collects).collect
    judge = None if plan.judged is None else _Judge(job, plan.judged)
    count_tokens = token_count(job.curation.tokenizer)
    ledger = Ledger(READ)
    facts: Facts = {}
    with atomic_folder(job.out) as folder, ExitStack() as files:
        suffix = suffix_of(job.curation) if plan.collects is None else SUFFIX
        keep = files.enter_context(document_writer(folder / f"{DOCUMENTS}{suffix}", suffix))
        aside, columns = _Aside(folder / DROPPED, files, job.curation.drops), ColumnWriter(folder, files)
        for batch in batches(_documents(job, ledger)):
            if judge is not None:
                batch, gone = run_step(
                    batch, judge.name, judge.step, accounts[judge.name], count_tokens, bears_failures=False
                )
                aside.write(gone)
            for name, step in steps.items():
                batch, gone = run_step(batch, name, step, accounts[name], count_tokens)
                aside.write(gone)
            if collect is not None:
                columns.write(collect(batch))
            for document in batch.documents:
                keep(document)
            if plan.collects is None:
                count_facts(batch.documents, facts)
        if judge is not None:
            judge.check_all_used()
        for account in accounts.values():
            account.check()
        told: dict[str, Any] = {"accounts": [account.to_dict() for account in accounts.values()]}
        if job.number == 0:
            told["read"] = ledger.to_dict()
        if plan.collects is None:
            told["facts"] = [[name, list(counts.items())] for name, counts in facts.items()]
        write_json(folder / ACCOUNT, told)


def suffix_of(curation: Curation) -> str:
    """How the names of the files end that the last pass leaves; those between passes end with SUFFIX."""
    return PARQUET if curation.output == "parquet" else SUFFIX


def _documents(job: Job, ledger: Ledger) -> Iterator[Document]:
    for source in job.sources:
        if job.number:
            yield from read_documents(Path(source))
            continue
        for document in _read(source, ledger, job.curation.reader):
            yield _writable(document, ledger)
    if not job.number:
        ledger.check()


def _read(source: str, ledger: Ledger, reader: str | None) -> Iterator[Document]:
    """The documents of a file; where its reader gives up in the middle, what came before stays and it is counted."""
    before = ledger.rows_read
    try:
        yield from (
            _own(source, ledger) if reader is None and of_corpus(Path(source)) else read_input(source, ledger, reader)
        )
    except (DiskError, MemoryError):
        raise
    except Exception as error:
        if ledger.rows_read == before and isinstance(error, ValueError):
            raise  # it is not the file's content that is at fault: no such reader, a package that is missing
        undecided = ledger.rows_read - ledger.rows_kept - ledger.rows_dropped
        if not undecided:
            ledger.read()
        ledger.drop(f"the reader failed: {type(error).__name__}", max(1, undecided), where=source)


def _own(source: str, ledger: Ledger) -> Iterator[Document]:
    """The documents of a corpus, with all that is known of them."""
    for document in read_documents(Path(source)):
        ledger.read()
        ledger.keep()
        yield document


def _writable(document: Document, ledger: Ledger) -> Document:
    """The document with U+FFFD for halves of surrogate pairs, which no file can hold."""
    if document.text.isascii():
        return document
    try:
        document.text.encode()
        return document
    except UnicodeEncodeError:
        ledger.note("halves of characters replaced", where=document.id)
        return replace(document, text=re.sub("[\ud800-\udfff]", "\ufffd", document.text))


def batches(documents: Iterable[Document]) -> Iterator[DocumentBatch]:
    """Documents in batches; at least one, so that steps are asked even where there is nothing."""
    some: list[Document] = []
    characters, given = 0, False
    for document in documents:
        some.append(document)
        characters += len(document.text)
        if len(some) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield DocumentBatch(some)
            some, characters, given = [], 0, True
    if some or not given:
        yield DocumentBatch(some)


class _Judge:
    """The first step of a pass: gives each batch its rows of the verdicts."""

    def __init__(self, job: Job, name: str) -> None:
        assert job.verdicts is not None
        self.name = name
        self._made = _corpus_step(job.curation, name)
        suffix = f"-{job.shard:05d}.npy"
        found = sorted(Path(job.verdicts).glob(f"*{suffix}"))
        self._verdicts = {path.name.removesuffix(suffix): np.load(path, mmap_mode="r") for path in found}
        self._used = dict.fromkeys(self._verdicts, 0)

    def step(self, batch: DocumentBatch) -> None:
        """Judges a batch."""
        rows = {}
        for name, count in self._made.rows(batch).items():
            begin = self._used[name]
            rows[name] = np.asarray(self._verdicts[name][begin : begin + count])
            assert len(rows[name]) == count, f"{self.name}: {count} rows of {name} asked for, {len(rows[name])} there"
            self._used[name] += count
        self._made.apply(batch, rows)

    def check_all_used(self) -> None:
        """Raises AssertionError where verdicts are left over: they were made for other documents."""
        for name, used in self._used.items():
            assert used == len(self._verdicts[name]), f"{self.name}: {used} of {len(self._verdicts[name])} {name} used"


class _Aside:
    """What was dropped, in a file for each step and reason."""

    def __init__(self, folder: Path, files: ExitStack, most: int | None) -> None:
        self._folder, self._files, self._most = folder, files, most
        self._streams: dict[Path, Any] = {}
        self._counts: Counter[Path] = Counter()

    def write(self, dropped: Iterable[Dropped]) -> None:
        """Puts documents aside."""
        for drop in dropped:
            path = self._folder / drop_file(drop.step, drop.reason)
            self._counts[path] += 1
            if self._most is not None and self._counts[path] > self._most:
                continue
            if path not in self._streams:
                self._streams[path] = self._files.enter_context(compressed_lines(path))
            said = {"step": drop.step, "reason": drop.reason, "detail": drop.detail}
            self._streams[path].write(to_row(drop.document, said))


def drop_file(step: str, reason: str) -> Path:
    """Where drops of one reason stand, in the folder of drops."""
    return Path(step, re.sub(r"[^\w.]+", "-", reason).strip("-.")[:80] + SUFFIX)


def _step(curation: Curation, name: str) -> Step:
    made = _made(curation, name)
    assert not isinstance(made, CorpusStep)
    return made


def _corpus_step(curation: Curation, name: str) -> CorpusStep:
    made = _made(curation, name)
    assert isinstance(made, CorpusStep)
    return made


def _made(curation: Curation, name: str) -> Step | CorpusStep:
    settings = curation.steps[name]
    return _make_once(type(settings), to_json(to_plain(settings), indent=None))


@lru_cache(maxsize=64)
def _make_once(kind: type, plain: bytes) -> Step | CorpusStep:
    # A model is loaded once by a worker, not once for each shard.
    return make(msgspec.json.decode(plain, type=kind))


@lru_cache(maxsize=1)
def token_count(source: str | None) -> TokenCount | None:
    """Counts tokens with the tokenizer of a folder or file; None where there is none."""
    if source is None:
        return None
    from tutelage import tokenizer as tokenizers

    tokenizer = tokenizers.load(Path(source))

    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer.encode_batch(texts)]

    return count
