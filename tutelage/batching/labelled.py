"""Labelled rows to examples: one class for a text, a tag for each word, the start and end of a span.

A label is attached to a token by character offsets alone: a word whose characters no token covers is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from tutelage.batching.datasets import SplitGroups, SplitLedgers
from tutelage.records import TOKEN_TYPES, Example, Labelled, Schema, Span, Split, Stream
from tutelage.text.hashing import falls_in
from tutelage.tokenizer import Tokenizer

LabelTask = Literal["sequence", "token", "span"]
# The head of each task.
HEADS: Mapping[LabelTask, str] = {"sequence": "class", "token": "tags", "span": "span"}
# Streams of span examples: 1 at tokens that may start or end the answer, and at those that do.
CANDIDATE, START, END = "candidate", "start", "end"
# Raise it when rows become other examples: stores are made again.
LABELLED = 1


class Encoded(NamedTuple):
    """A row, or a window of it, as tokens. `offsets` are the characters of each token in `text`, or in `second` where
    `types` is 1; both -1 for special tokens."""

    ids: np.ndarray
    types: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class LabelEncoder:
    """How rows become examples.

    labels: the names of the classes or tags, in the order of the head's outputs; none for spans.
    causal: labels are read at the last token of a text or word, which alone has seen all of it; else at the first.
    typed:  whether the model has token types.
    context: tokens of an example at most; a longer passage is cut into windows that overlap by half.
    """

    task: LabelTask
    labels: tuple[str, ...]
    tokenizer: Tokenizer
    context: int
    causal: bool
    typed: bool

    def schema(self) -> Schema:
        """What the examples carry."""
        types = {TOKEN_TYPES: Stream("uint8")} if self.typed else {}
        marks = (CANDIDATE, START, END) if self.task == "span" else ()
        return Schema({**types, **{name: Stream("uint8") for name in marks}})

    def encode(self, row: Labelled) -> list[Encoded]:
        """The tokens of a row: `[CLS] text [SEP]` or `[CLS] text [SEP] second [SEP]` with the tokenizer's own special
        tokens. A passage that is too long for the context becomes windows, which together cover all of it."""
        opening, closing = self.tokenizer.document_edges
        (first, first_offsets), *rest = self.tokenizer.encode_batch_with_offsets(
            [row.text, *([row.second] if row.second else [])]
        )
        head = [(opening, None), (first, first_offsets), (closing, None)]
        if not rest:
            return [_join(head, [])]
        (second, second_offsets) = rest[0]
        room = self.context - len(opening) - len(first) - 2 * len(closing)
        if self.task != "span" or len(second) <= room or room < 2:
            return [_join(head, [(second, second_offsets), (closing, None)])]
        starts = range(0, len(second) - room // 2, room - room // 2)
        windows = [slice(start, start + room) for start in starts]
        return [_join(head, [(second[w], second_offsets[w]), (closing, None)]) for w in windows]

    def examples(self, row: Labelled) -> list[Example]:
        """The examples of a row.

        Raises:
            ValueError: it has no label of the task, or one that the encoder does not know, or one that its tokens
                cannot carry.
        """
        encoded = self.encode(row)
        if self.task == "span":
            return [self._span(row, window) for window in encoded]
        (whole,) = encoded
        targets, weights = np.zeros(len(whole.ids), np.int32), np.zeros(len(whole.ids), np.float32)
        for place, label in self._sequence(row, whole) if self.task == "sequence" else self._words(row, whole):
            if label not in self.labels:
                raise ValueError(f"its label '{label}' is none of the training rows' ({', '.join(self.labels[:20])})")
            targets[place], weights[place] = self.labels.index(label), 1
        return [Example(whole.ids, weights, targets, self._types(whole))]

    def _types(self, encoded: Encoded) -> dict[str, np.ndarray]:
        return {TOKEN_TYPES: encoded.types} if self.typed else {}

    def sequence_place(self, encoded: Encoded) -> int:
        """The token at which the class of the whole is read."""
        return len(encoded.ids) - 1 if self.causal else 0

    def _sequence(self, row: Labelled, encoded: Encoded) -> list[tuple[int, str]]:
        if row.label is None:
            raise ValueError("it has no label")
        return [(self.sequence_place(encoded), row.label)]

    def _words(self, row: Labelled, encoded: Encoded) -> list[tuple[int, str]]:
        if not row.words:
            raise ValueError("it has no tagged words")
        return [(place, word.tag) for place, word in zip(self.word_places(row, encoded), row.words, strict=True)]

    def word_places(self, row: Labelled, encoded: Encoded) -> list[int]:
        """The token at which the tag of each word is read.

        Raises:
            ValueError: no token begins in a word (or, of a causal model, ends in it), or two words share it.
        """
        places = []
        for word in row.words:
            starts, ends = encoded.offsets[:, 0], encoded.offsets[:, 1]
            inside = np.flatnonzero((ends > word.start) & (starts < word.end) & (ends > starts))
            if not len(inside):
                raise ValueError(f"the word {row.text[word.start : word.end]!r} has no token of its own")
            places.append(int(inside[-1 if self.causal else 0]))
        if len(set(places)) != len(places):
            raise ValueError("two of its words share a token, so they cannot have two tags")
        return places

    def candidates(self, encoded: Encoded) -> np.ndarray:
        """Which tokens may start or end an answer: those of the passage, and the first, which means that there is
        none; bool [T]."""
        candidates = (encoded.types == 1) & (encoded.offsets[:, 1] > encoded.offsets[:, 0])
        candidates[0] = True
        return candidates

    def _span(self, row: Labelled, window: Encoded) -> Example:
        start, end = (0, 0) if not row.answers else self._ends(row, row.answers[0], window)
        marks = np.zeros((2, len(window.ids)), np.uint8)
        marks[0, start] = marks[1, end] = 1
        weights = np.zeros(len(window.ids), np.float32)
        weights[start] = 1  # one for each window: what datasets are weighed by
        streams = {CANDIDATE: self.candidates(window).astype(np.uint8), START: marks[0], END: marks[1]}
        return Example(window.ids, weights, np.zeros(len(window.ids), np.int32), streams | self._types(window))

    def _ends(self, row: Labelled, answer: Span, window: Encoded) -> tuple[int, int]:
        """The first and last token of an answer; (0, 0) where the window does not hold all of it."""
        stop = answer.start + len(answer.text)
        if row.second[answer.start : stop] != answer.text:
            raise ValueError(f"its answer {answer.text!r} is not at character {answer.start} of the passage")
        passage = np.flatnonzero(self.candidates(window)[1:]) + 1
        starts, ends = window.offsets[passage, 0], window.offsets[passage, 1]
        inside = passage[(ends > answer.start) & (starts < stop)]
        if not len(inside) or starts[0] > answer.start or ends[-1] < stop:
            return 0, 0
        return int(inside[0]), int(inside[-1])


def _join(*parts: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> Encoded:
    """Pieces of ids with their offsets, laid end to end; the token type is that of the part."""
    pieces = [(ids, offsets, kind) for kind, part in enumerate(parts) for ids, offsets in part]
    none = [np.full((len(ids), 2), -1, np.int32) if offsets is None else offsets for ids, offsets, _ in pieces]
    types = np.concatenate([np.full(len(ids), kind, np.uint8) for ids, _, kind in pieces])
    return Encoded(np.concatenate([ids for ids, _, _ in pieces]).astype(np.int32), types, np.concatenate(none))


def labelled_groups(
    rows: Iterable[Labelled], encoder: LabelEncoder, held_out: float, drop_long: bool, ledgers: SplitLedgers
) -> SplitGroups:
    """Rows as groups of one example each, with the split they belong to; a passage in windows becomes several.

    Raises:
        ValueError: a row cannot carry its label, or is longer than the context and `drop_long` is off; the sentence
            names the row.
    """
    for row in rows:
        split = split_of_labelled(row, held_out)
        try:
            examples = encoder.examples(row)
        except ValueError as error:
            raise ValueError(f"row {row.id}: {error}; correct or remove it") from None
        tokens = sum(len(example.tokens) for example in examples)
        longest = max(len(example.tokens) for example in examples)
        ledger = ledgers.read(split, tokens)
        if longest <= encoder.context:
            ledger.split(len(examples), tokens, tokens)
            yield from ((split, (example,)) for example in examples)
        elif drop_long:
            ledger.drop(f"longer than the context of {encoder.context} tokens", tokens=tokens, where=row.id)
        else:
            raise ValueError(
                f"row {row.id} has {longest} tokens, but the context holds {encoder.context}; set too_long to "
                '"drop" to leave it out'
            )


def split_of_labelled(row: Labelled, share: float) -> Split:
    """The part of its data that a row belongs to: as the data says, else by the row's name."""
    return row.split or ("held_out" if falls_in(row.id, share) else "train")


def label_names(rows: Iterable[Labelled], task: LabelTask) -> tuple[str, ...]:
    """The classes or tags of some rows, sorted."""
    if task == "span":
        return ()
    names = {row.label for row in rows} if task == "sequence" else {word.tag for row in rows for word in row.words}
    return tuple(sorted(name for name in names if name is not None))
