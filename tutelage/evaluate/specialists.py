"""What a specialist says of rows: the class of a text, the tag of each word, the span that answers a question.

Shape suffixes: T tokens of an example, K outputs of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from tutelage.batching.labelled import HEADS, Encoded, LabelEncoder, LabelTask
from tutelage.batching.packing import collate, pack, to_device
from tutelage.model.checkpoint import Checkpoint
from tutelage.records import TOKEN_TYPES, Example, Labelled

LONGEST_ANSWER = 30  # tokens of a span, as in BERT's script


def make_encoder(checkpoint: Checkpoint, task: LabelTask, context: int | None = None) -> LabelEncoder:
    """The encoder of a model with the head of a task.

    Raises:
        ValueError: it has no such head.
    """
    config, head = checkpoint.model.config, HEADS[task]
    if head not in config.output_heads:
        raise ValueError(f"the model has no head '{head}'; train one with a stage of kind 'classify'")
    labels = config.output_labels.get(head, ())
    return LabelEncoder(
        task, labels, checkpoint.tokenizer, context or config.context, config.causal, config.token_types > 1
    )


@torch.inference_mode()
def head_scores(
    checkpoint: Checkpoint, encoder: LabelEncoder, rows: Sequence[Encoded], tokens: int
) -> list[np.ndarray]:
    """The head's outputs for every token of each row, float32 [T, K]; `tokens` is the size of a forward pass."""
    head, found = HEADS[encoder.task], [np.empty(0)] * len(rows)
    lengths = [len(row.ids) for row in rows]
    for batch_rows in pack(lengths, max(tokens, *lengths)) if rows else ():
        examples = [_unlabelled(rows[number], encoder.typed) for number in batch_rows]
        batch = to_device(collate([(example,) for example in examples]), checkpoint.model.embedding.weight.device)
        values_NK = checkpoint.model.head_values(batch)[head].float().cpu()
        for number, values_TK in zip(batch_rows, values_NK.split(batch.lengths), strict=True):
            found[number] = values_TK.numpy()
    return found


def _unlabelled(row: Encoded, typed: bool) -> Example:
    nothing = np.zeros(len(row.ids), np.int32)
    return Example(row.ids, nothing.astype(np.float32), nothing, {TOKEN_TYPES: row.types} if typed else {})


def classify_texts(checkpoint: Checkpoint, rows: Sequence[Labelled], tokens: int = 8192) -> list[dict[str, float]]:
    """The probability of each class for each row."""
    encoder = make_encoder(checkpoint, "sequence")
    encoded = [encoder.encode(row)[0] for row in rows]
    found = []
    for row, scores_TK in zip(encoded, head_scores(checkpoint, encoder, encoded, tokens), strict=True):
        scores_K = scores_TK[encoder.sequence_place(row)].astype(np.float64)
        weights_K = np.exp(scores_K - scores_K.max())
        found.append(dict(zip(encoder.labels, (weights_K / weights_K.sum()).tolist(), strict=True)))
    return found


def tag_words(checkpoint: Checkpoint, rows: Sequence[Labelled], tokens: int = 8192) -> list[list[str]]:
    """The tag of each word of each row."""
    encoder = make_encoder(checkpoint, "token")
    encoded = [encoder.encode(row)[0] for row in rows]
    scores = head_scores(checkpoint, encoder, encoded, tokens)
    return [
        [encoder.labels[label] for label in scores_TK[encoder.word_places(row, whole)].argmax(axis=1)]
        for row, whole, scores_TK in zip(rows, encoded, scores, strict=True)
    ]


def answer_spans(checkpoint: Checkpoint, rows: Sequence[Labelled], tokens: int = 8192) -> list[str]:
    """The best span of each row's passage, over all of its windows; "" where no answer scores higher."""
    encoder = make_encoder(checkpoint, "span")
    windows = [(number, window) for number, row in enumerate(rows) for window in encoder.encode(row)]
    scores = head_scores(checkpoint, encoder, [window for _, window in windows], tokens)
    best: list[tuple[float, str]] = [(-np.inf, "")] * len(rows)
    none = [np.inf] * len(rows)
    for (number, window), scores_TK in zip(windows, scores, strict=True):
        none[number] = min(none[number], float(scores_TK[0].sum()))  # no answer: in none of the windows
        for score, start, end in _best_span(scores_TK, encoder.candidates(window)):
            text = rows[number].second[window.offsets[start, 0] : window.offsets[end, 1]].strip()
            best[number] = max(best[number], (score, text))
    return [text if score > nothing else "" for (score, text), nothing in zip(best, none, strict=True)]


def _best_span(scores_TK: np.ndarray, candidates_T: np.ndarray) -> Iterator[tuple[float, int, int]]:
    """The span of the passage with the highest sum of its start's and its end's score: none of a window without
    passage, else one."""
    passage = np.flatnonzero(candidates_T[1:]) + 1
    if not len(passage):
        return
    sums = scores_TK[passage, 0][:, None] + scores_TK[passage, 1][None, :]
    allowed = np.triu(np.ones_like(sums, bool)) & ~np.triu(np.ones_like(sums, bool), LONGEST_ANSWER)
    start, end = np.unravel_index(int(np.where(allowed, sums, -np.inf).argmax()), sums.shape)
    yield float(sums[start, end]), int(passage[start]), int(passage[end])
