"""Rows of multiple-choice questions, as people and published sets write them, in one form.

A row is one of
  {"question": ..., "choices": [...], "answer": number from 0, letter or text}       `query` and `gold` are read too
  {"question": ..., "choice0": ..., "choice1": ..., "answer": ...}                     a table, as of MMLU
  {"question" or "question_stem": ..., "choices": {"text": [...], "label": [...]}, "answerKey": ...}    ARC, OBQA, CSQA
  {"context_options": [...], "continuation": ..., "gold": number}      one end, several beginnings, as WinoGrande
  {"context": ..., "continuation": ...}                                               one right continuation, as LAMBADA
or has the fields with which PIQA, SIQA, COPA, WinoGrande, BoolQ and HellaSwag were published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MOST_CHOICES = len(LETTERS)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ChoiceFields:
    """A question, its choices and the number of the right one, from 0. Where `beginnings`, the choices are beginnings
    of one text, and `question` is how it ends. One choice alone is the right continuation of the question."""

    question: str
    choices: tuple[str, ...]
    gold: int
    beginnings: bool = False


def is_choice_row(row: Row) -> bool:
    """Whether a JSON object has the fields of a multiple-choice question."""
    return _form(row) is not None


def choice_fields(row: Row) -> ChoiceFields:
    """The question of a row.

    Raises:
        ValueError: a field is missing or broken, or the answer is none of the choices.
    """
    form = _form(row)
    if form is None:
        raise ValueError("it has no choices")
    return form(row)


def place_of_answer(answer: object, choices: Sequence[str]) -> int:
    """The number of the right choice, from 0, by its number, its text or its letter. ValueError where it is none."""
    letters = LETTERS[: len(choices)]
    if type(answer) is int and 0 <= answer < len(letters):
        return answer
    if isinstance(answer, str) and answer in choices:
        return list(choices).index(answer)
    if isinstance(answer, str) and len(answer) == 1 and answer.upper() in letters:
        return letters.index(answer.upper())
    raise ValueError(
        f"the answer {answer!r} is none of the {len(choices)} choices: give its number from 0, letter or text"
    )


def _form(row: Row) -> Callable[[Row], ChoiceFields] | None:
    return next((read for keys, read in _FORMS if all(row.get(key) is not None for key in keys)), None)


def _general(row: Row) -> ChoiceFields:
    question: Any = row.get("question", row.get("query"))
    choices: Any = row.get("choices")
    if isinstance(question, Mapping):  # as AI2 published ARC, OpenBookQA and CommonsenseQA
        question, choices = question.get("stem"), question.get("choices")
    question = question if question is not None else row.get("question_stem")
    if choices is None:
        choices = [row[key] for n in range(_MOST_CHOICES) if row.get(key := f"choice{n}") is not None]
    labels: list[str] = []
    if isinstance(choices, Mapping):
        choices, labels = list(choices.get("text", ())), [str(label) for label in choices.get("label", ())]
    elif isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        labels = [str(choice.get("label")) for choice in choices]
        choices = [choice.get("text") for choice in choices]
    if not isinstance(choices, list) or not 2 <= len(choices) <= _MOST_CHOICES:
        raise ValueError(f"it needs 2 to {_MOST_CHOICES} choices")
    texts: tuple[str, ...] = tuple(
        _text(str(choice) if isinstance(choice, int | float) else choice, "a choice") for choice in choices
    )
    text, texts = _listed(_text(question, "the question"), texts)
    answer = next((row[key] for key in ("answerKey", "answer", "gold") if row.get(key) is not None), None)
    if labels and str(answer) in labels:
        return ChoiceFields(text, texts, labels.index(str(answer)))
    return ChoiceFields(text, texts, _gold(answer, texts))


def _listed(question: str, choices: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Where the choices are letters and the question lists their texts, question and texts apart."""
    if choices != tuple(LETTERS[: len(choices)]):
        return question, choices
    pattern = (
        r"\n(?:Choices:\s*\n)?" + r"\n".join(rf"\(?{letter}[.)] *(.+)" for letter in choices) + r"\s*(?:Answer:)?\s*\Z"
    )
    match = re.search(pattern, question)
    return (question[: match.start()].strip(), match.groups()) if match else (question, choices)


def _context_options(row: Row) -> ChoiceFields:
    options, gold = row["context_options"], row.get("gold")
    if not isinstance(options, list) or len(options) < 2 or type(gold) is not int or not 0 <= gold < len(options):
        raise ValueError("'context_options' must be two texts or more, and 'gold' the number of the right one")
    end = _text(row["continuation"], "the continuation")
    return ChoiceFields(end, tuple(_text(option, "a beginning") for option in options), gold, beginnings=True)


