"""What a recipe can name as data, and its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Literal

from tutelage.batching.preferences import good_side
from tutelage.chat.formats import read_conversations, read_preferences, read_tasks
from tutelage.chat.render.template import part_text, tools_in_system
from tutelage.config import Settings, SettingsError, suggest, to_plain
from tutelage.corpus.probe import probe_documents
from tutelage.corpus.shards import corpus_files, read_documents
from tutelage.corpus.text import text_documents, text_file
from tutelage.evaluate.benchmarks.run import digests, find_benchmarks
from tutelage.evaluate.questions import Question, read_questions
from tutelage.evaluate.session import BenchmarkSource
from tutelage.io.data_files import data_files, split_files
from tutelage.ledger import Ledger
from tutelage.records import AnyPreference, Conversation, Document, Labelled, Split, Task, message
from tutelage.stages.data_files import (
    BenchmarkData,
    ChatData,
    CorpusData,
    DocumentData,
    PreferenceData,
    ProbeText,
    Prompts,
    QuestionData,
    TextData,
    document_rows,
    held_out_files,
    rows_of_files,
)
from tutelage.stages.data_labelled import LabelledData, labelled_rows
from tutelage.stages.data_world import (
    CardChat,
    CardTasks,
    OfWorld,
    SumChat,
    SumTasks,
    SumText,
    WorldAgents,
    WorldAgentTasks,
    WorldAnswers,
    WorldChat,
    WorldPreferences,
    WorldProbe,
    WorldPrompts,
    WorldReading,
    WorldTasks,
    WorldText,
    WorldTools,
    find_world,
    world_questions,
)
from tutelage.text.hashing import file_hash
from tutelage.tools.agent_tasks import agent_prompts
from tutelage.tools.agents import agent_conversations
from tutelage.tools.world_conversations import tool_conversations
from tutelage.tools.world_pages import world_index
from tutelage.world import cards, sums
from tutelage.world.answers import mixed_conversations
from tutelage.world.joined import joined
from tutelage.world.preferences import preferences as world_preferences
from tutelage.world.probe_tasks import probe_tasks
from tutelage.world.reading import reading_documents
from tutelage.world.society import World
from tutelage.world.tasks import question_tasks


class MadeData(Settings, tag="made", tag_field="kind", frozen=True, kw_only=True):
    """The rows that a stage above makes, such as best-of-n, for fine-tuning."""

    stage: str


DataSettings = (
    WorldText
    | WorldChat
    | WorldReading
    | WorldTools
    | WorldAgents
    | WorldAgentTasks
    | WorldProbe
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
    | CardChat
    | CardTasks
    | WorldTasks
    | QuestionData
    | BenchmarkData
    | LabelledData
    | MadeData
)

OfTasks = SumTasks | CardTasks | WorldPrompts | WorldProbe | WorldTasks | WorldAgentTasks
DataTable = Mapping[str, DataSettings]

# Raise it when the readers, or the built-in world, give other rows for the same data: stores are made again.
READING = 4
# Raise it when only texts for reading, tools and probing of the built-in world change.
WORLD_TEXTS = 2
JOINED_CALLS = 3  # conversations with tools in one, at most: each has a result


def find_data(name: str, table: DataTable, where: str) -> DataSettings:
    """The settings of a dataset by its name; SettingsError, which suggests the nearest name, if there is none."""
    if name not in table:
        raise SettingsError(f"{where} names data '{name}', which [data] does not have{suggest(name, table)}")
    return table[name]


def questions_of(table: DataTable) -> list[Question]:
    """The questions of every file of questions in a recipe, in order."""
    files = [data for data in table.values() if isinstance(data, QuestionData)]
    return [question for data in files for question in read_questions(Path(data.path))]


def benchmarks_of(table: DataTable) -> list[BenchmarkSource]:
    """The benchmarks that a recipe names, in order."""
    found = [data for data in table.values() if isinstance(data, BenchmarkData)]
    return [BenchmarkSource(data.suites, Path(data.path), data.limit) for data in found]


def holds(
    data: DataSettings,
) -> Literal["documents", "conversations", "preferences", "prompts", "questions", "labelled"]:
    """The kind of rows that some data holds."""
    if isinstance(data, LabelledData):
        return "labelled"
    if isinstance(data, PreferenceData | WorldPreferences):
        return "preferences"
    if isinstance(data, Prompts | OfTasks):
        return "prompts"
    if isinstance(data, WorldChat | WorldTools | WorldAgents | WorldAnswers | ChatData | SumChat | CardChat | MadeData):
        return "conversations"
    return "questions" if isinstance(data, QuestionData | BenchmarkData) else "documents"


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
    if isinstance(data, WorldReading):
        return reading_documents(World(find_world(data, table)), data.documents, data.form)
    assert isinstance(data, WorldText)
    return World(data).documents()


def conversations(name: str, table: DataTable, ledger: Ledger | None = None) -> Iterator[Conversation]:
    """The conversations of some data, those with the chosen or desirable answers of preferences, prompts alone; broken
    rows of a file are counted in `ledger`."""
    data = table[name]
    if isinstance(data, PreferenceData | WorldPreferences):
        yield from (chat for row in preferences(name, table, ledger) if (chat := good_side(row)) is not None)
        return
    if isinstance(data, WorldChat):
        world = World(find_world(data, table))
        rows = world.conversations(data.split)
        yield from joined(rows, data.joined, world.settings.seed) if data.joined else rows
        return
    if isinstance(data, WorldTools):
        world = World(find_world(data, table))
        index = world_index(world, data.indexed)
        rows = tool_conversations(world, index, data.rows, data.indexed, data.split)
        yield from joined(rows, data.joined, world.settings.seed, JOINED_CALLS) if data.joined else rows
        return
    if isinstance(data, WorldAgents):
        world = World(find_world(data, table))
        yield from agent_conversations(world, world_index(world, data.indexed), data.rows, data.indexed, data.split)
        return
    if isinstance(data, MadeData):
        raise ValueError(f"data '{name}' is made by stage '{data.stage}', which is not finished; run it first")
    if isinstance(data, SumChat):
        yield from sums.conversations(data.share, data.steps)
        return
    if isinstance(data, CardChat):
        yield from cards.conversations(data.share, data.rule)
        return
    if isinstance(data, Prompts | OfTasks):
        yield from (Conversation(t.prompt, t.id, split=t.split, tools=t.tools) for t in tasks(name, table, ledger))
        return
    if isinstance(data, WorldAnswers):
        yield from mixed_conversations(World(find_world(data, table)), data.split, data.rule, data.rows)
        return
    assert isinstance(data, ChatData)
    yield from rows_of_files(data, read_conversations, ledger or Ledger(f"{name}: rows of the file"))


def preferences(name: str, table: DataTable, ledger: Ledger | None = None) -> Iterator[AnyPreference]:
    """The preferences of some data; broken rows of a file are counted in `ledger`."""
    data = table[name]
    if isinstance(data, WorldPreferences):
        yield from world_preferences(World(find_world(data, table)), data)
        return
    assert isinstance(data, PreferenceData)
    yield from rows_of_files(data, read_preferences, ledger or Ledger(f"{name}: rows of the file"))


def tasks(name: str, table: DataTable, ledger: Ledger | None = None) -> Iterator[Task]:
    """The prompts of some data with their gold answers; broken rows of a file are counted in `ledger`."""
    data = table[name]
    if isinstance(data, SumTasks):
        yield from sums.tasks(data.start)
        return
    if isinstance(data, CardTasks):
        yield from cards.tasks(data.start, data.rule, data.held_out_rule)
        return
    if isinstance(data, WorldTasks):
        yield from question_tasks(World(find_world(data, table)), data.hops, data.facts)
        return
    if isinstance(data, WorldProbe):
        yield from probe_tasks(World(find_world(data, table)), data.facts, data.unknown)
        return
    if isinstance(data, WorldAgentTasks):
        world = World(find_world(data, table))
        yield from agent_prompts(world, data.rows, data.indexed, "train", data.start)
        yield from agent_prompts(world, data.held_out, data.indexed, "held_out")
        return
    if isinstance(data, WorldPrompts):
        for question in world_questions(name, table):
            golds = tuple(question.person.facts[attribute] for attribute in question.attributes)
            yield Task((message("user", question.prompt),), golds, question.id)
        return
    assert isinstance(data, Prompts)

    def read(path: Path, ledger: Ledger, max_broken: float, format: str | None, split: Split) -> Iterator[Task]:
        return read_tasks(path, ledger, max_broken, data.gold_after, split)

    yield from rows_of_files(data, read, ledger or Ledger(f"{name}: rows of the file"))


def labelled_data(name: str, table: DataTable) -> Iterator[Labelled]:
    """The labelled rows of some data."""
    data = table[name]
    assert isinstance(data, LabelledData)
    return labelled_rows(data)


def plain_texts(name: str, table: DataTable) -> Iterator[str]:
    """Every text in the data, for a tokenizer to learn from."""
    if holds(table[name]) == "documents":
        yield from (document.text for document in documents(name, table))
    elif holds(table[name]) == "labelled":
        yield from (text for row in labelled_data(name, table) for text in (row.text, row.second) if text)
    else:
        for row in conversations(name, table):
            yield from (part_text(part) for turn in tools_in_system(row).messages for part in turn.content)


def _identity_of_items(data: QuestionData | BenchmarkData) -> list[object]:
    if isinstance(data, QuestionData):
        return [[file_hash(file) for file in data_files(Path(data.path))]]
    found = find_benchmarks(data.suites, Path(data.path)).values()
    return [list(data.suites), data.limit, *(digests(benchmark, files) for benchmark, files in found)]


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
    if isinstance(data, QuestionData | BenchmarkData):
        return [READING, *_identity_of_items(data)]
    if isinstance(data, ChatData | PreferenceData | Prompts | LabelledData):
        others = held_out_files(data)
        files = [data_files(Path(data.path)), *([] if others is None else [data_files(*others)])]
        # Else a share is held out, by the rows' names, which depend on the names of the files.
        names = [[file.name for file in files[0]]] if others is None else []
        form = data.gold_after if isinstance(data, Prompts) else getattr(data, "format", "labelled")
        return [READING, *([file_hash(file) for file in part] for part in files), form, *names]
    if isinstance(data, ProbeText):
        return [READING, "probe"]
    if isinstance(data, MadeData):  # the runner adds the fingerprint of the stage
        return [READING, "made"]
    if isinstance(data, SumText | SumTasks | CardChat | CardTasks):
        return [READING, to_plain(data)]
    world = find_world(data, table) if isinstance(data, OfWorld) else data
    texts = [WORLD_TEXTS] if isinstance(data, WorldReading | WorldTools | WorldAgents | WorldProbe) else []
    return [READING, *texts, to_plain(data), to_plain(world)]
