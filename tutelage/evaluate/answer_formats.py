"""How far the score of written answers moves with the wording of the prompt: the same questions in a fixed set of
wordings, all decoded greedily and verified alike. `prompt_formats` does it for multiple choice by likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tutelage.evaluate.questions import Answered, Question, answer_questions
from tutelage.evaluate.statistics import rate
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, message

# "{}" is the question's last turn. The first wording is the question as it stands, asked already.
WORDINGS: Mapping[str, str] = {
    "as it stands": "{}",
    "'Question:', 'Answer:'": "Question: {}\nAnswer:",
    "'Please answer'": "Please answer this question.\n\n{}",
    "'only the answer'": "{}\n\nGive only the answer.",
    "without its last mark": "{}",
}
_MARKS = "?!."


def reworded(question: Question, wording: str) -> Question:
    """A question with its last turn in one of WORDINGS."""
    *before, last = question.prompt.messages
    text = last.text.rstrip(_MARKS) if wording == "without its last mark" else last.text
    prompt = Conversation((*before, message("user", WORDINGS[wording].replace("{}", text))), question.prompt.id)
    return replace(question, prompt=prompt)


def answer_format_range(
    checkpoint: Checkpoint, questions: Sequence[Question], system: str, asked: Sequence[Answered]
) -> dict[str, Any]:
    """The share of right answers in each wording, their median and range, and how many questions change between right
    and not right. `asked` are the answers to the questions as they stand."""
    first, *others = WORDINGS
    right = {first: [one.outcome == "right" for one in asked]}
    for wording in others:
        answers = answer_questions(checkpoint, [reworded(one, wording) for one in questions], system)
        right[wording] = [one.outcome == "right" for one in answers]
    return range_over(right)


def range_over(right: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """From whether each question is right, by wording: the share of each wording, their median and range, and how many
    questions change between right and not right."""
    right_FN = np.array([*right.values()])
    means_F = right_FN.mean(1)
    changed = int((right_FN != right_FN[0]).any(0).sum())
    return {
        "questions": right_FN.shape[1],
        "median": float(np.median(means_F)),
        "low": float(means_F.min()),
        "high": float(means_F.max()),
        "changed": asdict(rate(changed, right_FN.shape[1])),
        "formats": [{"name": name, **asdict(rate(sum(own), len(own)))} for name, own in right.items()],
    }


def answer_range_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The range as lines for the terminal."""
    yield (
        f"format range: {found['low']:.1%} to {found['high']:.1%}, median {found['median']:.1%}, over "
        f"{len(found['formats'])} formats of {found['questions']:,} questions"
    )
    for form in found["formats"]:
        yield f"    {form['name']}: {form['rate']:.1%} ({form['low']:.1%} to {form['high']:.1%})"
    changed = found["changed"]
    yield f"right in one format and not in another: {changed['rate']:.1%} of {changed['count']:,} questions"