def _continuation(row: Row) -> ChoiceFields:
    end = _text(row["continuation"], "the continuation")
    return ChoiceFields(_text(row.get("context"), "the context"), (end,), 0)


def _winogrande(row: Row) -> ChoiceFields:
    """ "_" in the sentence stands for one of two options."""
    before, gap, after = _text(row["sentence"], "the sentence").partition("_")
    if not gap or not after.strip():
        raise ValueError("'sentence' needs a '_' before its end, in place of the options")
    options = tuple(before + _text(row[key], key) for key in ("option1", "option2"))
    return ChoiceFields(after.strip(), options, _from_1(row.get("answer"), 2), beginnings=True)


def _piqa(row: Row) -> ChoiceFields:
    choices = (_text(row["sol1"], "sol1"), _text(row["sol2"], "sol2"))
    return ChoiceFields(_text(row["goal"], "the goal"), choices, _gold(row.get("label"), choices))


def _siqa(row: Row) -> ChoiceFields:
    choices = tuple(_text(row[f"answer{letter}"], f"answer{letter}") for letter in "ABC")
    question = f"{_text(row.get('context'), 'the context')} {_text(row.get('question'), 'the question')}"
    label = next((row[key] for key in ("label", "correct", "answer") if row.get(key) is not None), None)
    gold = _from_1(label, 3) if str(label).isdigit() else _gold(label, choices)
    return ChoiceFields(question, choices, gold)


def _copa(row: Row) -> ChoiceFields:
    connector = {"cause": "because", "effect": "therefore"}.get(str(row["question"]))
    if connector is None:
        raise ValueError("'question' must be 'cause' or 'effect'")
    premise = _text(row["premise"], "the premise").rstrip(".")
    choices = tuple(text[:1].lower() + text[1:] for key in ("choice1", "choice2") if (text := _text(row[key], key)))
    return ChoiceFields(f"{premise} {connector}", choices, _gold(row.get("label"), choices))


def _hellaswag(row: Row) -> ChoiceFields:
    if not isinstance(row["endings"], list) or len(row["endings"]) < 2:
        raise ValueError("'endings' must be two texts or more")
    context = row.get("ctx") or f"{row.get('ctx_a', '')} {str(row.get('ctx_b', '')).capitalize()}"
    label = f"{row['activity_label']}: " if row.get("activity_label") else ""
    endings = tuple(_without_markers(_text(ending, "an ending")) for ending in row["endings"])
    return ChoiceFields(
        _without_markers(label + _text(context, "the context")), endings, _gold(row.get("label"), endings)
    )


def _boolq(row: Row) -> ChoiceFields:
    answer = row.get("answer", row.get("label"))
    if not isinstance(answer, bool | int) or answer not in (0, 1):
        raise ValueError("'answer' must be true or false")
    question = _text(row["question"], "the question").rstrip("?")
    return ChoiceFields(f"{_text(row['passage'], 'the passage')}\nQuestion: {question}?", ("no", "yes"), int(answer))


# The fields that tell a form, in the order in which they are tried.
_FORMS: tuple[tuple[tuple[str, ...], Callable[[Row], ChoiceFields]], ...] = (
    (("context_options", "continuation"), _context_options),
    (("continuation",), _continuation),
    (("sentence", "option1", "option2"), _winogrande),
    (("goal", "sol1", "sol2"), _piqa),
    (("answerA", "answerB", "answerC"), _siqa),
    (("premise", "choice1", "choice2"), _copa),
    (("endings",), _hellaswag),
    (("passage", "question"), _boolq),
    (("choices",), _general),
    (("choice0",), _general),
    (("question", "answerKey"), _general),
)


def _gold(answer: object, choices: Sequence[str]) -> int:
    """The place of an answer; a number written as text counts from 0, as in the cells of a table."""
    if isinstance(answer, str) and answer.isdigit() and answer not in choices:
        answer = int(answer)
    return place_of_answer(answer, choices)


def _from_1(answer: object, count: int) -> int:
    if str(answer).isdigit() and 1 <= int(str(answer)) <= count:
        return int(str(answer)) - 1
    raise ValueError(f"the answer {answer!r} must be a number from 1 to {count}")


def _without_markers(text: str) -> str:
    """HellaSwag's texts of WikiHow without what its crawler left in them."""
    return re.sub(r"\[.*?\]", "", text.replace(" [title]", ". ")).replace("  ", " ").strip()


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} is missing or empty")
    return value.strip()
