"""Data that Tutelage makes itself: the built-in world, and sums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from tutelage.config import Settings, SettingsError, suggest
from tutelage.records import Split
from tutelage.world import sums
from tutelage.world.answers import tasks as world_tasks
from tutelage.world.cards import CardRule
from tutelage.world.preferences import KnownUtility, PreferenceSettings
from tutelage.world.reading import ReadingForm
from tutelage.world.society import World, WorldSettings
from tutelage.world.tasks import Hops
from tutelage.world.utility import AnswerTask, Rule


class WorldText(WorldSettings, tag="world", tag_field="kind", frozen=True, kw_only=True):
    """The texts of the built-in world: biographies and pages, for pre-training."""


class WorldChat(Settings, tag="world-chat", tag_field="kind", frozen=True, kw_only=True):
    """Conversations about the people of the built-in world, for fine-tuning.

    split: which half of the people they are about.
    joined: the share of rows that are two to four conversations in one, so that the subject changes.
    world: the data of kind "world" with these people; the recipe's only one where it is left out.
    """

    split: Literal["train", "held_out"] = "train"
    joined: float = 0.0
    world: str | None = None

    def __post_init__(self) -> None:
        check_share(self.joined, "joined")


class WorldReading(Settings, tag="world-reading", tag_field="kind", frozen=True, kw_only=True):
    """Texts about people who occur once, for pre-training, beside data of kind "world".

    documents: how many.
    form:      "lists" are repeated in another order, and teach to copy; "sheets" of facts have questions about them,
               as answers from the results of a search need; "biographies" are as those of "world", but half of the
               facts are "not recorded": a model learns to tell names that it has read often from others.
    world:     as in "world-chat".
    """

    documents: int = 2000
    form: ReadingForm = "sheets"
    world: str | None = None

    def __post_init__(self) -> None:
        check_count(self.documents, "documents")


class WorldTools(Settings, tag="world-tools", tag_field="kind", frozen=True, kw_only=True):
    """Conversations of the built-in world that call a search and a calculator where they are needed, for fine-tuning.

    rows:    how many.
    indexed: how many people of each half are known to the search alone.
    joined:  the share of the rows that are two or three conversations, one after the other: the schemas of the tools
             are read once for all of them.
    split, world: as in "world-chat".
    """

    rows: int = 2000
    indexed: int = 500
    joined: float = 0.0
    split: Split = "train"
    world: str | None = None

    def __post_init__(self) -> None:
        check_count(self.rows, "rows")
        check_count(self.indexed, "indexed")
        check_share(self.joined, "joined")


class WorldAgents(Settings, tag="world-agents", tag_field="kind", frozen=True, kw_only=True):
    """Conversations of an assistant with search and a notebook and a simulated user, in the built-in world, for
    fine-tuning. Each passes a rubric that is checked in code.

    rows, indexed, split, world: as in "world-tools".
    """

    rows: int = 1000
    indexed: int = 500
    split: Split = "train"
    world: str | None = None

    def __post_init__(self) -> None:
        check_count(self.rows, "rows")
        check_count(self.indexed, "indexed")


class WorldAgentTasks(Settings, tag="world-agent-tasks", tag_field="kind", frozen=True, kw_only=True):
    """The tasks of "world-agents" as prompts, for a stage that samples with `environment = "world-agents"`.

    rows:     how many tasks, none of which is in "world-agents" with at most `start` rows.
    start:    the number of the first task.
    held_out: how many further tasks are held out; they are about other people.
    indexed, world: as in "world-tools".
    """

    rows: int = 500
    start: int = 0
    held_out: int = 300
    indexed: int = 500
    world: str | None = None

    def __post_init__(self) -> None:
        check_count(self.rows, "rows")
        check_count(self.indexed, "indexed")
        if self.start < 0 or self.held_out < 0:
            raise SettingsError("start and held_out are numbers of tasks, at least 0")


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


class WorldTasks(Settings, tag="world-tasks", tag_field="kind", frozen=True, kw_only=True):
    """Questions about the people of the built-in world as prompts with gold answers; half of the people are held out.
    Their verifier is "tutelage.world.tasks:names_value".

    hops:  "two-step" questions need two facts to be put together.
    facts: questions about each person, at most: of 7 one-step and 4 two-step ones.
    world: as in "world-chat".
    """

    hops: Hops = "one-step"
    facts: int = 4
    world: str | None = None

    def __post_init__(self) -> None:
        if self.facts < 1:
            raise SettingsError(f"facts is {self.facts}; it is a number of questions, at least 1")


class WorldProbe(Settings, tag="world-probe", tag_field="kind", frozen=True, kw_only=True):
    """Questions about people of the built-in world whom the model has only read of, and about names that do not exist,
    for a stage that probes. The other held-out people are left for evaluations to report on.

    facts:   questions about each person, at most; a person has 7.
    unknown: questions about nonexistent names, each about another one.
    world:   as in "world-chat".
    """

    facts: int = 7
    unknown: int = 400
    world: str | None = None

    def __post_init__(self) -> None:
        check_count(self.facts, "facts")


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


class CardChat(Settings, tag="cards-chat", tag_field="kind", frozen=True, kw_only=True):
    """Sums of a number and a card as questions, which state what the cards count, and answers, for fine-tuning.

    share: the first share of all such sums, at most 0.9: the last tenth is held out everywhere.
    rule:  J, Q and K count 10 each ("tens"), or 11, 12 and 13 ("ranks").
    """

    share: float = 0.5
    rule: CardRule = "tens"

    def __post_init__(self) -> None:
        check_sums(self.share, "share")


class CardTasks(Settings, tag="cards-tasks", tag_field="kind", frozen=True, kw_only=True):
    """Sums of a number and a card as prompts with gold answers; the last tenth of all such sums is held out.

    start, rule:   without the first share of all; as in "cards-chat".
    held_out_rule: the rule of those that are held out: out of distribution where it is another.
    """

    start: float = 0.5
    rule: CardRule = "tens"
    held_out_rule: CardRule = "tens"

    def __post_init__(self) -> None:
        check_sums(self.start, "start")


def check_share(share: float, name: str) -> None:
    """Raise SettingsError for a share of the rows that is none."""
    if not 0 <= share <= 1:
        raise SettingsError(f"{name} is {share}; it is a share of the rows, from 0 to 1")


def check_count(count: int, name: str) -> None:
    """SettingsError for a number below 1."""
    if count < 1:
        raise SettingsError(f"{name} is {count}; it must be at least 1")


def check_sums(share: float, name: str) -> None:
    """SettingsError for a share of the sums that reaches into those that are held out."""
    if not 0 <= share <= sums.TRAINED:
        raise SettingsError(f"{name} is {share}; it is a share of all sums, at most {sums.TRAINED}")


OfWorld = (
    WorldChat
    | WorldReading
    | WorldTools
    | WorldAgents
    | WorldAgentTasks
    | WorldProbe
    | WorldAnswers
    | WorldPreferences
    | WorldPrompts
    | WorldTasks
)


def find_world(data: OfWorld, table: Mapping[str, Settings], where: str = "data") -> WorldSettings:
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


def world_of(table: Mapping[str, Settings]) -> World | None:
    """The built-in world among a recipe's data, if there is one."""
    worlds = [entry for entry in table.values() if isinstance(entry, WorldText)]
    return World(worlds[0]) if worlds else None


def known_utility(names: Iterable[str], table: Mapping[str, Settings]) -> KnownUtility | None:
    """The labeller of the first preferences of the built-in world among some data, else in the whole recipe; None
    where there are none."""
    for name in (*names, *table):
        if isinstance(data := table.get(name), WorldPreferences):
            return KnownUtility(World(find_world(data, table)), data)
    return None


def world_questions(name: str, table: Mapping[str, Settings]) -> Iterator[AnswerTask]:
    """The questions of prompts of the built-in world, as its utility knows them."""
    data = table[name]
    assert isinstance(data, WorldPrompts)
    return world_tasks(World(find_world(data, table)), data.split, data.rule, data.rows, "prompts")
