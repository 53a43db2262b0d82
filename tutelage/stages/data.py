"""What a recipe can name as data, and how a stage gets it as stores of tokenised example groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar

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
from tutelage.batching.preferences import PREFERENCES, good_side
from tutelage.batching.store import Store
from tutelage.chat import Renderer, TrainOn
from tutelage.chat.formats import read_conversations, read_preferences, read_tasks
from tutelage.chat.render.template import part_text
from tutelage.config import Settings, SettingsError, suggest, to_plain
from tutelage.corpus.probe import probe_documents
from tutelage.corpus.shards import corpus_files, read_documents
from tutelage.corpus.text import TextSettings, text_documents, text_file
from tutelage.evaluate.questions import Question, read_questions
from tutelage.io.data_files import data_files, describe_splits, held_out_path, split_files
from tutelage.io.row import BrokenRow
from tutelage.io.rows import rows
from tutelage.ledger import Ledger
from tutelage.progress import status
from tutelage.records import AnyPreference, Conversation, Document, Schema, Split, Task, message
from tutelage.text.hashing import file_hash
from tutelage.tokenizer import Tokenizer
from tutelage.world import sums
from tutelage.world.answers import mixed_conversations
from tutelage.world.answers import tasks as world_tasks
from tutelage.world.preferences import KnownUtility, PreferenceSettings
from tutelage.world.preferences import preferences as world_preferences
from tutelage.world.society import World, WorldSettings
from tutelage.world.utility import AnswerTask, Rule


class WorldText(WorldSettings, tag="world", tag_field="kind", frozen=True, kw_only=True):
    """The texts of the built-in world: biographies and pages, for pre-training."""


class WorldChat(Settings, tag="world-chat", tag_field="kind", frozen=True, kw_only=True):
    """Conversations about the people of the built-in world, for fine-tuning.

    split: which half of the people they are about.
    world: the data of kind "world" with these people; the recipe's only one where it is left out.
    """

    split: Literal["train", "held_out"] = "train"
    world: str | None = None


class TextData(TextSettings, tag="text", tag_field="kind", frozen=True, kw_only=True):
    """A text file, for pre-training."""


class DocumentData(Settings, tag="documents", tag_field="kind", frozen=True, kw_only=True):
    """Files of documents, for pre-training or replay: JSON lines, JSON, Parquet or CSV, one document per row. Every
    tenth of the first HELD_OUT_OF rows is held out, or the validation split of a folder that has one.

    path:   a file, a folder of files, or a pattern such as `docs/*.parquet`; a relative one in a recipe is looked for
            beside the recipe.
    column: the field that holds the text.
    """

    path: str
    column: str = "text"


class CorpusData(Settings, tag="corpus", tag_field="kind", frozen=True, kw_only=True):
    """A corpus made by `tutelage curate`, for pre-training.

    path: its folder; a relative one in a recipe is looked for beside the recipe.
    """

    path: str


class ProbeText(Settings, tag="probe", tag_field="kind", frozen=True, kw_only=True):
    """Two dozen short texts of many kinds that come with Tutelage and are never trained on. Forgetting is measured on
    them where a model's training text is not known."""


class ChatData(Settings, tag="chat", tag_field="kind", frozen=True, kw_only=True):
    """Files of conversations, for fine-tuning: JSON lines, JSON, Parquet or CSV, in one of chat.formats.FORMATS.

    path:       a file, a folder of files, or a pattern such as `chats/*.jsonl`; a relative one in a recipe is looked
                for beside the recipe. Of a folder with splits, the training split.
    held_out:   other such files, of held-out conversations; where left out, the validation split of the folder, or a
                share of the rows.
    format:     the format of the rows; detected from each file's first row where left out.
    max_broken: the share of rows that may be broken; they are counted, and more are an error.
    """

    path: str
    held_out: str | None = None
    format: str | None = None
    max_broken: float = 0.0


