"""Documents and conversations to stores of example groups: split into a training and a held-out part, tokenised once,
kept on disk under a name made of their content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from tutelage.batching.rendering import ROWS_AT_ONCE, render_all
from tutelage.batching.store import META, Store, StoreWriter, open_store
from tutelage.chat import Rendered, Renderer, TrainOn, render_documents
from tutelage.chat.render.renderer import example
from tutelage.chat.render.template import exchanges
from tutelage.config import fingerprint
from tutelage.files import atomic_folder, resolve_folder
from tutelage.io.batches import batches
from tutelage.ledger import Ledger
from tutelage.records import (
    ROLE_STREAM,
    AnyPreference,
    Conversation,
    Document,
    Example,
    ExampleGroup,
    Message,
    Schema,
    Split,
    Task,
)
from tutelage.text.hashing import falls_in
from tutelage.tokenizer import Tokenizer

TooLong = Literal["error", "drop", "split"]
# Raise it when the code here decides otherwise which rows are held out, or how they are cut: stores are made again.
SPLITTING = 1


@dataclass(frozen=True)
class SplitStore:
    """The two parts of a dataset. The ledger of `train` also counts the rows that are held out."""

    train: Store
    held_out: Store


@dataclass(frozen=True)
class SplitLedgers:
    """The accounts of one pass over a dataset. `train` reads every row; `held_out` reads those that are held out."""

    train: Ledger
    held_out: Ledger

    @classmethod
    def of(cls, step: str) -> SplitLedgers:
        return cls(Ledger(f"{step}, train"), Ledger(f"{step}, held out"))

    def read(self, split: Split, tokens: int) -> Ledger:
        """Counts a row that came in, and gives the ledger in which what happens to it is counted."""
        self.train.read(tokens=tokens)
        if split == "train":
            return self.train
        self.train.hold_out(tokens=tokens)
        self.held_out.read(tokens=tokens)
        return self.held_out


def split_of(row: Document | Conversation | AnyPreference | Task, share: float) -> Split:
    """The part of its data that a row belongs to: as the data says, else by the row's name."""
    if row.split is not None:
        return row.split
    return "held_out" if falls_in(row.id, share) else "train"


SplitGroups = Iterator[tuple[Split, ExampleGroup]]


def document_groups(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    context: int,
    held_out: float,
    ledgers: SplitLedgers,
    splits: Sequence[Split] = ("train", "held_out"),
) -> SplitGroups:
    """Documents as groups of one example each, with the split they belong to; one longer than the context becomes
    several. Only those of `splits` are tokenised.

    A later piece opens with the last token of the piece before, as context only, so that every token but the document's
    first is trained exactly once.
    """
    parts = ((document, split_of(document, held_out)) for document in documents)
    wanted = ((document, split) for document, split in parts if split in splits)
    for rows in batches(wanted, ROWS_AT_ONCE):
        rendered_rows = render_documents([document.text for document, _ in rows], tokenizer)
        for (document, split), rendered in zip(rows, rendered_rows, strict=True):
            tokens = len(rendered.ids)
            ledger = ledgers.read(split, tokens)
            if tokens < 2:
                ledger.drop("empty document", tokens=tokens, where=document.id)
            else:
                pieces = _overlapping(example(rendered), context)
                ledger.split(len(pieces), tokens, sum(len(piece.tokens) for piece in pieces))
                yield from ((split, (piece,)) for piece in pieces)


def _overlapping(whole: Example, context: int) -> list[Example]:
    if len(whole.tokens) <= context:
        return [whole]
    starts = range(0, len(whole.tokens) - 1, context - 1)
    return [_cut(whole, start, start + context) for start in starts]


def _cut(whole: Example, start: int, stop: int) -> Example:
    streams = {name: column[start:stop] for name, column in whole.streams.items()}
    weights = None if whole.weights is None else whole.weights[start:stop]
    return Example(whole.tokens[start:stop], weights, streams=streams)


def conversation_groups(
    conversations: Iterable[Conversation],
    renderer: Renderer,
    context: int,
    held_out: float,
    train_on: TrainOn,
    too_long: TooLong,
    max_refused: float,
    ledgers: SplitLedgers,
) -> SplitGroups:
    """Conversations as groups of one example each, with the split they belong to. Every example is verified to train
    the assistant's own text and turn ends and nothing else. A conversation becomes several examples where each turn
    must be trained by itself.

    Raises:
        ValueError: a larger share than `max_refused` cannot be trained on; or one is longer than the context and
            `too_long` is "error" (or "split" and one exchange alone is too long). The message names the first.
    """
    refusals = Refusals(max_refused)
    for conversation, made in render_all(conversations, renderer, train_on):
        split = split_of(conversation, held_out)
        if refusals.count(made, split, ledgers):
            continue
        assert not isinstance(made, ValueError)
        tokens = sum(len(rendered.ids) for rendered in made)
        longest = _longest(made)
        ledger = ledgers.read(split, tokens)
        for note in made[0].notes:
            ledger.note(note, where=conversation.id)
        if longest <= context:
            if len(made) > 1:
                ledger.note("conversations whose turns are trained one by one")
            ledger.split(len(made), tokens, tokens)
            yield from ((split, (example(rendered),)) for rendered in made)
        elif too_long == "drop":
            ledger.drop(f"longer than the context of {context} tokens", tokens=tokens, where=conversation.id)
        elif too_long == "error":
            raise too_long_error(conversation, longest, context)
        else:
            pieces = split_by_turns(conversation, renderer, context, train_on)
            ledger.split(len(pieces), tokens, sum(len(piece.ids) for piece in pieces))
            yield from ((split, (example(piece),)) for piece in pieces)
    refusals.check("conversations")


