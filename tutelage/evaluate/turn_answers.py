"""A model's answers to questions of several turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import ask
from tutelage.evaluate.turns import TurnQuestion
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, message


def answer_turns(
    checkpoint: Checkpoint, questions: Sequence[TurnQuestion], settings: SamplingSettings, system: str = ""
) -> list[dict[str, Any]]:
    """A model's answers to each turn, given its own answers to those before, as rows for a file."""
    opening = (message("system", system),) if system else ()
    histories = {one.id: list(opening) for one in questions}
    answers: dict[str, list[str]] = {one.id: [] for one in questions}
    cut: dict[str, bool] = dict.fromkeys(histories, False)
    for turn in range(max(len(one.turns) for one in questions)):
        asked = [one for one in questions if turn < len(one.turns)]
        for one in asked:
            histories[one.id].append(message("user", one.turns[turn]))
        chats = [Conversation(tuple(histories[one.id]), one.id) for one in asked]
        for one, answer in zip(asked, ask(checkpoint, chats, settings, f"turn {turn + 1}"), strict=True):
            histories[one.id].append(message("assistant", answer.text))
            answers[one.id].append(answer.text)
            cut[one.id] |= answer.generation.finish_reason == "length"
    return [
        {
            "id": one.id,
            "turns": list(one.turns),
            "answers": answers[one.id],
            "cut": cut[one.id],
            **({"category": one.category} if one.category else {}),
            **({"reference": list(one.reference)} if one.reference else {}),
        }
        for one in questions
    ]
