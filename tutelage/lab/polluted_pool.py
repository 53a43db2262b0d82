"""A pool of rows as raw data is: a fifth is good; the rest is wrong, nearly copied or trivial. Each row's kind is
known, so that a filter is without error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle, islice
from typing import Literal

from tutelage.lab.world_rows import demo_world
from tutelage.world.everyday import EXCHANGES
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.person_questions import ask_one_step
from tutelage.world.values import ATTRIBUTES, VALUES

RowKind = Literal["good", "wrong", "near copy", "trivial"]
# Of five rows; trivial ones are two.
PATTERN: tuple[RowKind, ...] = ("good", "wrong", "near copy", "trivial", "trivial")
COPIED, GREETINGS = 20, 4  # originals that all near copies are of; exchanges that all trivial rows are
EDITS = ("{}", " {}", "{} ", "{} Please.", "Please: {}", "Hello. {}", "{} Thank you.", "Question: {}")


@dataclass(frozen=True)
class PooledRow:
    """A row and its kind."""

    prompt: str
    completion: str
    kind: RowKind

    def row(self) -> Mapping[str, object]:
        """As a file of conversations has it."""
        return {"prompt": self.prompt, "completion": self.completion}


@cache
def pool(size: int) -> Sequence[PooledRow]:
    """`size` rows about trained people, kinds mixed at random."""
    people = list(demo_world().people("train"))
    people_in_turn = cycle(people)
    made = []
    for number, kind in enumerate(islice(cycle(PATTERN), size)):
        rng = KeyedRandom("pool", number)
        if kind == "trivial":
            prompts, answers = EXCHANGES[rng.randbelow(GREETINGS)]
            made.append(PooledRow(rng.choice(prompts), rng.choice(answers), kind))
            continue
        if kind == "near copy":
            original, place = number // len(PATTERN) % COPIED, KeyedRandom("edit", number)
            rng = KeyedRandom("copied", original)
            question, reply = ask_one_step(people[original], rng.choice(ATTRIBUTES), rng)
            made.append(PooledRow(place.choice(EDITS).format(question.prompt), reply, kind))
            continue
        person, attribute = next(people_in_turn), rng.choice(ATTRIBUTES)
        if kind == "wrong":
            value = rng.choice([other for other in VALUES[attribute] if other != person.facts[attribute]])
            person = replace(person, facts={**person.facts, attribute: value})
        question, reply = ask_one_step(person, attribute, rng)
        made.append(PooledRow(question.prompt, reply, kind))
    return KeyedRandom("pool order").shuffled(made)


def clean(rows: Sequence[PooledRow]) -> list[PooledRow]:
    """The rows without wrong ones, and of near copies and trivial ones each once."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for row in rows:
        key = (row.completion, "" if row.kind == "near copy" else row.prompt)
        if row.kind == "wrong" or (row.kind != "good" and key in seen):
            continue
        seen.add(key)
        kept.append(row)
    return kept


def iterate(rows: Sequence[PooledRow]) -> Iterator[Mapping[str, object]]:
    """The rows as a file of conversations has them."""
    return (row.row() for row in rows)
