"""Questions with answers from a file, to score a model on: read, asked, verified.

A row is an object with a `question` (a text, or a list of messages up to the user's turn) and an `answer`: a text, a
number, or a list of which each is right. With `choices` the answer is a number counted from 0, a letter or one of the
choices; `choice_rows` lists other forms. `verifier` is one of tutelage.scoring (docs/scoring.md); `system`, `set` and
`id` are optional.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import ask
from tutelage.evaluate.choice_rows import LETTERS, choice_fields, is_choice_row, place_of_answer
from tutelage.evaluate.statistics import Rate, rate
from tutelage.files import to_json
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, message
from tutelage.scoring import Gold, Verifier, check_golds, make_verifier
from tutelage.scoring.score import gold_texts

CHOOSE = "Answer with the letter of the right choice."
ANSWER_TOKENS = SamplingSettings(max_tokens=256)
# An answer that reached the limit of tokens and is not right counts as cut off, and not as wrong.
QuestionOutcome = Literal["right", "wrong", "unparsable", "abstained", "timed out", "cut off"]
OUTCOMES: tuple[QuestionOutcome, ...] = ("right", "wrong", "unparsable", "abstained", "timed out", "cut off")


class _Row(msgspec.Struct, forbid_unknown_fields=False):
    question: str | list[dict[str, str]]
    answer: str | int | float | list[str | int | float]
    choices: list[str] = []
    verifier: str | dict[str, Any] | None = None
    system: str = ""
    set: str = ""
    id: str = ""


@dataclass(frozen=True)
class Question:
    """A prompt, its right answer, and the verifier that compares them, as settings of `make_verifier`."""

    id: str
    prompt: Conversation
    gold: Gold
    verifier: str | Mapping[str, Any]
    set: str = ""


@dataclass(frozen=True)
class Answered:
    """A question with the answer of a model, and what the verifier says of it."""

    question: Question
    answer: str
    outcome: QuestionOutcome


def read_questions(path: Path) -> list[Question]:
    """The questions of a file (JSON lines, JSON, Parquet, CSV) or folder of files; each verifier is tried on its own
    gold answers.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken, or an answer is not right by its own verifier; the message names the row.
    """
    found: list[Question] = []
    for file in data_files(path):
        for place, raw in rows(file, lambda row: "question" in row or is_choice_row(row)):
            if raw is None:
                continue
            where = file.with_name(place)
            if isinstance(raw, BrokenRow):
                raise ValueError(f"{where}: {raw}; fix the row or remove it")
            try:
                question = _question(msgspec.convert(_as_row(raw), _Row), place)
                verify = make_verifier(question.verifier)
                if _reads_gold(question.verifier):
                    check_golds(verify, [question.gold])
            except ValueError as error:  # msgspec.ValidationError is one
                raise ValueError(
                    f"{where}: {error}; a row is {{'question': ..., 'answer': ...}}, maybe with choices and a verifier"
                ) from error
            found.append(question)
    if not found:
        raise ValueError(f"{path} has no rows; write one {{'question': ..., 'answer': ...}} per line")
    return _with_unique_ids(found)


def _as_row(raw: Row) -> Row:
    """A row of multiple choice in its plainest form; others as they are."""
    if isinstance(raw.get("question"), list) or not is_choice_row(raw):
        return raw
    fields = choice_fields(raw)
    if fields.beginnings or len(fields.choices) == 1:
        raise ValueError("it has a continuation and no question; score it with --by likelihood")
    return {**raw, "question": fields.question, "choices": list(fields.choices), "answer": fields.gold}


def _question(row: _Row, place: str) -> Question:
    turns = [{"role": "user", "content": row.question}] if isinstance(row.question, str) else row.question
    if not turns or turns[-1].get("role") != "user" or not all(turn.get("content", "").strip() for turn in turns):
        raise ValueError("the question is empty, or does not end with the user's turn")
    opening = [message("system", row.system)] if row.system and turns[0].get("role") != "system" else []
    messages = [*opening, *(message(turn["role"], turn["content"]) for turn in turns)]  # type: ignore[arg-type]
    gold: Gold = row.answer
    verifier = row.verifier or ("numeric" if isinstance(gold, int | float) else "contains")
    if row.choices:
        listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, row.choices, strict=False))
        messages[-1] = message("user", f"{messages[-1].text}\n\n{listed}\n\n{CHOOSE}")
        gold, verifier = LETTERS[place_of_answer(row.answer, row.choices)], row.verifier or "choice"
    gold_texts(gold)
    return Question(row.id or place, Conversation(tuple(messages), place), gold, verifier, row.set)


def _reads_gold(verifier: str | Mapping[str, Any]) -> bool:
    """Whether the gold answer alone must be right: a pattern may want text around it, and a function of the user's
    anything."""
    kind = verifier if isinstance(verifier, str) else str(verifier.get("kind"))
    return kind not in ("regex", "function") and ":" not in kind


def _with_unique_ids(questions: Sequence[Question]) -> list[Question]:
    seen: Counter[str] = Counter()
    found = []
    for question in questions:
        seen[question.id] += 1
        name = question.id if seen[question.id] == 1 else f"{question.id}:{seen[question.id]}"
        found.append(Question(name, question.prompt, question.gold, question.verifier, question.set))
    return found


def answer_questions(checkpoint: Checkpoint, questions: Sequence[Question], system: str = "") -> list[Answered]:
    """The model's answer to each question, decoded greedily, and its outcome. `system` opens those without a system
    message."""
    prompts = [_with_system(question.prompt, system) for question in questions]
    answers = ask(checkpoint, prompts, ANSWER_TOKENS, "questions")
    verifiers: dict[bytes, Verifier] = {}
    found = []
    for question, answer in zip(questions, answers, strict=True):
        key = to_json(question.verifier)
        verify = verifiers.setdefault(key, make_verifier(question.verifier))
        outcome: QuestionOutcome = verify(answer.text, question.gold).outcome
        if outcome != "right" and answer.generation.finish_reason == "length":
            outcome = "cut off"
        found.append(Answered(question, answer.text, outcome))
    return found


def _with_system(prompt: Conversation, system: str) -> Conversation:
    if not system or prompt.messages[0].role == "system":
        return prompt
    return Conversation((message("system", system), *prompt.messages), prompt.id)


def question_rates(answered: Sequence[Answered]) -> dict[str, Rate]:
    """The share of each outcome that occurs, "right" always; and "right" of each set, where the rows name sets."""
    counts = Counter(one.outcome for one in answered)
    rates = {
        outcome.replace(" ", "_"): rate(counts[outcome], len(answered))
        for outcome in OUTCOMES
        if counts[outcome] or outcome == "right"
    }
    for name in dict.fromkeys(one.question.set for one in answered if one.question.set):
        own = [one.outcome == "right" for one in answered if one.question.set == name]
        rates[f"sets.{name}"] = rate(sum(own), len(own))
    return rates
