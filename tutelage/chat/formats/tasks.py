"""Rows of academic tasks (a question, perhaps choices, an answer) as instructions, from templates.

Short answers would teach a model to be always brief, so the prompt asks for a short answer. There are several
templates, so that the model does not learn one wording. The question alone decides which one a row gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any
from zlib import crc32

from tutelage.chat.formats.turns import Dialogue
from tutelage.io.row import BrokenRow, Row
from tutelage.records import message

# Prompt and answer. {choices} is one "A. ..." per line, {list} the same with "- ".
CHOICE_TEMPLATES: tuple[tuple[str, str], ...] = (
    ("{question}\n\n{choices}\n\nAnswer with the letter of the right choice.", "{letter}"),
    ("{question}\n\n{choices}\n\nWhich of these is right?", "{letter}. {answer}"),
    ("{question}\n\nChoose one of these answers and repeat it:\n{list}", "{answer}"),
    ("Choose the best answer to the question.\n\nQuestion: {question}\n{choices}", "The best answer is {letter}."),
    ("Which answer fits?\n\n{question}\n{list}", "{answer}"),
)
SHORT_TEMPLATES: tuple[tuple[str, str], ...] = (
    ("{question}\n\nGive only the answer.", "{answer}"),
    ("{question}", "The answer is {answer}."),
    ("Question: {question}\nShort answer:", "{answer}"),
    ("Answer the question in a word or a number.\n\n{question}", "{answer}"),
)
# For choices that are one text in the row.
LETTER_TEMPLATE = "{question}\n\n{choices}\n\nAnswer with the letter of the right choice."

QUESTIONS, CONTEXTS = ("question", "query", "problem"), ("context", "passage", "body")
CHOICES = ("choices", "options")
ANSWERS = ("answer", "answers", "answerkey", "gold", "solution")
TARGETS = (("inputs", "targets"), ("source", "target"), ("input", "target"), ("input", "output"))


def is_question(row: Row) -> bool:
    """Whether a row has a question and an answer, with names in any case."""
    return isinstance(_first(row, QUESTIONS), str) and _first(row, ANSWERS) is not None


def read_question(row: Row) -> Dialogue:
    """`{"question", "context"?, "choices"?, "answer"}`. An answer that is a text, without choices, is not changed."""
    question = "\n\n".join(_text(row, names) for names in (CONTEXTS, QUESTIONS) if _first(row, names) is not None)
    answer, choices = _first(row, ANSWERS), _first(row, CHOICES)
    if isinstance(choices, str):
        return _dialogue(LETTER_TEMPLATE.format(question=question, choices=choices), _answer_text(answer))
    if choices is not None:
        return _choice(question.strip().removeprefix("Question:").lstrip(), choices, answer)
    return _short_answer(question, answer)


def is_target(row: Row) -> bool:
    """Whether a row has one of the pairs in TARGETS."""
    return _target(row) is not None


def read_target(row: Row) -> Dialogue:
    """`{"inputs", "targets"}` and similar: a task that is already an instruction."""
    names = _target(row)
    assert names is not None
    prompt = row[names[0]]
    if not isinstance(prompt, str):
        raise BrokenRow("field that is not text", f"'{names[0]}'")
    return _short_answer(prompt, row[names[1]])


def _target(row: Row) -> tuple[str, str] | None:
    return next((pair for pair in TARGETS if all(row.get(name) is not None for name in pair)), None)


def _filled_field(row: Row, names: Sequence[str]) -> str | None:
    """The field that has the first of these names, in any case, and a value; None without one."""
    written = {name.lower(): name for name in row}
    return next((written[name] for name in names if name in written and row.get(written[name]) is not None), None)


def _first(row: Row, names: Sequence[str]) -> Any:
    name = _filled_field(row, names)
    return None if name is None else row[name]


def _text(row: Row, names: Sequence[str]) -> str:
    value = _first(row, names)
    if not isinstance(value, str):
        raise BrokenRow("field that is not text", f"'{_filled_field(row, names)}'")
    return value


def _dialogue(question: str, answer: str) -> Dialogue:
    return Dialogue((message("user", question), message("assistant", answer)))


def _short_answer(question: str, answer: object) -> Dialogue:
    text = _answer_text(answer)
    if isinstance(answer, str):
        return _dialogue(question, text)
    return _filled(SHORT_TEMPLATES, question, question=question, answer=text)


def _filled(templates: tuple[tuple[str, str], ...], key: str, **values: str) -> Dialogue:
    # CRC-32, because Python's own hash differs between processes.
    prompt, answer = templates[crc32(key.encode()) % len(templates)]
    return _dialogue(prompt.format_map(values), answer.format_map(values))


def _answer_text(answer: object) -> str:
    """An answer as text: 14.0 is 14, true is Yes; of several right ones the first."""
    if isinstance(answer, Mapping):  # SQuAD: {"text": [...], "answer_start": [...]}
        answer = answer.get("text")
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    match answer:
        case bool():
            return "Yes" if answer else "No"
        case float():
            return str(int(answer)) if answer.is_integer() else repr(answer)
        case int() | str():
            return str(answer)
    raise BrokenRow("no answer", "it is neither a text nor a number nor a list of them")


def _choice(question: str, choices: object, answer: object) -> Dialogue:
    labels: Sequence[str] = ascii_uppercase
    if isinstance(choices, Mapping):  # ARC: {"text": [...], "label": [...]}
        labels, choices = choices.get("label") or labels, choices.get("text")
    if (
        not isinstance(labels, Sequence)
        or not isinstance(choices, list)
        or not choices
        or not all(isinstance(choice, str) for choice in choices)
    ):
        raise BrokenRow("malformed choices", "it must be a list of texts")
    right = _index(choices, labels, answer)
    lettered = list(zip(ascii_uppercase, choices, strict=False))
    if right is None or len(lettered) < len(choices):
        raise BrokenRow("an answer that is none of the choices", f"{answer!r} of {len(choices)}")
    return _filled(
        CHOICE_TEMPLATES,
        question,
        question=question,
        choices="\n".join(f"{letter}. {choice}" for letter, choice in lettered),
        list="\n".join(f"- {choice}" for choice in choices),
        letter=ascii_uppercase[right],
        answer=choices[right],
    )


def _index(choices: list[str], labels: Sequence[str], answer: object) -> int | None:
    """The index of the right choice, given as a number from 0, as its text, or as its label."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(choices) else None
    if answer in choices:
        return choices.index(answer)
    used_labels = list(labels)[: len(choices)]
    return used_labels.index(answer) if answer in used_labels else None
