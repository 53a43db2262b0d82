"""Scores of answers by reward models: one, or an ensemble of several with their mean or the lowest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from tutelage.batching.packing import collate, pack, to_device
from tutelage.chat import make_renderer
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, Example
from tutelage.train.reward_losses import segment_scores

HEAD = "reward"
MICRO_TOKENS = 4096

Combine = Literal["mean", "worst"]


def reward_scores(
    scorers: Sequence[Checkpoint], conversations: Sequence[Conversation], combine: Combine = "mean"
) -> np.ndarray:
    """The score of the last answer of each conversation, float64 [conversations]; of several models as in
    `combined`.

    Raises:
        ValueError: as `token_scores`; or a conversation cannot be rendered.
    """
    return combined([token_scores(scorer, _answered_ids(scorer, conversations)) for scorer in scorers], combine)


def combined(scores: Sequence[np.ndarray], combine: Combine) -> np.ndarray:
    """The scores of an ensemble, [models][answers], as one each: the mean, or the lowest ("worst"), which nobody in the
    ensemble overrates (Coste et al. 2023, arXiv 2310.02743, section 3)."""
    assert len(scores), "an ensemble needs a model"
    return np.mean(scores, axis=0) if combine == "mean" else np.min(scores, axis=0)


@torch.inference_mode()
def token_scores(scorer: Checkpoint, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """The score at the last token of each sequence of ids, float64 [sequences]: a prompt and its answer, with the token
    that ends it.

    Raises:
        ValueError: the model has no head "reward"; or a sequence does not fit its context.
    """
    model, lengths = scorer.model, [len(ids) for ids in sequences]
    if HEAD not in model.heads:
        raise ValueError('this model has no head "reward"; train one with `tutelage reward`')
    if lengths and max(lengths) > model.config.context:
        raise ValueError(f"an answer has {max(lengths)} tokens with its prompt; the context is {model.config.context}")
    scores = np.zeros(len(sequences))
    examples = [Example(np.asarray(ids, np.int32), np.zeros(len(ids), np.float32)) for ids in sequences]
    for row in pack(lengths, max([MICRO_TOKENS, *lengths])):
        batch = to_device(collate([(examples[i],) for i in row]), model.embedding.weight.device)
        scores[row] = segment_scores(model.outputs(batch).heads[HEAD], batch).double().cpu().numpy()
    return scores


def _answered_ids(scorer: Checkpoint, conversations: Sequence[Conversation]) -> list[np.ndarray]:
    """The ids of each conversation up to the token that ends its last answer, as in training."""
    sequences = []
    for made in make_renderer(scorer.tokenizer, scorer.chat_config).render_rows(conversations, "last_assistant"):
        if isinstance(made, ValueError):
            raise made
        sequences.append(made[-1].ids[: int(np.flatnonzero(made[-1].weights)[-1]) + 1])
    return sequences
