"""What a synthesis method is: it turns a row into questions for a model, and the replies into new rows.

A method is a class of settings with two functions without side effects, `asks` and `reads`; one that asks several times
is a generator, `steps`, which yields questions and is sent their replies. The runner owns order, cache, budget, resume
and ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from tutelage.config import Settings
from tutelage.world.keyed_random import KeyedRandom

T = TypeVar("T")
RowKind = Literal["documents", "prompts", "conversations", "preferences"]
Row = dict[str, Any]
Turn = Mapping[str, str]


class Ask(NamedTuple):
    """One question to a model.

    messages: of the prompt, as {"role", "content"}.
    purpose:  what is asked for, in a word; the world's oracle answers by it, and the report counts cost by it.
    sampling: fields of the request, such as {"temperature": 0.7}; those of a recipe replace them.
    sample:   its number, where one prompt is asked several times.
    model:    "teacher", or another entry of the recipe's [models]; the teacher answers for one that is not there.
    about:    the material of the question; sent to nobody, and read by the world's oracle only.
    """

    messages: tuple[Turn, ...]
    purpose: str = "answer"
    sampling: Mapping[str, Any] = {}
    sample: int = 0
    model: str = "teacher"
    about: Any = None


def ask(text: str, purpose: str = "answer", about: Any = None, system: str = "", **fields: Any) -> Ask:
    """A question of one user message, with a system message where given. `fields` are those of `Ask`."""
    before = ({"role": "system", "content": system},) if system else ()
    return Ask((*before, {"role": "user", "content": text}), purpose, about=about, **fields)


class Drop(Exception):
    """Why a row is not made, in a few words that can be counted, with the text that shows it; returned or raised."""

    detail = ""  # what exactly is wrong, where the reason alone does not say it

    def __init__(self, reason: str, raw: str = "") -> None:
        super().__init__(reason)
        self.reason, self.raw = reason, raw


class Unparsable(Drop):
    """A reply that is not in the form that was asked for. `detail` says what is wrong, for the model and for people."""

    def __init__(self, detail: str, raw: str) -> None:
        super().__init__("unparsable", raw)
        self.detail = detail


@dataclass(frozen=True)
class Reply:
    """A model's reply to an ask.

    text:      without its reasoning; raw: all of it.
    reasoning: what it wrote between <think> and </think>.
    finish:    why it ended: "stop", "length" ...
    tokens:    of the prompt and of the completion.
    drop:      why it cannot be used: no answer, cut off, empty.
    choice:    all that came with it, such as log-probabilities.
    """

    ask: Ask
    text: str
    raw: str
    reasoning: str = ""
    finish: str = "stop"
    tokens: tuple[int, int] = (0, 0)
    model: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    drop: Drop | None = None
    choice: Mapping[str, Any] = field(default_factory=dict)


class New(NamedTuple):
    """A row that a method makes. `reply`: the one that it was read from, by default the last; `verdicts`: what was
    found out about it, for its lineage."""

    row: Row
    reply: Reply | None = None
    verdicts: Mapping[str, Any] = {}


Made = Sequence[New | Drop]
Steps = Generator[Sequence[Ask], list[Reply], Made]


@dataclass(frozen=True)
class At:
    """Where a method is.

    number: of the item, from 0.
    seed:   of the recipe.
    seeds:  the input rows of a method that draws from them.
    pool:   the rows that were kept before this round, for the same methods.
    known:  why a prompt is not new, by `max_rouge`, among the seeds and the pool; None if it is.
    """

    number: int = 0
    seed: int = 0
    seeds: Sequence[Row] = ()
    pool: Sequence[Row] = ()
    known: Callable[[str], Drop | None] = lambda prompt: None

    def random(self, *key: int | str) -> KeyedRandom:
        """Random choices of this item; another key gives others."""
        return KeyedRandom("synth", self.seed, self.number, *key)


class Method(Settings, frozen=True, kw_only=True):
    """A synthesis method: an entry of a synthesis recipe, whose `method` names it.

    takes, makes: the kind of its input rows and of the rows that it makes.
    draws:   whether its items are numbers 0, 1, 2 ... instead of the input rows, from which it draws its examples.
    partial: whether it reads an item some of whose replies are missing or cut off.

    sampling:  fields of every request, over the method's own: {temperature = 0.7, max_tokens = 512}.
    count:     stop after this many kept rows.
    max_rouge: drop a row whose prompt has a larger ROUGE-L F score with that of any kept row, or of any seed.
    ask_again: once, with the error named, where a reply is not in the form that was asked for.
    """

    takes: ClassVar[RowKind]
    makes: ClassVar[RowKind]
    draws: ClassVar[bool] = False
    partial: ClassVar[bool] = False

    sampling: dict[str, Any] = {}
    count: int | None = None
    max_rouge: float | None = None
    ask_again: bool = True

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        """The questions about a row."""
        raise NotImplementedError

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        """The rows of the replies, which are in the order of the questions; raises Drop where there are none."""
        raise NotImplementedError

    def steps(self, row: Row, at: At) -> Steps:
        """Asks, and reads; a single reply that is not in the form that was asked for is asked for once more."""
        asks = self.asks(row, at)
        if len(asks) == 1:
            return (yield from read_of(asks[0], lambda reply: self.reads(row, [reply], at), self.ask_again))
        replies = yield asks
        return self.reads(row, replies, at)


def read_of(asked: Ask, read: Callable[[Reply], T], ask_again: bool) -> Generator[Sequence[Ask], list[Reply], T]:
    """What `read` makes of the reply to a question. With `ask_again` it is asked once more, with the error named, where
    the reply is not in the form that was asked for."""
    [reply] = yield [asked]
    try:
        return read(reply)
    except Unparsable as error:
        if not ask_again:
            raise
        [reply] = yield [again(asked, error)]
    return read(reply)


def each(replies: Iterable[Reply], read: Callable[[Reply], New]) -> list[New | Drop]:
    """The row of each reply; where it cannot be used or read, why."""
    made: list[New | Drop] = []
    for reply in replies:
        try:
            made.append(reply.drop or read(reply))
        except Drop as drop:
            made.append(drop)
    return made


def again(asked: Ask, error: Unparsable) -> Ask:
    """The question once more, with the reply and what is wrong with it."""
    fix = f"I cannot read that: {error.detail}. Write it again in the form that I asked for, and nothing else."
    turns = ({"role": "assistant", "content": error.raw}, {"role": "user", "content": fix})
    return asked._replace(messages=(*asked.messages, *turns))
