"""What findings ask a model besides its greedy answers: how likely it finds given replies and texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tutelage.chat import make_renderer
from tutelage.evaluate.choices import plain_sequence
from tutelage.evaluate.sequence_scores import score_sequences
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, Example, message


def reply_logprobs(checkpoint: Checkpoint, prompts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """The log-probability of each reply to its prompt in the model's template, its end token included: float64
    [replies], in nats."""
    chats = [
        Conversation((message("user", prompt), message("assistant", reply)))
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    examples = []
    for made in make_renderer(checkpoint.tokenizer, checkpoint.chat_config).render_rows(chats, "last_assistant"):
        assert not isinstance(made, ValueError), made
        examples.append(Example(made[-1].ids, (made[-1].weights > 0).astype(np.float32)))
    return _logprobs(checkpoint, examples)


def text_logprobs(checkpoint: Checkpoint, contexts: Sequence[str], continuations: Sequence[str]) -> np.ndarray:
    """The log-probability of each continuation after its context as plain text: float64 [texts], in nats."""
    pairs = zip(contexts, continuations, strict=True)
    return _logprobs(checkpoint, [plain_sequence(checkpoint.tokenizer, *pair)[0] for pair in pairs])


def _logprobs(checkpoint: Checkpoint, examples: Sequence[Example]) -> np.ndarray:
    found = np.empty(len(examples))
    for scores in score_sequences(checkpoint.model, examples):
        for number, score in scores:
            found[number] = score.logprob
    return found
