"""Statistics of a curation: what entered each step and what left it, in documents, bytes, words and tokens.

Invariant, for each of the four measures: input = kept + dropped, summed over all reasons. A kept document may leave a
step longer, shorter or split. The output of a step is the input of the next.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from tutelage.corpus.batch import DocumentBatch, Dropped, Modified, Step
from tutelage.ledger import EXAMPLES_PER_REASON, add_counts, check_balance
from tutelage.records import Document

MEASURES = ("documents", "bytes", "words", "tokens")
LENGTH_BINS = 32  # bin b counts documents of 2^(b-1) to 2^b - 1 words; bin 0 counts empty ones
MUCH_CUT = 0.5  # of the words of the documents that a step keeps: more is worth a warning
FAILED = "step failed"
FAILURES_ALLOWED = 0.1  # a step that fails on a larger fraction of a batch is itself at fault

MAX_VALUES, VALUES_SHOWN, QUANTILES = 1000, 15, (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

TokenCount = Callable[[list[str]], list[int]]


@dataclass(slots=True)
class Sizes:
    """An amount of text. `tokens` stays 0 if the recipe names no tokenizer."""

    documents: int = 0
    bytes: int = 0
    words: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Reason:
    """What one reason dropped, with the ids of the first few documents."""

    sizes: Sizes = field(default_factory=Sizes)
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class StepStats:
    """What one step did. `input`, `kept` and `dropped` measure documents before the step; `output` measures them after.

    modified: changes to kept documents, by what was done.
    input_lengths, output_lengths: documents by number of words, see LENGTH_BINS.
    dropped_parts: dropped parts of documents of which another part was kept. They are written to the reject files but
                   not counted in `dropped`.
    details:  further figures of a global step, such as cluster sizes.
    """

    step: str
    kind: str = ""
    input: Sizes = field(default_factory=Sizes)
    kept: Sizes = field(default_factory=Sizes)
    output: Sizes = field(default_factory=Sizes)
    dropped: dict[str, Reason] = field(default_factory=dict)
    modified: dict[str, Modified] = field(default_factory=dict)
    input_lengths: list[int] = field(default_factory=lambda: [0] * LENGTH_BINS)
    output_lengths: list[int] = field(default_factory=lambda: [0] * LENGTH_BINS)
    dropped_parts: int = 0
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def documents_dropped(self) -> int:
        """Documents dropped, summed over all reasons."""
        return sum(reason.sizes.documents for reason in self.dropped.values())

    def check(self) -> None:
        """Raise AssertionError if input is not kept + dropped."""
        measures = {}
        for name in MEASURES:
            dropped = sum(getattr(reason.sizes, name) for reason in self.dropped.values())
            measures[name] = (getattr(self.input, name), getattr(self.kept, name), 0, dropped)
        check_balance(self.step, measures)

    def merge(self, other: StepStats) -> None:
        """Add what the same step did to other documents."""
        add_counts(self, other)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return msgspec.to_builtins(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> StepStats:
        """Inverse of `to_dict`. Raises msgspec.ValidationError on anything else."""
        return msgspec.convert(plain, cls)


def measure(batch: DocumentBatch, count_tokens: TokenCount | None) -> np.ndarray:
    """Per document: 1, bytes, words (separated by white space), tokens. int64[N, 4]."""

    def sizes(texts: list[str]) -> np.ndarray:
        rows = np.ones((len(texts), len(MEASURES)), np.int64)
        rows[:, 1] = [len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts]
        rows[:, 2] = [len(text.split()) for text in texts]
        rows[:, 3] = count_tokens(texts) if count_tokens and texts else 0
        return rows

    return batch.shared("sizes", sizes)


def run_step(
    batch: DocumentBatch,
    name: str,
    step: Step,
    stats: StepStats,
    count_tokens: TokenCount | None = None,
    isolate_failures: bool = True,
) -> tuple[DocumentBatch, list[Dropped]]:
    """Run one step over a batch and add what it did to `stats`. Returns the batch for the next step, and the drops.

    If the step raises on a single document, that document is dropped with the error as its detail. Set
    `isolate_failures` to False for a step that cannot run twice over the same batch.

    Raises:
        what the step raises, if it fails on more than one document and more than FAILURES_ALLOWED of them.
        AssertionError: the step lost or duplicated a document.
    """
    began = time.perf_counter()
    before = measure(batch, count_tokens)
    batch.enter(name)
    try:
        step(batch)
    except Exception as error:
        if not isolate_failures:
            raise
        batch = _without_failures(batch, name, step, error)
    after = measure(batch, count_tokens)
    kept = np.unique(batch.origins)
    whole = [drop for drop in batch.dropped if drop.whole]
    _check_partition(name, len(before), kept, [drop.origin for drop in whole])
    add_counts(stats.input, _total(before))
    add_counts(stats.kept, _total(before[kept]))
    add_counts(stats.output, _total(after))
    for drop in whole:
        reason = stats.dropped.setdefault(drop.reason, Reason())
        add_counts(reason.sizes, _total(before[[drop.origin]]))
        if len(reason.examples) < EXAMPLES_PER_REASON:
            reason.examples.append(drop.document.id)
    add_counts(stats.modified, batch.modified)
    stats.dropped_parts += len(batch.dropped) - len(whole)
    stats.input_lengths = (np.array(stats.input_lengths) + length_bins(before[:, 2])).tolist()
    stats.output_lengths = (np.array(stats.output_lengths) + length_bins(after[:, 2])).tolist()
    stats.seconds += time.perf_counter() - began
    return batch, batch.dropped


def length_bins(words: np.ndarray) -> np.ndarray:
    """Histogram of documents by number of words, int64[LENGTH_BINS]."""
    # log2: 1 -> bin 1, 2 and 3 -> bin 2, 4 to 7 -> bin 3.
    bins = np.where(words > 0, np.log2(np.maximum(words, 1)).astype(np.int64) + 1, 0)
    return np.bincount(np.minimum(bins, LENGTH_BINS - 1), minlength=LENGTH_BINS)


def _total(sizes: np.ndarray) -> Sizes:
    return Sizes(*sizes.sum(axis=0).tolist())


def _check_partition(name: str, entered: int, kept: np.ndarray, dropped: Sequence[int]) -> None:
    """Every document that entered must be kept or dropped, and not both."""
    fates = Counter(kept.tolist())
    fates.update(dropped)
    wrong = [place for place in range(entered) if fates[place] != 1]
    if wrong or len(fates) != entered:
        raise AssertionError(f"step {name} lost or duplicated {len(wrong):,} of {entered:,} documents")


def _without_failures(batch: DocumentBatch, name: str, step: Step, error: Exception) -> DocumentBatch:
    """The batch after the step, without the documents on which the step fails when it gets each alone."""
    documents = batch.entered
    failures: dict[int, str] = {}
    allowed = max(1, int(FAILURES_ALLOWED * len(documents)))
    for place, document in enumerate(documents):
        alone = DocumentBatch([document])
        alone.enter(name)
        try:
            step(alone)
        except Exception as failure:
            failures[place] = f"{type(failure).__name__}: {failure}"
            if len(failures) > allowed:
                raise error from None
    if not failures:  # no single document is at fault
        raise error
    again = DocumentBatch(documents)
    again.enter(name)
    again.drop(list(failures), FAILED, list(failures.values()))
    step(again)
    return again


# Metadata field -> value -> documents. Numbers are rounded to two digits, so that there are never many values.
MetadataCounts = dict[str, dict[str | float, int]]


def count_metadata(documents: Iterable[Document], into: MetadataCounts) -> None:
    """Count the values of the metadata that steps added. Of text values, the first MAX_VALUES are counted."""
    for document in documents:
        for name, value in document.facts.items():
            counts = into.setdefault(name, {})
            short = value if isinstance(value, str) else _label(value)
            if short in counts or len(counts) < MAX_VALUES:
                counts[short] = counts.get(short, 0) + 1


def _label(value: bool | int | float) -> str | float:
    return str(value).lower() if isinstance(value, bool) else float(f"{value:.2g}")


def metadata_rows(counted: MetadataCounts) -> list[dict[str, Any]]:
    """One row per metadata field: its most frequent text values, and the quantiles of its numbers."""
    rows: list[dict[str, Any]] = []
    for name, counts in sorted(counted.items()):
        numbers = sorted(value for value in counts if not isinstance(value, str))
        row: dict[str, Any] = {"field": name, "documents": sum(counts.values())}
        if numbers:
            ends = np.cumsum([counts[value] for value in numbers])
            quantiles = {f"{share:.0%}": numbers[int(np.searchsorted(ends, share * ends[-1]))] for share in QUANTILES}
            row["quantiles"] = quantiles
        texts = sorted(((n, value) for value, n in counts.items() if isinstance(value, str)), key=lambda pair: -pair[0])
        row["values"] = {value: n for n, value in texts[:VALUES_SHOWN]}
        rows.append(row)
    return rows


def step_warnings(steps: Iterable[StepStats]) -> list[str]:
    """One sentence per no-op step (it changed nothing), and per step that failed, dropped everything or cut most of the
    words of the documents that it kept. Such a step is usually a mistake in the recipe."""
    sentences = []
    for stats in steps:
        entered = stats.input.documents
        failed = stats.dropped.get(FAILED)
        if failed:
            first = failed.examples[0]
            sentences.append(f"step {stats.step} failed on {failed.sizes.documents:,} documents, first on {first}")
        if not entered:
            sentences.append(f"step {stats.step} got no documents")
        elif not stats.output.documents:
            sentences.append(f"step {stats.step} dropped all {entered:,} documents")
        elif not (stats.dropped or stats.modified or stats.dropped_parts):
            sentences.append(f"step {stats.step} matched nothing: 0 of {entered:,} documents dropped or changed")
        kept = stats.kept.words
        if stats.kind != "extract" and kept and (cut := 1 - stats.output.words / kept) > MUCH_CUT:
            sentences.append(f"step {stats.step} cut {cut:.0%} of the words of the documents that it kept")
    return sentences