class PreferenceData(Settings, tag="preferences", tag_field="kind", frozen=True, kw_only=True):
    """Files of preferences, for a reward model, DPO or KTO: JSON lines, JSON, Parquet or CSV, in one of
    chat.formats.preferences.PREFERENCE_FORMATS.

    path, held_out, format, max_broken: as of "chat".
    """

    path: str
    held_out: str | None = None
    format: str | None = None
    max_broken: float = 0.0


class MadeData(Settings, tag="made", tag_field="kind", frozen=True, kw_only=True):
    """The rows that a stage above makes, such as best-of-n, for fine-tuning."""

    stage: str


class WorldPreferences(PreferenceSettings, tag="world-preferences", tag_field="kind", frozen=True, kw_only=True):
    """Preferences about the people of the built-in world, by a labeller whose utility is known.

    world: as in "world-chat".
    """

    world: str | None = None


class WorldAnswers(Settings, tag="world-answers", tag_field="kind", frozen=True, kw_only=True):
    """Questions about the people of the built-in world, each with one answer of random quality: true or false, complete
    or not, polite or not, padded or not. A model that is fine-tuned on them has much to learn from preferences.

    rows: how many. split, rule, world: as in "world-preferences".
    """

    rows: int = 2000
    split: Split = "train"
    rule: Rule = "standard"
    world: str | None = None


class WorldPrompts(Settings, tag="world-prompts", tag_field="kind", frozen=True, kw_only=True):
    """Questions about the people of the built-in world, for a stage that samples: other questions than those of
    "world-preferences". Their gold answers are the values that are asked for.

    rows:  how many.
    split, rule, world: as in "world-preferences".
    """

    rows: int = 500
    split: Split = "train"
    rule: Rule = "standard"
    world: str | None = None


class Prompts(Settings, tag="prompts", tag_field="kind", frozen=True, kw_only=True):
    """Files of prompts: JSON lines, JSON, Parquet or CSV. A stage that samples (GRPO, PPO, best-of-n) reads rows with a
    prompt and, for verifiers, a gold answer (chat.formats.PROMPT_FORMATS). Where no stage names the data, its rows are
    `{"set", "prompt"}`: named sets to evaluate fine-tuned models on.

    path, held_out, max_broken: as of "chat".
    gold_after: the gold answer is what follows the last of these characters, such as "####".
    """

    path: str
    held_out: str | None = None
    gold_after: str | None = None
    max_broken: float = 0.0


class QuestionData(Settings, tag="questions", tag_field="kind", frozen=True, kw_only=True):
    """Questions with answers that a verifier checks, to evaluate a fine-tuned model on; see docs/evaluation.md.

    path: a file of rows with `question` and `answer`.
    """

    path: str


