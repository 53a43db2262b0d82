"""One pass over the conversations: of each a few numbers and two signatures are kept, and none of its text."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np

from tutelage.chat.audit import answers
from tutelage.chat.audit.answers import Exchange
from tutelage.chat.audit.claims import REFUSED, Decided, claim
from tutelage.chat.audit.identity import Identities, claims
from tutelage.chat.audit.language import LOOKED_AT, PURE, SCRIPTS, answers_elsewhere, script_of
from tutelage.chat.audit.marks import Marks
from tutelage.chat.audit.report import EXAMPLES, excerpt
from tutelage.chat.audit.tokens import Tokens
from tutelage.chat.render.template import part_text
from tutelage.corpus.minhash import shingles, signatures, text_hashes, token_hashes
from tutelage.corpus.overlap import Examined, coverage
from tutelage.records import Conversation, Message, Text, ToolCall

AT_ONCE = 128  # conversations; more of them do not fit into a processor's cache
SAMPLE, SAMPLED = 200, 500  # texts whose language is looked at, and characters of each
_OPENING_WORDS = 3
_OPENINGS_KEPT = 50_000

# What is seen in one answer by itself.
CHECKS: dict[str, Callable[[Exchange], int]] = {
    "refusal": answers.refusal,
    "placeholder": answers.placeholder,
    "hollow answer": answers.hollow,
    "copied prompt": answers.copied,
    "truncated": answers.cut_off,
}
# A loose end is prose that ends on no mark, which says something only where all else does.
FLAGS = (*CHECKS, "special token", "other language", "loose end")
_BIT = {name: 1 << number for number, name in enumerate(FLAGS)}

# What is kept of a conversation: a hash of it all; a hash of what the users say, without regard to case and white
# space; its flags, bits in the order of FLAGS; its script, an index into SCRIPTS; the characters that are read,
# those of them that the users write, what the assistant writes, and, where the last answer ends on no mark, of that
# answer; and what `overlap.coverage` finds.
FACTS = np.dtype(
    [
        ("exact", np.int64),
        ("prompt", np.int64),
        ("flags", np.uint16),
        ("script", np.uint8),
        ("read", np.int32),
        ("asked", np.int32),
        ("said", np.int32),
        ("ending", np.int32),
        ("covered", np.float32),
        ("covering", np.int32),
    ]
)


GIST = "\0"


class Shown(NamedTuple):
    """An example: a row, its place, the words that show what is wrong, and another row it is like (-1 for none). Where
    no place is given the row is read again for it, and GIST in the words stands for what it asks and says."""

    row: int
    place: str = ""
    words: str = ""
    other: int = -1


@dataclass(eq=False)
class Notes:
    """What is counted over all conversations, and the first examples of each flag."""

    examples: dict[str, list[Shown]] = field(default_factory=lambda: defaultdict(list))
    identities: Identities = field(default_factory=Identities)
    openings: Counter[str] = field(default_factory=Counter)
    sample: list[str] = field(default_factory=list)
    answers: int = 0
    prose: int = 0
    finished: int = 0

    def show(self, name: str, row: int, place: str, text: str, at: int) -> None:
        """Keeps an example, while there are few of its kind."""
        kept = self.examples[name]
        if len(kept) < EXAMPLES and (not kept or kept[-1].row != row):
            kept.append(Shown(row, place, excerpt(text, at)))


@dataclass(eq=False)
class Scanned:
    """What is kept of N conversations: their facts, FACTS[N]; the signatures of what the users say in each and of what
    the assistant does, uint16[N, 64] each; what their answers decide; and what was counted over all of them."""

    facts: np.ndarray
    asked: np.ndarray
    said: np.ndarray
    decided: Decided
    notes: Notes

    def flagged(self, name: str) -> np.ndarray:
        """The numbers of the conversations that have a flag."""
        return np.flatnonzero(self.facts["flags"] & _BIT[name])


def scan(
    conversations: Iterable[Conversation],
    marks: Marks | None = None,
    wanted: Examined | None = None,
    tokens: Tokens | None = None,
) -> Scanned:
    """Look at every conversation once. `wanted` is what evaluations ask; `tokens` renders for a model, and counts."""
    marks, notes, draw = marks or Marks(), Notes(), random.Random(0)
    facts, asked, said = [np.empty(0, FACTS)], [_none()], [_none()]
    decided = [np.empty((0, 3), np.int64)]
    row = 0
    for chunk in _chunks(conversations):
        texts: list[str] = []
        looked = []
        decisions: list[tuple[int, int, int]] = []
        for number, conversation in enumerate(chunk, row):
            sides = _sides(conversation)
            texts += sides
            looked.append(_look(conversation, number, *sides, marks, notes, decisions))
            _sample(notes, sides[1], number, draw)
        _note_openings(notes.openings, texts[::2])
        facts.append(np.array(looked, FACTS))
        decided.append(np.array(decisions, np.int64).reshape(-1, 3))
        hashed = token_hashes(texts)
        facts[-1]["prompt"] = text_hashes(hashed)[::2].view(np.int64)
        signed = signatures(shingles(hashed))
        asked.append(signed[::2].copy())
        said.append(signed[1::2].copy())
        if wanted:
            covered, covering = coverage(hashed, wanted)
            better = np.arange(0, len(texts), 2) + (covered[1::2] > covered[::2])
            facts[-1]["covered"], facts[-1]["covering"] = covered[better], covering[better]
        if tokens:
            tokens.add(chunk)
        row += len(chunk)
    joined = np.concatenate(decided)
    # The pieces are let go one list after the other, so that no more than one is there twice.
    made = [np.concatenate(pieces) for pieces in _emptied(facts, asked, said)]
    return Scanned(made[0], made[1], made[2], Decided(joined[:, 0], joined[:, 1], joined[:, 2]), notes)


def _none() -> np.ndarray:
    return np.empty((0, 64), np.uint16)


def _emptied(*lists: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    for pieces in lists:
        yield pieces
        pieces.clear()


def _chunks(conversations: Iterable[Conversation]) -> Iterator[list[Conversation]]:
    rows = iter(conversations)
    while chunk := list(islice(rows, AT_ONCE)):
        yield chunk


def text_of(message: Message) -> str:
    """`Message.text`, without its loop where there is nothing to join."""
    content = message.content
    return content[0].text if len(content) == 1 and isinstance(content[0], Text) else message.text


def _sides(conversation: Conversation) -> tuple[str, str]:
    """What the users say, and what the assistant does. What the system says is left out: many share it, and whether two
    conversations are alike is not decided by it."""
    users = [text_of(one) for one in conversation.messages if one.role == "user"]
    answers = []
    for one in conversation.messages:
        if one.role == "assistant":
            answers.append(text_of(one))
            if len(one.content) > 1 or isinstance(one.content[0], ToolCall):
                answers += [part_text(part) for part in one.content if isinstance(part, ToolCall)]
    return "\n".join(users), "\n".join(answers)


def _look(
    conversation: Conversation,
    row: int,
    users: str,
    assistant: str,
    marks: Marks,
    notes: Notes,
    decisions: list[tuple[int, int, int]],
) -> tuple[int, int, int, int, int, int, int, int, float, int]:
    """The facts of one conversation; what its answers decide is added to `decisions`; what is found for many at once is
    filled in later."""
    flags = read = 0
    context = hash(conversation.tools)
    asked = ""
    for message in conversation.messages:
        text = text_of(message)
        if (at := marks.find(text)) >= 0:
            flags |= _BIT["special token"]
            notes.show("special token", row, conversation.id, text, at)
        if message.role == "assistant":
            own = _look_at_answer(message, asked, text, row, conversation.id, notes)
            told = REFUSED if own & _BIT["refusal"] else claim(text)
            decisions.append((row, context, hash(told) if told else 0))
            flags, asked = flags | own, ""
        else:
            asked = text if message.role == "user" else ""
            read += len(text)
        context = hash((context, message.role, message.content))
    script = "Latin" if users.isascii() and assistant.isascii() else _common_script(users, assistant)
    ending = 0 if not text or answers.ends_with_mark(text) else len(text)
    return context, 0, flags, SCRIPTS.index(script), read, len(users), len(assistant), ending, 0.0, -1


def _look_at_answer(message: Message, asked: str, text: str, row: int, place: str, notes: Notes) -> int:
    """The flags of one answer."""
    notes.answers += 1
    if not text:
        return 0
    flags = 0
    exchange = Exchange(asked, text, text.lower())
    for name, check in CHECKS.items():
        if name == "truncated" and isinstance(message.content[-1], ToolCall):
            continue  # the call is the end
        if (at := check(exchange)) >= 0:
            flags |= _BIT[name]
            notes.show(name, row, place, f"{excerpt(asked)} -> {text}" if name == "hollow answer" else text, at)
    if answers_elsewhere(asked, text):
        flags |= _BIT["other language"]
        notes.show("other language", row, place, f"{excerpt(asked)} -> {text}", 0)
    notes.identities.add(row, claims(text, exchange.lower))
    if answers.is_prose(text):
        notes.prose += 1
        if answers.ends_with_mark(text):
            notes.finished += 1
        elif not flags & _BIT["truncated"] and not answers.ends_with_name(text):
            flags |= _BIT["loose end"]
            notes.show("loose end", row, place, text, max(0, len(text) - 100))
    return flags


def _common_script(asked: str, said: str) -> str:
    # At both ends: a conversation may change its language on its way.
    found = {script_of(text, PURE) for text in (asked, said, asked[-LOOKED_AT:], said[-LOOKED_AT:])}
    return found.pop() if len(found) == 1 else ""


def _sample(notes: Notes, text: str, row: int, draw: random.Random) -> None:
    """Every conversation is as likely to be in the sample as any other (reservoir sampling)."""
    if row < SAMPLE:
        notes.sample.append(text[:SAMPLED])
    elif (place := draw.randrange(row + 1)) < SAMPLE:
        notes.sample[place] = text[:SAMPLED]


def _note_openings(openings: Counter[str], prompts: list[str]) -> None:
    for prompt in prompts:
        words = prompt[:200].split(None, _OPENING_WORDS)[:_OPENING_WORDS]
        openings[" ".join(words).lower()] += 1
    if len(openings) > 2 * _OPENINGS_KEPT:  # so that memory does not grow with the file; the rare ones do not matter
        kept = openings.most_common(_OPENINGS_KEPT)
        openings.clear()
        openings.update(dict(kept))


def told_by(conversation: Conversation) -> Iterator[str]:
    """What each answer of a conversation decides, in order; nothing where it was invited to make something up."""
    asked = ""
    for message in conversation.messages:
        text = text_of(message)
        if message.role == "assistant":
            refused = bool(text) and answers.refusal(Exchange(asked, text, text.lower())) >= 0
            yield REFUSED if refused else claim(text, asked)
        asked = text if message.role == "user" else ""
