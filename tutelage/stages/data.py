"""What a recipe can name as data, and how a stage gets it as stores of tokenised units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tutelage import __version__
from tutelage.batching.sources import Part, TooLong, conversation_units, document_units, open_or_write
from tutelage.batching.store import Store
from tutelage.chat.renderer import Mask, Renderer
from tutelage.chat.template import part_text
from tutelage.config import Settings, SettingsError, suggest, to_plain
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Document
from tutelage.tokenizer import Tokenizer
from tutelage.world.society import World, WorldSettings


class WorldText(WorldSettings, tag="world", tag_field="kind", frozen=True, kw_only=True):
    """The text of the built-in world: biographies and pages, for pre-training."""


class WorldChat(Settings, tag="world-chat", tag_field="kind", frozen=True, kw_only=True):
    """Conversations about the people of the built-in world, for fine-tuning.

    split: about which half of the people.
    world: which data of kind "world" they live in; the recipe's only one where it is left out.
    """

    split: Literal["train", "held_out"] = "train"
    world: str | None = None


DataSettings = WorldText | WorldChat
DataTable = Mapping[str, DataSettings]


def find_data(name: str, table: DataTable, where: str) -> DataSettings:
    if name not in table:
        raise SettingsError(f"{where} names data '{name}', which [data] does not have{suggest(name, table)}")
    return table[name]


def find_world(data: DataSettings, table: DataTable, where: str = "data") -> WorldSettings:
    """The settings of the world that data belongs to; SettingsError, naming `where`, if that cannot be told."""
    if isinstance(data, WorldText):
        return data
    worlds = {name: entry for name, entry in table.items() if isinstance(entry, WorldText)}
    if data.world is not None:
        if data.world not in worlds:
            known = suggest(data.world, worlds)
            raise SettingsError(f"{where}: world = '{data.world}' names no data of kind 'world'{known}")
        return worlds[data.world]
    if len(worlds) != 1:
        raise SettingsError(
            f"{where}: data of kind 'world-chat' needs to know its world, but [data] has {len(worlds)} of kind 'world'"
            '; say which with world = "NAME"'
        )
    return next(iter(worlds.values()))


def world_of(table: DataTable) -> World | None:
    """The built-in world that a recipe's data belongs to, if it does."""
    worlds = [entry for entry in table.values() if isinstance(entry, WorldText)]
    return World(worlds[0]) if worlds else None


def is_text(data: DataSettings) -> bool:
    """Whether data is documents; otherwise it is conversations."""
    return isinstance(data, WorldText)


def documents(data: DataSettings) -> Iterator[Document]:
    assert isinstance(data, WorldText)
    return World(data).documents()


def conversations(data: DataSettings, table: DataTable) -> Iterator[Conversation]:
    assert isinstance(data, WorldChat)
    return World(find_world(data, table)).conversations(data.split)


def plain_texts(data: DataSettings, table: DataTable) -> Iterator[str]:
    """Every text in the data, as a tokenizer learns from it."""
    if is_text(data):
        yield from (document.text for document in documents(data))
    else:
        yield from (part_text(p) for row in conversations(data, table) for m in row.messages for p in m.content)


def identity(data: DataSettings, table: DataTable) -> list[object]:
    """All that decides what data holds, ready to be fingerprinted."""
    return [__version__, to_plain(data), to_plain(find_world(data, table))]


@dataclass(frozen=True)
class Stores:
    """Where tokenised data is kept, and how it is cut into a training part and a held-out part."""

    folder: Path
    table: DataTable
    held_out: float

    def text(self, name: str, tokenizer: Tokenizer, context: int, part: Part) -> Store:
        """The documents of data `name` as a store."""
        data = self.table[name]
        ledger = Ledger(f"{name}: documents to tokens, {part}")
        units = document_units(documents(data), tokenizer, context, part, self.held_out, ledger)
        key = [identity(data, self.table), tokenizer.fingerprint(), context, part, self.held_out]
        return open_or_write(self.folder, key, units, ledger)

    def chat(self, name: str, renderer: Renderer, context: int, part: Part, mask: Mask, too_long: TooLong) -> Store:
        """The conversations of data `name` as a store."""
        data = self.table[name]
        ledger = Ledger(f"{name}: conversations to tokens, {part}")
        rows = conversations(data, self.table)
        units = conversation_units(rows, renderer, context, part, self.held_out, mask, too_long, ledger)
        tokenizer = renderer.tokenizer.fingerprint()
        key = [identity(data, self.table), tokenizer, context, part, self.held_out, mask, too_long]
        return open_or_write(self.folder, key, units, ledger)
