"""The account of a curation: what came to each step and what left it, in documents, bytes, words and tokens.

The law, for each of the four: what came to a step is what it kept plus what it dropped, over all reasons. Kept
documents may leave a step longer or shorter than they came, or as several; what leaves one step comes to the next.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from tutelage.corpus.batch import DocumentBatch, Dropped, Noted, Step
from tutelage.ledger import EXAMPLES_PER_REASON
from tutelage.records import Document

MEASURES = ("documents", "bytes", "words", "tokens")
LENGTH_BINS = 32  # bin b counts documents of 2^(b-1) to 2^b - 1 words; bin 0 those of none
FAILED = "the step failed on it"
FAILURES_ALLOWED = 0.1  # the share of a batch that a step may fail on before it is the step that is at fault

FACT_VALUES, VALUES_SHOWN, QUANTILES = 1000, 15, (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

TokenCount = Callable[[list[str]], list[int]]


@dataclass(slots=True)
class Sizes:
    """How much text; `tokens` stays 0 where the recipe names no tokenizer to count them with."""

    documents: int = 0
    bytes: int = 0
    words: int = 0
    tokens: int = 0

    def add(self, other: Sizes) -> None:
        """Counts more text."""
        for name in MEASURES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Reason:
    """What one reason took away, with the names of the first few documents."""

    sizes: Sizes = field(default_factory=Sizes)
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Account:
    """What one step did. `read`, `kept` and `dropped` measure documents as they came; `out` as they left.

    noted:   what was done to documents that were kept.
    lengths_in, lengths_out: documents by words, see LENGTH_BINS.
    pieces:  pieces of kept documents that were dropped; they are in the files of drops but not in `dropped`.
    figures: what else a step has to tell, such as the sizes of its clusters.
    """

    step: str
    kind: str = ""
    read: Sizes = field(default_factory=Sizes)
    kept: Sizes = field(default_factory=Sizes)
    out: Sizes = field(default_factory=Sizes)
    dropped: dict[str, Reason] = field(default_factory=dict)
    noted: dict[str, Noted] = field(default_factory=dict)
    lengths_in: list[int] = field(default_factory=lambda: [0] * LENGTH_BINS)
    lengths_out: list[int] = field(default_factory=lambda: [0] * LENGTH_BINS)
    pieces: int = 0
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def documents_dropped(self) -> int:
        """Documents dropped over all reasons."""
        return sum(reason.sizes.documents for reason in self.dropped.values())

    def check(self) -> None:
        """Raises AssertionError, in one sentence, where what came in is not what was kept plus what was dropped."""
        for name in MEASURES:
            read, kept = getattr(self.read, name), getattr(self.kept, name)
            dropped = sum(getattr(reason.sizes, name) for reason in self.dropped.values())
            if read != kept + dropped:  # not `assert`, which -O would switch off
                raise AssertionError(
                    f"step {self.step} does not add up: {read:,} {name} came, but {kept:,} kept and {dropped:,} "
                    f"dropped make {kept + dropped:,}"
                )

    def merge(self, other: Account) -> None:
        """Adds what the same step did to other documents."""
        assert self.step == other.step, f"cannot merge the accounts of {self.step} and {other.step}"
        for mine, theirs in ((self.read, other.read), (self.kept, other.kept), (self.out, other.out)):
            mine.add(theirs)
        for name, reason in other.dropped.items():
            found = self.dropped.setdefault(name, Reason())
            found.sizes.add(reason.sizes)
            found.examples = (found.examples + reason.examples)[:EXAMPLES_PER_REASON]
        for what, noted in other.noted.items():
            note = self.noted.setdefault(what, Noted())
            note.documents += noted.documents
            note.characters += noted.characters
        self.lengths_in = [a + b for a, b in zip(self.lengths_in, other.lengths_in, strict=True)]
        self.lengths_out = [a + b for a, b in zip(self.lengths_out, other.lengths_out, strict=True)]
        self.pieces += other.pieces
        self.seconds += other.seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return msgspec.to_builtins(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Account:
        """The account that `to_dict` wrote; raises msgspec.ValidationError on anything else."""
        return msgspec.convert(plain, cls)


def measure(batch: DocumentBatch, count_tokens: TokenCount | None) -> np.ndarray:
    """Of each document a 1, its bytes, its words (what stands between white space) and its tokens: int64[N, 4]."""

    def sizes(texts: list[str]) -> np.ndarray:
        found = np.ones((len(texts), len(MEASURES)), np.int64)
        found[:, 1] = [len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts]
        found[:, 2] = [len(text.split()) for text in texts]
        found[:, 3] = count_tokens(texts) if count_tokens and texts else 0
        return found

    return batch.shared("sizes", sizes)


def run_step(
    batch: DocumentBatch,
    name: str,
    step: Step,
    account: Account,
    count_tokens: TokenCount | None = None,
    bears_failures: bool = True,
) -> tuple[DocumentBatch, list[Dropped]]:
    """Runs one step over a batch and adds what it did to the account. Gives the batch to go on with, and the drops.

    A document that the step cannot bear (it raises) is dropped by itself, with the error as detail; unless
    `bears_failures` is false, for a step that cannot be asked twice.

    Raises:
        whatever the step raises where more than one and more than a tenth of the documents are too much for it.
        AssertionError: the step breaks the law.
    """
    began = time.perf_counter()
    before = measure(batch, count_tokens)
    batch.enter(name)
    try:
        step(batch)
    except Exception as error:
        if not bears_failures:
            raise
        batch = _without_failures(batch, name, step, error)
    after = measure(batch, count_tokens)
    kept = np.unique(batch.origins)
    whole = [drop for drop in batch.dropped if drop.whole]
    _check_partition(name, len(before), kept, [drop.origin for drop in whole])
    account.read.add(_total(before))
    account.kept.add(_total(before[kept]))
    account.out.add(_total(after))
    for drop in whole:
        reason = account.dropped.setdefault(drop.reason, Reason())
        reason.sizes.add(_total(before[[drop.origin]]))
        if len(reason.examples) < EXAMPLES_PER_REASON:
            reason.examples.append(drop.document.id)
    for what, noted in batch.noted.items():
        note = account.noted.setdefault(what, Noted())
        note.documents += noted.documents
        note.characters += noted.characters
    account.pieces += len(batch.dropped) - len(whole)
    account.lengths_in = (np.array(account.lengths_in) + length_bins(before[:, 2])).tolist()
    account.lengths_out = (np.array(account.lengths_out) + length_bins(after[:, 2])).tolist()
    account.seconds += time.perf_counter() - began
    return batch, batch.dropped


def length_bins(words: np.ndarray) -> np.ndarray:
    """How many documents have how many words, int64[LENGTH_BINS]."""
    bins = np.where(words > 0, np.log2(np.maximum(words, 1)).astype(np.int64) + 1, 0)
    return np.bincount(np.minimum(bins, LENGTH_BINS - 1), minlength=LENGTH_BINS)


def _total(sizes: np.ndarray) -> Sizes:
    return Sizes(*sizes.sum(axis=0).tolist())


def _check_partition(name: str, came: int, kept: np.ndarray, dropped: Sequence[int]) -> None:
    """Every document that came must be kept or dropped, and not both."""
    fates = Counter(kept.tolist())
    fates.update(dropped)
    wrong = [place for place in range(came) if fates[place] != 1]
    if wrong or len(fates) != came:
        raise AssertionError(f"step {name} lost or doubled documents: of {came:,} that came, {len(wrong):,} did")


def _without_failures(batch: DocumentBatch, name: str, step: Step, error: Exception) -> DocumentBatch:
    """The batch after the step, without the documents that it raises on when it is given each alone."""
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
    if not failures:  # it is not a document that is at fault
        raise error
    again = DocumentBatch(documents)
    again.enter(name)
    again.drop(list(failures), FAILED, list(failures.values()))
    step(again)
    return again


# Fact -> value -> documents. Numbers stand there with two digits, so that there are never many.
Facts = dict[str, dict[str | float, int]]


def count_facts(documents: Iterable[Document], into: Facts) -> None:
    """Counts how often what was found out about documents has which value; of texts, the first thousand values."""
    for document in documents:
        for name, value in document.facts.items():
            counts = into.setdefault(name, {})
            short = value if isinstance(value, str) else float(f"{value:.2g}")
            if short in counts or len(counts) < FACT_VALUES:
                counts[short] = counts.get(short, 0) + 1


def fact_rows(facts: Facts) -> list[dict[str, Any]]:
    """Each fact as what there is to show: its most frequent values, or where its numbers lie."""
    rows: list[dict[str, Any]] = []
    for name, counts in sorted(facts.items()):
        numbers = sorted(value for value in counts if not isinstance(value, str))
        row: dict[str, Any] = {"fact": name, "documents": sum(counts.values())}
        if numbers:
            ends = np.cumsum([counts[value] for value in numbers])
            at = {f"{share:.0%}": numbers[int(np.searchsorted(ends, share * ends[-1]))] for share in QUANTILES}
            row["quantiles"] = at
        texts = sorted(((n, value) for value, n in counts.items() if isinstance(value, str)), key=lambda one: -one[0])
        row["values"] = {value: n for n, value in texts[:VALUES_SHOWN]}
        rows.append(row)
    return rows


def quiet_steps(accounts: Iterable[Account]) -> list[str]:
    """One sentence for each step that found nothing to do, left nothing or failed: mistakes, more often than not."""
    sentences = []
    for account in accounts:
        came = account.read.documents
        failed = account.dropped.get(FAILED)
        if failed:
            first = failed.examples[0]
            sentences.append(f"step {account.step} failed on {failed.sizes.documents:,} documents, the first {first}")
        if not came:
            sentences.append(f"step {account.step} was given no documents")
        elif not account.out.documents:
            sentences.append(f"step {account.step} dropped all {came:,} documents that came to it")
        elif not (account.dropped or account.noted or account.pieces):
            sentences.append(f"step {account.step} found nothing: none of {came:,} documents was dropped or changed")
    return sentences
