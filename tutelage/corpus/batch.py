"""Documents on their way through the steps of a recipe: which are kept, which were dropped and why, what was rewritten.

A step is a function that is given a batch and changes it:

    def shorter_than(settings: ShortSettings) -> Step:
        def step(batch: DocumentBatch) -> None:
            words = batch.shared("words", lambda texts: np.array([len(text.split()) for text in texts]))
            batch.drop(words < settings.words, "too short", [f"{n} words" for n in words[words < settings.words]])
        return step
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from tutelage.records import Document


class Takes(Protocol):
    """A column of any make: `take` gives the rows at the places of an int64 array, in that order."""

    def take(self, rows: np.ndarray, /) -> Takes: ...


T = TypeVar("T", bound="np.ndarray | list[Any] | Takes")


class Dropped(NamedTuple):
    """A document that a step took out. `document` is as it was when it came to the step; `detail` says more than the
    reason does, such as the figure that was too low. `whole` is False for a piece of a document of which another piece
    was kept."""

    document: Document
    step: str
    reason: str
    detail: str
    origin: int
    whole: bool = True


@dataclass(slots=True)
class Noted:
    """What a step did to documents it kept: how many, and how many characters longer (shorter: below 0) they became."""

    documents: int = 0
    characters: int = 0


@dataclass(slots=True)
class _Column:
    values: Any
    rows: np.ndarray  # int64[N]: where each document stands in `values`; -1 where its text has changed since


class DocumentBatch:
    """Documents on their way through the steps of a recipe. A step drops some, rewrites some, splits some; words, lines
    and the like are worked out once and shared by all steps until a text changes.

    documents: those still kept, in order; only the methods below may change it.
    dropped:   those taken out since the last `enter`, in order.
    noted:     what was done to documents that are kept, since the last `enter`.
    origins:   int64[N], which document of those that came to the step each of `documents` is, or is a piece of.
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
        """Begins a step: what is dropped and rewritten from here on is its doing."""
        self.step = step
        self.entered = list(self.documents)
        self.origins = np.arange(len(self.documents))
        self.dropped: list[Dropped] = []
        self.noted: dict[str, Noted] = {}

    def drop(
        self, places: np.ndarray | Sequence[int], reason: str | Sequence[str], detail: str | Sequence[str] = ""
    ) -> None:
        """Takes documents out.

        places: a mask, bool[N], or the places of the documents to drop, in any order.
        reason: one for all, a few words that do not vary with the document; or one for each that is dropped.
        detail: one for all, or one for each that is dropped, in the order of `places`; for a mask, from first to last.
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
            left.add(origin)  # of several last pieces, one stands for the document
            document = self.entered[origin] if whole else self.documents[place]
            self.dropped.append(Dropped(document, self.step, why, more, origin, whole))
        if len(gone):
            self._take(rows)

    def rewrite(self, texts: Sequence[str | None], what: str = "rewritten") -> None:
        """Gives documents new texts; None keeps the text. `what` says in a few words what was done, for the funnel."""
        assert len(texts) == len(self.documents), f"{self.step}: {len(texts)} texts for {len(self.documents)} documents"
        changed = [i for i, text in enumerate(texts) if text is not None and text != self.documents[i].text]
        if not changed:
            return
        note = self.noted.setdefault(what, Noted())
        for place in changed:
            text, document = texts[place], self.documents[place]
            assert text is not None
            note.documents += 1
            note.characters += len(text) - len(document.text)
            self.documents[place] = replace(document, text=text)
        for column in self._columns.values():
            column.rows[changed] = -1

    def split(self, pieces: Sequence[Sequence[str] | None], what: str = "split") -> None:
        """Turns documents into several: each text of `pieces` is a document of its own, with "#1", "#2" ... after the
        id. None keeps the document as it is; whoever leaves nothing of one must drop it instead."""
        assert len(pieces) == len(self.documents), f"{self.step}: {len(pieces)} for {len(self.documents)} documents"
        rows: list[int] = []
        documents: list[Document] = []
        changed: list[int] = []
        for place, (document, texts) in enumerate(zip(self.documents, pieces, strict=True)):
            if texts is None:
                rows.append(place)
                documents.append(document)
                continue
            assert texts, f"{self.step}: nothing is left of {document.id}; drop it"
            note = self.noted.setdefault(what, Noted())
            note.documents += 1
            note.characters += sum(map(len, texts)) - len(document.text)
            for number, text in enumerate(texts, 1):
                changed.append(len(rows))
                rows.append(place)
                documents.append(replace(document, text=text, id=f"{document.id}#{number}"))
        self._take(np.array(rows, np.int64))
        self.documents = documents
        for column in self._columns.values():
            column.rows[changed] = -1

    def note(self, what: str, documents: int) -> None:
        """Counts documents in which a step found something, without any change to their texts."""
        if documents:
            self.noted.setdefault(what, Noted()).documents += documents

    def describe(self, facts: Mapping[str, Sequence[str | float | None]]) -> None:
        """Writes what was found out about each document (its language, a score) beside it; None says nothing. Each
        sequence is as long as the batch."""
        for name, values in facts.items():
            assert len(values) == len(self.documents), (
                f"{self.step}: {len(values)} of {name}, not {len(self.documents)}"
            )
            self.note(f"{name} found", sum(value is not None for value in values))
        for place, document in enumerate(self.documents):
            found = {name: _plain(values[place]) for name, values in facts.items() if values[place] is not None}
            if found:
                self.documents[place] = replace(document, facts={**document.facts, **found})

    def shared(self, key: Hashable, make: Callable[[list[str]], T]) -> T:
        """A column over the texts of all documents, made once for all steps that ask for it with the same key.

        `make` gets the texts and gives an array or a list with a row for each, or a thing with `take`; of an array or
        list only the rows of changed texts are made again, anything else is then made again whole. So what `make` gives
        for a text must hang on that text alone. The column must not be changed.
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
        found = np.asarray(places)
        if found.dtype == bool:
            assert found.shape == (len(self),), f"{self.step}: a mask of {found.shape} for {len(self)} documents"
            return np.flatnonzero(found)
        found = found.astype(np.int64)
        assert len(np.unique(found)) == len(found), f"{self.step}: a document is dropped twice"
        return found

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
    """The column with the rows of changed texts put in."""
    rows = column.rows.copy()
    values = np.concatenate([column.values, made]) if isinstance(made, np.ndarray) else [*column.values, *made]
    rows[stale] = len(column.values) + np.arange(len(stale))
    return _taken(values, rows)


Step = Callable[[DocumentBatch], None]
