"""A game of several turns: guess a number, with "higher" or "lower" after each guess. An environment for samples of
several turns (rl/turns.py), and a task that no single answer can solve."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tutelage.records import Conversation, Message, Task, message

HIGHEST, GUESSES = 15, 4  # four guesses find one of 15 numbers
_NUMBER = re.compile(r"\d+")


def guessing_tasks(first: int = 1, last: int = HIGHEST) -> Iterator[Task]:
    """A game for each number; the gold answer is the number."""
    for number in range(first, last + 1):
        prompt = message("user", f"Guess my number from 1 to {HIGHEST}.")
        yield Task((prompt,), str(number), f"guess:{number}")


def next_turn(conversation: Conversation, state: Any) -> tuple[Sequence[Message] | None, Any]:
    """Whether the number is higher or lower than the last guess. The game ends with the right one, after `GUESSES`
    guesses, or with an answer that holds no number. The state is the task of the game."""
    guesses = [turn.text for turn in conversation.messages if turn.role == "assistant"]
    found = _NUMBER.findall(guesses[-1])
    if not found or len(guesses) >= GUESSES or int(found[-1]) == int(state.gold):
        return None, state
    return [message("user", "higher" if int(state.gold) > int(found[-1]) else "lower")], state
