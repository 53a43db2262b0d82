"""A trained reward model, as a scorer of answers: the head "reward" at the token that ends an answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from tutelage.batching.packing import collate, pack, to_device
from tutelage.chat import make_renderer
from tutelage.model.hub import find_checkpoint, load_model
from tutelage.records import Conversation, Example, Message, message

HEAD = "reward"
MICRO_TOKENS = 4096  # of a forward pass


class RewardModel:
    """A reward model. It renders answers with its own template, as in its training.

    Raises:
        ValueError: the folder is no model, or has no head "reward".
    """

    def __init__(self, folder: str | Path) -> None:
        checkpoint = load_model(find_checkpoint(folder))
        if HEAD not in checkpoint.model.heads:
            raise ValueError(f"{folder} has no head '{HEAD}'; train one: tutelage reward --model {folder} ...")
        self.model = checkpoint.model
        self.renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)

    @torch.inference_mode()
    def score(self, answers: Sequence[tuple[tuple[Message, ...], str]]) -> list[float | None]:
        """The score of each answer to its prompt; None where the template cannot write it, or the context is too
        short."""
        chats = [
            Conversation((*prompt, message("assistant", text)), f"sample {number + 1}")
            for number, (prompt, text) in enumerate(answers)
        ]
        examples: dict[int, Example] = {}
        for place, made in enumerate(self.renderer.render_rows(chats, "last_assistant")):
            if isinstance(made, ValueError):
                continue
            rendered = made[-1]
            end = int(rendered.weights.nonzero()[0][-1]) + 1  # the token that ends the answer
            if end <= self.model.config.context:
                examples[place] = Example(rendered.ids[:end], rendered.weights[:end])
        scores: list[float | None] = [None] * len(answers)
        places = list(examples)
        lengths = [len(examples[place].tokens) for place in places]
        for row in pack(lengths, max([MICRO_TOKENS, *lengths])) if places else []:
            batch = to_device(collate([(examples[places[i]],) for i in row]), self.model.embedding.weight.device)
            ends = torch.tensor(batch.lengths).cumsum(0) - 1
            for i, value in zip(row, self.model.outputs(batch).heads[HEAD].cpu()[ends].tolist(), strict=True):
                scores[places[i]] = value
        return scores
