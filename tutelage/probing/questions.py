"""Questions to probe a model with: from a file, from the tasks of a recipe, and impossible ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow
from tutelage.io.rows import rows
from tutelage.records import Conversation, Task, message
from tutelage.scoring import Gold
from tutelage.world.keyed_random import KeyedRandom

DAYS = {
    "January": 31, "February": 29, "March": 31, "April": 30, "May": 31, "June": 30,
    "July": 31, "August": 31, "September": 30, "October": 31, "November": 30, "December": 31,
}  # fmt: skip
DATES = (
    "What happened on {month} {day}?",
    "Is {month} {day} a Sunday?",
    "Who was born on {month} {day}?",
    "What is celebrated on {month} {day}?",
)
# Questions that suppose what is not so.
TRICKS = (
    ("How many corners does a circle have?", "A circle has no corners."),
    ("Which month comes after the thirteenth month?", "There is no thirteenth month. A year has twelve."),
    ("What is the fifth side of a square called?", "A square has only four sides."),
    ("On which day of the week does the eighth day fall?", "A week has only seven days."),
    ("What is the last number?", "There is no last number."),
    ("Which even number between 4 and 6 is the largest?", "There is no even number between 4 and 6."),
    ("What colour is the square circle?", "There is no square circle."),
    ("What did the first person on the sun say?", "Nobody has been on the sun."),
    ("How long is the shortest side of a point?", "A point has no sides."),
    ("Which letter comes before A?", "No letter comes before A."),
)


class _Row(msgspec.Struct, forbid_unknown_fields=False):
    question: str
    answer: str | int | float | list[str | int | float] | None = None
    verifier: str | dict[str, Any] | None = None
    reply: str = ""
    subject: str = ""
    system: str = ""
    id: str = ""


@dataclass(frozen=True)
class ProbeQuestion:
    """A question.

    gold:     the right answer; None where nobody can answer it.
    verifier: compares an answer with the gold; settings of `make_verifier`.
    reply:    what to say instead of a refusal, such as why the question has no answer.
    subject:  whom or what it is about, as the question writes it; a refusal then begins with it.
    """

    id: str
    prompt: Conversation
    gold: Gold | None
    verifier: str | Mapping[str, Any]
    reply: str = ""
    subject: str = ""


def read_probe_questions(path: Path, verifier: str | None) -> list[ProbeQuestion]:
    """The questions of a file or folder: rows with `question` and `answer`, which is null where there is none; maybe
    with `verifier`, `reply`, `subject`, `system` and `id`. `verifier` is that of all rows that name none; by default
    numbers are compared by value, and texts must be contained.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken, or there is none.
    """
    questions = []
    for file in data_files(path):
        for place, raw in rows(file, lambda row: "question" in row):
            if raw is None:
                continue
            where = file.with_name(place)
            if isinstance(raw, BrokenRow):
                raise ValueError(f"{where}: {raw}; fix the row or remove it")
            try:
                row = msgspec.convert(raw, _Row)
            except msgspec.ValidationError as error:
                raise ValueError(f"{where}: {error}; a row is {{'question': ..., 'answer': ... or null}}") from error
            if not row.question.strip():
                raise ValueError(f"{where}: the question is empty; fix the row or remove it")
            turns = [message("system", row.system)] if row.system else []
            gold: Gold | None = tuple(row.answer) if isinstance(row.answer, list) else row.answer
            own = row.verifier or verifier or ("numeric" if isinstance(gold, int | float) else "contains")
            prompt = Conversation((*turns, message("user", row.question)), place)
            questions.append(ProbeQuestion(row.id or place, prompt, gold, own, row.reply, row.subject))
    if not questions:
        raise ValueError(f"{path} has no rows; write one {{'question': ..., 'answer': ...}} per line")
    return questions


def task_questions(tasks: Iterable[tuple[Task, str]], verifier: str | Mapping[str, Any]) -> Iterator[ProbeQuestion]:
    """The tasks of a recipe as questions, each with the reply of a model that does not know; those without gold nobody
    can answer."""
    for task, reply in tasks:
        yield ProbeQuestion(task.id, Conversation(task.prompt, task.id), task.gold, verifier, reply)


def impossible_questions(count: int, seed: int) -> Iterator[ProbeQuestion]:
    """Up to `count` different questions about dates that do not exist, and trick questions, with what to reply."""
    asked = set()
    for number in range(count):
        rng = KeyedRandom(seed, "impossible", number)
        if number < len(TRICKS):
            prompt, reply = TRICKS[number]
        else:
            month, days = rng.choice(tuple(DAYS.items()))
            day = days + 1 + rng.randbelow(60)
            prompt = rng.choice(DATES).format(month=month, day=ordinal(day))
            reply = f"That is no valid date. {month} has only {days} days."
        if prompt not in asked:
            asked.add(prompt)
            id_ = f"impossible/{number}"
            yield ProbeQuestion(id_, Conversation((message("user", prompt),), id_), None, "contains", reply)


def ordinal(number: int) -> str:
    """45 as "45th"."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else endings.get(number % 10, 'th')}"