def too_long_error(conversation: Conversation, tokens: int, context: int) -> ValueError:
    """The error for a conversation that is longer than the context."""
    return ValueError(
        f"conversation {conversation.id} has {tokens} tokens, but the context holds {context}; set too_long "
        '(--too-long) to "split" to cut it between turns, or to "drop" to leave it out, or lengthen the context'
    )


@dataclass
class Refusals:
    """Counts the rows that cannot be trained on; more of them than the share `max_refused` are an error."""

    max_refused: float
    rows: int = 0
    refused: int = 0
    first: ValueError | None = None

    def count(self, made: object, split: Split, ledgers: SplitLedgers) -> bool:
        """Counts a row; where it was refused, drops it by its reason and gives True. Raises the refusal itself where
        none is allowed."""
        self.rows += 1
        if not isinstance(made, ValueError):
            return False
        if self.max_refused == 0:
            raise made
        self.refused, self.first = self.refused + 1, self.first or made
        ledgers.read(split, 0).drop(getattr(made, "reason", "cannot be trained on"), where=str(made))
        return True

    def check(self, noun: str) -> None:
        """ValueError where more rows were refused than allowed; it names the first."""
        if self.refused > self.max_refused * self.rows:
            raise ValueError(
                f"{self.refused:,} of {self.rows:,} {noun} cannot be trained on, more than max_refused = "
                f"{self.max_refused:g} allows; the first: {self.first}"
            )


def split_by_turns(conversation: Conversation, renderer: Renderer, context: int, train_on: TrainOn) -> list[Rendered]:
    """Cut a conversation before user turns into the fewest pieces that fit; a leading system message opens each.

    Raises:
        ValueError: one exchange alone does not fit.
    """
    opening = conversation.messages[:1] if conversation.messages[0].role == "system" else ()

    def render(messages: tuple[Message, ...]) -> list[Rendered]:
        (made,) = renderer.render_rows([replace(conversation, messages=opening + messages)], train_on)
        if isinstance(made, ValueError):
            raise made
        return made

    pieces: list[list[Rendered]] = []
    held: tuple[Message, ...] = ()
    for exchange in exchanges(conversation.messages[len(opening) :]):
        longer = render(held + exchange)
        if held and _longest(longer) <= context:
            held, pieces[-1] = held + exchange, longer
            continue
        held, alone = exchange, longer if not held else render(exchange)
        if _longest(alone) > context:
            raise ValueError(
                f"conversation {conversation.id}: one exchange alone has {_longest(alone)} tokens, but the context "
                f'holds {context}; shorten it, lengthen the context, or set too_long (--too-long) to "drop"'
            )
        pieces.append(alone)
    return [one for piece in pieces for one in piece]


def _longest(made: Sequence[Rendered]) -> int:
    return max(len(one.ids) for one in made)


def open_or_write(
    folder: Path,
    identity: Sequence[object],
    groups: SplitGroups,
    ledgers: SplitLedgers,
    schema: Schema = ROLE_STREAM,
) -> SplitStore:
    """Both parts of a dataset: opened where stores of the same identity are in `folder`, else written in one pass.
    `schema`: what the groups carry.

    Raises:
        ValueError: the data cannot be trained on; the message says why.
    """
    place = _place(folder, identity)
    if not is_written(folder, identity):
        _write(place, groups, {"train": ledgers.train, "held_out": ledgers.held_out}, schema)
    found = resolve_folder(place)
    return SplitStore(open_store(found / "train"), open_store(found / "held_out"))


def is_written(folder: Path, identity: Sequence[object]) -> bool:
    """Whether stores of this identity are in `folder`."""
    return (resolve_folder(_place(folder, identity)) / "held_out" / META).exists()


def _place(folder: Path, identity: Sequence[object]) -> Path:
    return folder / fingerprint(SPLITTING, *identity)[:16]


def _write(place: Path, groups: SplitGroups, ledgers: Mapping[Split, Ledger], schema: Schema) -> None:
    with atomic_folder(place) as temporary:
        writers = {split: StoreWriter(temporary / split, schema) for split in ledgers}
        try:
            for split, group in groups:
                writers[split].add(group)
            for split, ledger in ledgers.items():
                writers[split].finish(ledger)
        finally:
            for writer in writers.values():
                writer.close()


def text_bytes(store: Store, tokenizer: Tokenizer) -> np.ndarray:
    """Bytes of text that the trained tokens of each group stand for, int64 [groups]; special tokens stand for none."""
    special = np.array(list(tokenizer.special_tokens.values()), np.int32)
    sizes = np.array([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)])
    sizes[special] = 0
    bytes_G = np.zeros(len(store), np.int64)
    for index in range(len(store)):
        for segment in store.group(index):
            own = sizes[segment.tokens[1:]]
            if tokenizer.opens_with_space:  # the space put before a text, right after a special token, is not of it
                own = own - (np.isin(segment.tokens[:-1], special) & (own > 0))
            bytes_G[index] += own[np.asarray(segment.weights)[1:] > 0].sum()
    return bytes_G
