"""Questions of several turns, such as those of MT-Bench, and files of answers to them.

A question is {"question_id" or "id": ..., "turns": [user's text, ...], "category": ..., "reference": [...]}, as
FastChat writes it, or {"prompt": ...} of one turn. FastChat keeps reference answers in a file of their own, in the form
of a model's answers: {"question_id": ..., "choices": [{"turns": [...]}]}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows


@dataclass(frozen=True)
class TurnQuestion:
    """What a user says in each turn; right answers to the turns, where there are some; and the category."""

    id: str
    turns: tuple[str, ...]
    category: str = ""
    reference: tuple[str, ...] = ()


def read_turn_questions(path: Path, references: Path | None = None) -> dict[str, TurnQuestion]:
    """The questions of a file by id, with the reference answers of another.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken, two have one id, or a reference answers no question; the message names it.
    """
    answers = {} if references is None else read_turn_answers(references)
    found: dict[str, TurnQuestion] = {}
    for where, row in _rows(path):
        turns = row.get("turns", [row["prompt"]] if isinstance(row.get("prompt"), str) else None)
        if not _is_texts(turns):
            raise ValueError(f"{where}: 'turns' must be a list of texts; one for each time the user speaks")
        name = _name(row, where, turns[0])
        if name in found:
            raise ValueError(f"{where}: the id {name[:60]!r} occurs twice; remove one of the rows")
        reference = answers.pop(name, tuple(row.get("reference") or ()))
        found[name] = TurnQuestion(name, tuple(turns), str(row.get("category", "")), tuple(reference))
    if not found:
        raise ValueError(f"{path} has no questions; write one {{'question_id': ..., 'turns': [...]}} per line")
    if answers:
        raise ValueError(f"{references} answers questions that {path} lacks, such as {next(iter(answers))!r}")
    return found


def read_turn_answers(path: Path) -> dict[str, tuple[str, ...]]:
    """A model's answers to the turns of each question, by its id: {"answers": [...]}, or FastChat's form, of which the
    first choice counts. Raises as `read_turn_questions`."""
    found: dict[str, tuple[str, ...]] = {}
    for where, row in _rows(path):
        answers = row.get("answers")
        if answers is None and isinstance(row.get("choices"), list) and row["choices"]:
            answers = row["choices"][0].get("turns")
        if not isinstance(answers, list) or not _is_texts(answers, empty=True):
            raise ValueError(f"{where}: no answers; a row has 'answers', or 'choices' with 'turns'")
        name = _name(row, where, "")
        if name in found:
            raise ValueError(f"{where}: a second answer to {name[:60]!r}; remove one of the rows")
        found[name] = tuple(answers)
    return found


def _rows(path: Path) -> Iterator[tuple[Path, Row]]:
    for file in data_files(path):
        for place, row in rows(file, lambda row: "turns" in row or "choices" in row or "answers" in row):
            if isinstance(row, BrokenRow):
                raise ValueError(f"{file.with_name(place)}: {row}; fix the row or remove it")
            if row is not None:
                yield file.with_name(place), row


def _name(row: Mapping[str, Any], where: Path, otherwise: str) -> str:
    name = next((row[key] for key in ("question_id", "id") if row.get(key) is not None), otherwise)
    if name == "":
        raise ValueError(f"{where}: no 'question_id' and no 'id'")
    return str(name)


def _is_texts(value: object, empty: bool = False) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, str) and (empty or one.strip()) for one in value)
    )


def joined(turns: Sequence[str]) -> str:
    """The texts of several turns as one, each under its number; a single one alone."""
    return turns[0] if len(turns) == 1 else "\n\n".join(f"[Turn {n}]\n{text}" for n, text in enumerate(turns, 1))