class SumText(Settings, tag="sums", tag_field="kind", frozen=True, kw_only=True):
    """Two-digit additions, worked out, for pre-training.

    share: the first share of all sums, at most 0.9: the last tenth is held out everywhere.
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        check_sums(self.share, "share")


class SumChat(SumText, tag="sums-chat", tag_field="kind", frozen=True, kw_only=True):
    """Two-digit additions as questions and answers, for fine-tuning.

    steps: the share of the answers that are worked out; the others are the result alone.
    """

    steps: float = 0.3


class SumTasks(Settings, tag="sums-tasks", tag_field="kind", frozen=True, kw_only=True):
    """Two-digit additions as prompts with gold answers; the last tenth of all sums is held out.

    start: without the first share of all sums, which other data shows.
    """

    start: float = 0.2

    def __post_init__(self) -> None:
        check_sums(self.start, "start")


def check_sums(share: float, name: str) -> None:
    """SettingsError for a share of the sums that reaches into those that are held out."""
    if not 0 <= share <= sums.TRAINED:
        raise SettingsError(f"{name} is {share}; it is a share of all sums, at most {sums.TRAINED}")


DataSettings = (
    WorldText
    | WorldChat
    | WorldAnswers
    | WorldPreferences
    | WorldPrompts
    | TextData
    | DocumentData
    | CorpusData
    | ProbeText
    | ChatData
    | PreferenceData
    | Prompts
    | SumText
    | SumChat
    | SumTasks
    | QuestionData
    | MadeData
)
OfWorld = WorldChat | WorldAnswers | WorldPreferences | WorldPrompts
# Enough to estimate a loss, and few enough to measure it often during training.
HELD_OUT_EVERY, HELD_OUT_OF = 10, 400
DataTable = Mapping[str, DataSettings]
# Raise it when the readers, or the built-in world, give other rows for the same data: stores are made again.
READING = 3


def find_data(name: str, table: DataTable, where: str) -> DataSettings:
    """The settings of a dataset by its name; SettingsError, which suggests the nearest name, if there is none."""
    if name not in table:
        raise SettingsError(f"{where} names data '{name}', which [data] does not have{suggest(name, table)}")
    return table[name]


def find_world(data: OfWorld, table: DataTable, where: str = "data") -> WorldSettings:
    """The settings of the world that conversations belong to; SettingsError, naming `where`, if there is none."""
    worlds = {name: entry for name, entry in table.items() if isinstance(entry, WorldText)}
    if data.world is not None:
        if data.world not in worlds:
            known = suggest(data.world, worlds)
            raise SettingsError(f"{where}: world = '{data.world}' names no data of kind 'world'{known}")
        return worlds[data.world]
    if len(worlds) != 1:
        kind, count = data.__struct_config__.tag, len(worlds)
        raise SettingsError(
            f"{where}: data of kind '{kind}' needs to know its world, but [data] has {count} of kind 'world'; say "
            'which with world = "NAME"'
        )
    return next(iter(worlds.values()))


def world_of(table: DataTable) -> World | None:
    """The built-in world among a recipe's data, if there is one."""
    worlds = [entry for entry in table.values() if isinstance(entry, WorldText)]
    return World(worlds[0]) if worlds else None


def known_utility(names: Iterable[str], table: DataTable) -> KnownUtility | None:
    """The labeller of the first preferences of the built-in world among some data, else in the whole recipe; None
    where there are none."""
    for name in (*names, *table):
        if isinstance(data := table.get(name), WorldPreferences):
            return KnownUtility(World(find_world(data, table)), data)
    return None


def questions_of(table: DataTable) -> list[Question]:
    """The questions of every file of questions in a recipe, in order."""
    files = [data for data in table.values() if isinstance(data, QuestionData)]
    return [question for data in files for question in read_questions(Path(data.path))]


def holds(data: DataSettings) -> Literal["documents", "conversations", "preferences", "prompts", "questions"]:
    """The kind of rows that some data holds."""
    if isinstance(data, PreferenceData | WorldPreferences):
        return "preferences"
    if isinstance(data, Prompts | SumTasks | WorldPrompts):
        return "prompts"
    if isinstance(data, WorldChat | WorldAnswers | ChatData | SumChat | MadeData):
        return "conversations"
    return "questions" if isinstance(data, QuestionData) else "documents"


def documents(name: str, table: DataTable) -> Iterator[Document]:
    """The documents of some data."""
    data = table[name]
    if isinstance(data, TextData):
        return text_documents(text_file(data, f"data.{name}"), data.tail)
    if isinstance(data, DocumentData):
        return document_rows(data)
    if isinstance(data, CorpusData):
        return chain.from_iterable(map(read_documents, corpus_files(Path(data.path))))
    if isinstance(data, ProbeText):
        return probe_documents()
    if isinstance(data, SumText):
        return sums.documents(data.share)
    assert isinstance(data, WorldText)
    return World(data).documents()


