"""A batch of documents that passes through the steps of a recipe, with what each step dropped and changed.

A step is a function that takes a batch and changes it in place:

    def shorter_than(settings: ShortSettings) -> Step:
        def step(batch: DocumentBatch) -> None:
            words = batch.shared("words", lambda texts: np.array([len(text.split()) for text in texts]))
            batch.drop(words < settings.words, "too short", [f"{n} words" for n in words[words < settings.words]])
        return step
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from tutelage.ledger import EXAMPLES_PER_REASON
from tutelage.records import Document


class Takes(Protocol):
    """Any column type with a `take` method: `take(rows)` returns the rows at these int64 indices, in that order."""

    def take(self, rows: np.ndarray, /) -> Takes: ...


T = TypeVar("T", bound="np.ndarray | list[Any] | Takes")


class Dropped(NamedTuple):
    """A document that a step dropped.

    document: the document before the step.
    detail:   more than the reason says, such as the figure that was too low.
    origin:   its index in the batch that entered the step.
    whole:    False for a part of a split document of which another part was kept.
    """

    document: Document
    step: str
    reason: str
    detail: str
    origin: int
    whole: bool = True


@dataclass(slots=True)
class Modified:
    """A change to kept documents: how many documents, by how many characters they grew (negative: shrank), and samples
    of what was cut."""

    documents: int = 0
    characters: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Column:
    values: Any
    rows: np.ndarray  # int64[N]: the row of each document in `values`; -1 if its text has changed since


class DocumentBatch:
    """Documents that pass through the steps of a recipe. A step drops, rewrites or splits them. Derived columns (words,
    lines ...) are computed once and shared by all steps until a text changes.

    documents: those still kept, in order. Change it only through the methods below.
    dropped:   those dropped since the last `enter`, in order.
    modified:  changes to kept documents since the last `enter`.
    origins:   int64[N], for each of `documents` the index of the document that it is, or is a part of, in the batch
               that entered the step.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = list(documents)
        self._columns: dict[Hashable, _Column] = {}
        self.enter("")

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def texts(self) -> list[str]:
        """The text of each document."""
        return [document.text for document in self.documents]

    def enter(self, step: str) -> None:
        """Begin a step: drops and changes from here on are recorded under its name."""
        self.step = step
        self.entered = list(self.documents)
        self.origins = np.arange(len(self.documents))
        self.dropped: list[Dropped] = []
        self.modified: dict[str, Modified] = {}

    def drop(
        self, places: np.ndarray | Sequence[int], reason: str | Sequence[str], detail: str | Sequence[str] = ""
    ) -> None:
        """Drop documents.

        places: a mask, bool[N], or the indices of the documents to drop, in any order.
        reason: one for all, or one per dropped document; a few words that do not vary with the document.
        detail: one for all, or one per dropped document, in the order of `places`; for a mask, from first to last.
        """
        gone = self._places(places)
        assert isinstance(reason, str) or len(reason) == len(gone), (
            f"{self.step}: {len(gone)} dropped, not {len(reason)}"
        )
        assert isinstance(detail, str) or len(detail) == len(gone), (
            f"{self.step}: {len(gone)} dropped, not {len(detail)}"
        )
        kept = np.ones(len(self.documents), bool)
        kept[gone] = False
        rows = np.flatnonzero(kept)
        left = set(self.origins[rows].tolist())
        for number, place in enumerate(gone.tolist()):
            origin = int(self.origins[place])
            why = reason if isinstance(reason, str) else reason[number]
            more = detail if isinstance(detail, str) else detail[number]
            whole = origin not in left
            left.add(origin)  # if several last parts go at once, one of them counts as the document
            document = self.entered[origin] if whole else self.documents[place]
            self.dropped.append(Dropped(document, self.step, why, more, origin, whole))
        if len(gone):
            self._take(rows)

    def rewrite(self, texts: Sequence[str | None], what: str = "rewritten", examples: Iterable[str] = ()) -> None:
        """Replace texts; None keeps a text. `what` names the change in the funnel, in a few words; `examples` are
        samples of what was cut."""
        assert len(texts) == len(self.documents), f"{self.step}: {len(texts)} texts for {len(self.documents)} documents"
        changed = [i for i, text in enumerate(texts) if text is not None and text != self.documents[i].text]
        if not changed:
            return
        change = self.modified.setdefault(what, Modified())
        change.examples.extend(islice(examples, EXAMPLES_PER_REASON - len(change.examples)))
        for place in changed:
            text, document = texts[place], self.documents[place]
            assert text is not None
            change.documents += 1
            change.characters += len(text) - len(document.text)
            self.documents[place] = replace(document, text=text)
        for column in self._columns.values():
            column.rows[changed] = -1

    def split(self, parts: Sequence[Sequence[str] | None], what: str = "split") -> None:
        """Split documents: each text of `parts` becomes a document, with "#1", "#2" ... appended to the id. None keeps
        a document unchanged. A document of which nothing is left must be dropped instead."""
        assert len(parts) == len(self.documents), f"{self.step}: {len(parts)} for {len(self.documents)} documents"
        rows: list[int] = []
        documents: list[Document] = []
        changed: list[int] = []
        for place, (document, texts) in enumerate(zip(self.documents, parts, strict=True)):
            if texts is None:
                rows.append(place)
                documents.append(document)
                continue
            assert texts, f"{self.step}: nothing is left of {document.id}; drop it"
            change = self.modified.setdefault(what, Modified())
            change.documents += 1
            change.characters += sum(map(len, texts)) - len(document.text)
            for number, text in enumerate(texts, 1):
                changed.append(len(rows))
                rows.append(place)
                documents.append(replace(document, text=text, id=f"{document.id}#{number}"))
        self._take(np.array(rows, np.int64))
        self.documents = documents
        for column in self._columns.values():
            column.rows[changed] = -1

    def note(self, what: str, documents: int) -> None:
        """Count documents in which a step found something, without a change to their texts."""
        if documents:
            self.modified.setdefault(what, Modified()).documents += documents

    def add_metadata(self, fields: Mapping[str, Sequence[str | float | None]]) -> None:
        """Write metadata (a language, a score) to `Document.facts`. Each sequence is as long as the batch; None adds
        nothing."""
        for name, values in fields.items():
            assert len(values) == len(self.documents), (
                f"{self.step}: {len(values)} of {name}, not {len(self.documents)}"
            )
            self.note(f"{name} added", sum(value is not None for value in values))
        for place, document in enumerate(self.documents):
            added = {name: _plain(values[place]) for name, values in fields.items() if values[place] is not None}
            if added:
                self.documents[place] = replace(document, facts={**document.facts, **added})

    def shared(self, key: Hashable, make: Callable[[list[str]], T]) -> T:
        """A column derived from the texts, computed once for all steps that use the same key. Do not change it.

        `make` takes the texts and returns an array or a list with one row per text, or an object with `take`. After a
        text has changed, only the changed rows of an array or list are computed again; any other column is computed
        again as a whole. The row of a text must therefore depend on that text alone.
        """
        column = self._columns.get(key)
        if column is None:
            values = make(self.texts)
        else:
            stale = np.flatnonzero(column.rows < 0)
            untouched = np.array_equal(column.rows, np.arange(len(column.rows))) and _length(column.values) == len(self)
            if untouched:
                return column.values
            if not len(stale):
                values = _taken(column.values, column.rows)
            elif isinstance(column.values, np.ndarray | list) and len(stale) < len(self):
                values = _patched(column, stale, make([self.documents[i].text for i in stale.tolist()]))
            else:
                values = make(self.texts)
        self._columns[key] = _Column(values, np.arange(len(self)))
        return values

    def _places(self, places: np.ndarray | Sequence[int]) -> np.ndarray:
        indices = np.asarray(places)
        if indices.dtype == bool:
            assert indices.shape == (len(self),), f"{self.step}: a mask of {indices.shape} for {len(self)} documents"
            return np.flatnonzero(indices)
        indices = indices.astype(np.int64)
        assert len(np.unique(indices)) == len(indices), f"{self.step}: a document is dropped twice"
        return indices

    def _take(self, rows: np.ndarray) -> None:
        self.documents = [self.documents[i] for i in rows.tolist()]
        self.origins = self.origins[rows]
        for column in self._columns.values():
            column.rows = column.rows[rows]


def _plain(value: Any) -> str | float:
    return value.item() if isinstance(value, np.generic) else value


def _length(values: Any) -> int | None:
    return len(values) if hasattr(values, "__len__") else None


def _taken(values: Any, rows: np.ndarray) -> Any:
    if isinstance(values, np.ndarray):
        return values[rows]
    return [values[i] for i in rows.tolist()] if isinstance(values, list) else values.take(rows)


def _patched(column: _Column, stale: np.ndarray, made: Any) -> Any:
    """The column with the rows of changed texts replaced.

    Example: values [a, b, c], rows [0, -1, 2], stale [1], made [x] -> [a, b, c, x] taken at [0, 3, 2] = [a, x, c].
    """
    rows = column.rows.copy()
    values = np.concatenate([column.values, made]) if isinstance(made, np.ndarray) else [*column.values, *made]
    rows[stale] = len(column.values) + np.arange(len(stale))
    return _taken(values, rows)


Step = Callable[[DocumentBatch], None]
