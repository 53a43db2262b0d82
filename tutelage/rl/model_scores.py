"""A trained reward model as a part of a reward: answers that it cannot score have none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tutelage.chat import make_renderer
from tutelage.model.hub import find_checkpoint, load_model
from tutelage.records import Conversation, Message, message
from tutelage.rl.reward_model import HEAD, token_scores


class RewardModel:
    """A reward model. It renders answers with its own template, as in its training.

    Raises:
        ValueError: the folder is no model, or has no head "reward".
    """

    def __init__(self, folder: str | Path) -> None:
        self.checkpoint = load_model(find_checkpoint(folder))
        if HEAD not in self.checkpoint.model.heads:
            raise ValueError(f"{folder} has no head '{HEAD}'; train one: tutelage reward --model {folder} ...")
        self.renderer = make_renderer(self.checkpoint.tokenizer, self.checkpoint.chat_config)

    def score(self, answers: Sequence[tuple[tuple[Message, ...], str]]) -> list[float | None]:
        """The score of each answer to its prompt; None where the template cannot write it, or the context is too
        short."""
        chats = [
            Conversation((*prompt, message("assistant", text)), f"sample {number + 1}")
            for number, (prompt, text) in enumerate(answers)
        ]
        sequences: dict[int, np.ndarray] = {}
        for place, made in enumerate(self.renderer.render_rows(chats, "last_assistant")):
            if isinstance(made, ValueError):
                continue
            ids = made[-1].ids[: int(np.flatnonzero(made[-1].weights)[-1]) + 1]  # up to the token that ends the answer
            if len(ids) <= self.checkpoint.model.config.context:
                sequences[place] = ids
        found = dict(zip(sequences, token_scores(self.checkpoint, list(sequences.values())).tolist(), strict=True))
        return [found.get(place) for place in range(len(answers))]