def document_rows(data: DocumentData) -> Iterator[Document]:
    """The rows of files of documents; their ids are their places in the files.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken or has no such text; the sentence names it.
    """
    number = 0
    parts = split_files(Path(data.path))
    for file in chain(parts.train, parts.held_out):
        for place, row in rows(file, lambda row: data.column in row):
            if row is None:
                continue
            if isinstance(row, BrokenRow):
                raise ValueError(f"{file.with_name(place)}: {row}; fix the row or remove it")
            text = row.get(data.column)
            if not isinstance(text, str):
                fields = ", ".join(repr(name) for name in row)
                raise ValueError(f"{file.with_name(place)} has no text '{data.column}' (its fields: {fields})")
            held_out = number < HELD_OUT_OF and number % HELD_OUT_EVERY == 0
            if parts.held_out:
                held_out = file in parts.held_out
            yield Document(text, place, split="held_out" if held_out else "train")
            number += 1


def conversations(name: str, table: DataTable, ledger: Ledger | None = None) -> Iterator[Conversation]:
    """The conversations of some data, those with the chosen or desirable answers of preferences, prompts alone; broken
    rows of a file are counted in `ledger`."""
    data = table[name]
    if isinstance(data, PreferenceData | WorldPreferences):
        yield from (chat for row in preferences(name, table, ledger) if (chat := good_side(row)) is not None)
        return
    if isinstance(data, WorldChat):
        yield from World(find_world(data, table)).conversations(data.split)
        return
    if isinstance(data, MadeData):
        raise ValueError(f"data '{name}' is made by stage '{data.stage}', which is not finished; run it first")
    if isinstance(data, SumChat):
        yield from sums.conversations(data.share, data.steps)
        return
    if isinstance(data, Prompts | SumTasks | WorldPrompts):
        yield from (Conversation(t.prompt, t.id, split=t.split, tools=t.tools) for t in tasks(name, table, ledger))
        return
    if isinstance(data, WorldAnswers):
        yield from mixed_conversations(World(find_world(data, table)), data.split, data.rule, data.rows)
        return
    assert isinstance(data, ChatData)
    yield from _rows_of_files(data, read_conversations, ledger or Ledger(f"{name}: rows of the file"))


def preferences(name: str, table: DataTable, ledger: Ledger | None = None) -> Iterator[AnyPreference]:
    """The preferences of some data; broken rows of a file are counted in `ledger`."""
    data = table[name]
    if isinstance(data, WorldPreferences):
        yield from world_preferences(World(find_world(data, table)), data)
        return
    assert isinstance(data, PreferenceData)
    yield from _rows_of_files(data, read_preferences, ledger or Ledger(f"{name}: rows of the file"))


def tasks(name: str, table: DataTable, ledger: Ledger | None = None) -> Iterator[Task]:
    """The prompts of some data with their gold answers; broken rows of a file are counted in `ledger`."""
    data = table[name]
    if isinstance(data, SumTasks):
        yield from sums.tasks(data.start)
        return
    if isinstance(data, WorldPrompts):
        for question in world_questions(name, table):
            golds = tuple(question.person.facts[attribute] for attribute in question.attributes)
            yield Task((message("user", question.prompt),), golds, question.id)
        return
    assert isinstance(data, Prompts)

    def read(path: Path, ledger: Ledger, max_broken: float, format: str | None, split: Split) -> Iterator[Task]:
        return read_tasks(path, ledger, max_broken, data.gold_after, split)

    yield from _rows_of_files(data, read, ledger or Ledger(f"{name}: rows of the file"))


def world_questions(name: str, table: DataTable) -> Iterator[AnswerTask]:
    """The questions of prompts of the built-in world, as its utility knows them."""
    data = table[name]
    assert isinstance(data, WorldPrompts)
    return world_tasks(World(find_world(data, table)), data.split, data.rule, data.rows, "prompts")


Row = TypeVar("Row", Conversation, AnyPreference, Task)


def _rows_of_files(
    data: ChatData | PreferenceData | Prompts,
    read: Callable[[Path, Ledger, float, str | None, Split], Iterator[Row]],
    ledger: Ledger,
) -> Iterator[Row]:
    """The rows of the data's files; where held-out files are named, each with the part that it belongs to."""
    others, format = held_out_files(data), None if isinstance(data, Prompts) else data.format
    for row in read(Path(data.path), ledger, data.max_broken, format, "train"):
        yield row if others is None else replace(row, split="train")
    if others is not None:
        for row in read(others[0], ledger, data.max_broken, format, others[1]):
            yield replace(row, split="held_out")


