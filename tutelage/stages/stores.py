"""A stage's data as stores of tokenised example groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.batching.datasets import (
    SplitGroups,
    SplitLedgers,
    SplitStore,
    TooLong,
    conversation_groups,
    document_groups,
    is_written,
    open_or_write,
)
from tutelage.batching.preferences import PREFERENCES
from tutelage.batching.store import Store
from tutelage.chat import RENDERING, Renderer, TrainOn
from tutelage.config import SettingsError
from tutelage.io.data_files import describe_splits
from tutelage.ledger import Ledger
from tutelage.progress import status
from tutelage.records import Document, Schema, Split
from tutelage.stages.data import DataTable, conversations, documents, identity, preferences
from tutelage.stages.data_files import ChatData
from tutelage.tokenizer import Tokenizer


@dataclass(frozen=True)
class Stores:
    """Where tokenised data is kept, and the share of the rows that is held out."""

    folder: Path
    table: DataTable
    held_out: float

    def text(self, name: str, tokenizer: Tokenizer, context: int, by_subject: bool = False) -> SplitStore:
        """The documents of data `name`, both splits; in their own order, or those of one subject together."""
        return self._text(name, tokenizer, context, ("train", "held_out"), by_subject)

    def held_out_text(self, name: str, tokenizer: Tokenizer, context: int) -> Store:
        """The held-out documents of data `name`; only these are tokenised, unless all of them were before."""
        return self._text(name, tokenizer, context, ("held_out",)).held_out

    def _text(
        self, name: str, tokenizer: Tokenizer, context: int, splits: tuple[Split, ...], by_subject: bool = False
    ) -> SplitStore:
        ledgers = SplitLedgers.of(f"{name}: documents to tokens")
        key = [RENDERING, identity(name, self.table), tokenizer.fingerprint(), context, self.held_out]
        if "train" not in splits and not is_written(self.folder, key):
            key.append("held out only")
        texts = documents(name, self.table)
        if by_subject:
            key.append("by subject")
            texts = iter(sorted_by_subject(list(texts), name))
        groups = document_groups(texts, tokenizer, context, self.held_out, ledgers, splits)
        return open_or_write(self.folder, key, groups, ledgers)

    def chat(
        self,
        name: str,
        renderer: Renderer,
        context: int,
        train_on: TrainOn,
        too_long: TooLong,
        max_refused: float,
    ) -> SplitStore:
        """The conversations of data `name`, both splits."""
        data = self.table[name]
        if isinstance(data, ChatData) and (splits := describe_splits(Path(data.path))):
            status(splits)
        ledgers = SplitLedgers.of(f"{name}: conversations to tokens")
        files = Ledger(ledgers.train.step)
        rows = conversations(name, self.table, files)
        options = context, self.held_out, train_on, too_long, max_refused
        groups = conversation_groups(rows, renderer, *options, ledgers)
        key = [identity(name, self.table), renderer.fingerprint(), *options]
        return open_or_write(self.folder, key, _with_unread_rows(groups, files, ledgers.train), ledgers)

    def preferences(
        self,
        name: str,
        renderer: Renderer,
        context: int,
        max_refused: float,
        make: Callable[..., SplitGroups],
        schema: Schema,
    ) -> SplitStore:
        """The preferences of data `name`, both splits, as groups that `make` makes: `pair_groups` or
        `labelled_groups`."""
        ledgers = SplitLedgers.of(f"{name}: preferences to tokens")
        files = Ledger(ledgers.train.step)
        options = context, self.held_out, max_refused
        groups = make(preferences(name, self.table, files), renderer, *options, ledgers)
        key = [PREFERENCES, make.__name__, identity(name, self.table), renderer.fingerprint(), *options]
        return open_or_write(self.folder, key, _with_unread_rows(groups, files, ledgers.train), ledgers, schema)


def sorted_by_subject(documents: Sequence[Document], name: str) -> list[Document]:
    """Documents in the order in which their subjects occur first; those without a subject stay where they are.

    Raises:
        SettingsError: no document of the data `name` has a subject.
    """
    places = [place for place, document in enumerate(documents) if "subject" in document.meta]
    if not places:
        raise SettingsError(
            f"order = \"subject\" needs documents with a subject in their metadata; data '{name}' has none"
        )
    first: dict[str, int] = {}
    for place in places:
        first.setdefault(documents[place].meta["subject"], place)
    ordered = list(documents)
    for place, other in zip(places, sorted(places, key=lambda at: first[documents[at].meta["subject"]]), strict=True):
        ordered[place] = documents[other]
    return ordered


def _with_unread_rows(groups: SplitGroups, files: Ledger, ledger: Ledger) -> SplitGroups:
    """The groups; at their end, rows that could not be read are added to the ledger as dropped."""
    yield from groups
    ledger.merge(Ledger(ledger.step, rows_read=files.rows_dropped, dropped=files.dropped, noted=files.noted))