def held_out_files(data: ChatData | PreferenceData | Prompts) -> tuple[Path, Split] | None:
    """Where held-out rows are, if they have files of their own: a path, and which of its splits."""
    return held_out_path(Path(data.path), None if data.held_out is None else Path(data.held_out))


def plain_texts(name: str, table: DataTable) -> Iterator[str]:
    """Every text in the data, for a tokenizer to learn from."""
    if holds(table[name]) == "documents":
        yield from (document.text for document in documents(name, table))
    else:
        yield from (part_text(p) for row in conversations(name, table) for m in row.messages for p in m.content)


def identity(name: str, table: DataTable) -> list[object]:
    """Everything that decides what data holds, ready to be fingerprinted: of a file its content, wherever it is."""
    data = table[name]
    if isinstance(data, TextData):
        return [
            READING,
            data.sha256 if data.path is None else file_hash(text_file(data, f"data.{name}")),
            data.tail,
        ]
    if isinstance(data, DocumentData):
        parts = split_files(Path(data.path))
        return [READING, *([file_hash(file) for file in part] for part in (parts.train, parts.held_out)), data.column]
    if isinstance(data, CorpusData):
        return [READING, *map(file_hash, corpus_files(Path(data.path)))]
    if isinstance(data, QuestionData):
        return [READING, [file_hash(file) for file in data_files(Path(data.path))]]
    if isinstance(data, ChatData | PreferenceData | Prompts):
        others = held_out_files(data)
        files = [data_files(Path(data.path)), *([] if others is None else [data_files(*others)])]
        # Else a share is held out, by the rows' names, which depend on the names of the files.
        names = [[file.name for file in files[0]]] if others is None else []
        form = data.gold_after if isinstance(data, Prompts) else data.format
        return [READING, *([file_hash(file) for file in part] for part in files), form, *names]
    if isinstance(data, ProbeText):
        return [READING, "probe"]
    if isinstance(data, MadeData):  # the runner adds the fingerprint of the stage
        return [READING, "made"]
    if isinstance(data, SumText | SumTasks):
        return [READING, to_plain(data)]
    world = find_world(data, table) if isinstance(data, OfWorld) else data
    return [READING, to_plain(data), to_plain(world)]


@dataclass(frozen=True)
class Stores:
    """Where tokenised data is kept, and the share of the rows that is held out."""

    folder: Path
    table: DataTable
    held_out: float

    def text(self, name: str, tokenizer: Tokenizer, context: int) -> SplitStore:
        """The documents of data `name`, both splits."""
        return self._text(name, tokenizer, context, ("train", "held_out"))

    def held_out_text(self, name: str, tokenizer: Tokenizer, context: int) -> Store:
        """The held-out documents of data `name`; only these are tokenised, unless all of them were before."""
        return self._text(name, tokenizer, context, ("held_out",)).held_out

    def _text(self, name: str, tokenizer: Tokenizer, context: int, splits: tuple[Split, ...]) -> SplitStore:
        ledgers = SplitLedgers.of(f"{name}: documents to tokens")
        key = [identity(name, self.table), tokenizer.fingerprint(), context, self.held_out]
        if "train" not in splits and not is_written(self.folder, key):
            key.append("held out only")
        groups = document_groups(documents(name, self.table), tokenizer, context, self.held_out, ledgers, splits)
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


def _with_unread_rows(groups: SplitGroups, files: Ledger, ledger: Ledger) -> SplitGroups:
    """The groups; at their end, rows that could not be read are added to the ledger as dropped."""
    yield from groups
    ledger.merge(Ledger(ledger.step, rows_read=files.rows_dropped, dropped=files.dropped, noted=files.noted))
