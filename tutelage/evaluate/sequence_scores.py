"""Log-probabilities of the scored tokens of many sequences; what sequences have in common at their beginning is
computed once.

The choices of a question share the question, and questions with the same examples share these. Sequences are sorted, so
that those with a common beginning are neighbours, and laid out as a tree: a token attends to the tokens before it in
its own sequence alone. Nothing is padded, and a score does not depend on what is scored beside it.

Shapes: T tokens of a tree, P scored positions, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tutelage.batching.packing import collate, pack, segment_sum, to_device
from tutelage.model.attention import masked_attention, repeat_heads
from tutelage.model.block import Attend
from tutelage.model.hf_model import HFModel
from tutelage.model.transformer import Transformer
from tutelage.records import Example

TREE_TOKENS = 512  # larger trees waste attention between sequences that do not see each other
LOGIT_ROWS = 256  # positions whose logits are held at once


@dataclass(frozen=True)
class SequenceScore:
    """The log-probability of the scored tokens in nats, summed; and whether each is the likeliest at its place. None
    where the model is held by transformers."""

    logprob: float
    greedy: bool | None


@dataclass
class _Tree:
    """Sequences that are computed together. `path` holds the tokens, by their number in the tree, of the sequence that
    was added last; `branches` the range of new tokens of each sequence with the path before it."""

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    path: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    branches: list[tuple[int, int, np.ndarray]] = field(default_factory=list)
    scored: list[tuple[int, int, int]] = field(default_factory=list)  # sequence, position in the tree, label

    def add(self, number: int, ids: np.ndarray, first_scored: int, shared: int) -> None:
        """Add a sequence that has its first `shared` tokens in common with the one before."""
        start, new = len(self.tokens), ids[shared:-1]
        self.tokens += new.tolist()
        self.depths += range(shared, shared + len(new))
        before = self.path[:shared]
        if len(new):
            self.branches.append((start, len(self.tokens), before))
        self.path = np.concatenate([before, np.arange(start, len(self.tokens))])
        self.scored += [(number, int(self.path[t - 1]), int(ids[t])) for t in range(first_scored, len(ids))]


def score_sequences(
    model: Transformer | HFModel, examples: Sequence[Example]
) -> Iterator[list[tuple[int, SequenceScore]]]:
    """The score of each sequence's tokens with a loss weight, under the number of the sequence, tree by tree."""
    if model.config.hf_parameters is not None:
        yield from _score_segments(model, examples)
        return
    assert isinstance(model, Transformer)
    for tree in _trees(examples):
        yield _score_tree(model, tree)


def _trees(examples: Sequence[Example]) -> Iterator[_Tree]:
    rows = [_scored_part(example) for example in examples]
    limit = max([TREE_TOKENS, *(min(2 * len(ids), max(len(ids), 4 * TREE_TOKENS)) for ids, _ in rows)])
    order = sorted(range(len(rows)), key=lambda number: rows[number][0].astype(">u4").tobytes())
    tree, before = _Tree(), np.empty(0, np.int64)
    for number in order:
        ids, first_scored = rows[number]
        inputs = ids[:-1]
        shared = _common(before, inputs)
        if tree.tokens and len(tree.tokens) + len(inputs) - shared > limit:
            yield tree
            tree, shared = _Tree(), 0
        tree.add(number, ids, first_scored, shared)
        before = inputs
    if tree.scored:
        yield tree


def _scored_part(example: Example) -> tuple[np.ndarray, int]:
    """The ids up to the last scored one, and the place of the first; scored tokens stand together."""
    assert example.weights is not None
    places = np.flatnonzero(np.asarray(example.weights) > 0)
    assert len(places) and places[0] > 0 and len(places) == places[-1] + 1 - places[0]
    return np.asarray(example.tokens[: places[-1] + 1], np.int64), int(places[0])


def _common(first: np.ndarray, second: np.ndarray) -> int:
    length = min(len(first), len(second))
    differs = np.flatnonzero(first[:length] != second[:length])
    return int(differs[0]) if len(differs) else length


@torch.inference_mode()
def _score_tree(model: Transformer, tree: _Tree) -> list[tuple[int, SequenceScore]]:
    device = model.embedding.weight.device
    tokens_T = torch.tensor(tree.tokens, device=device)
    depths_T = torch.tensor(tree.depths, device=device)
    alone = len(tree.branches) == 1
    attend = model.within_segments((len(tree.tokens),)) if alone else _within_tree(model, tree, depths_T)
    hidden_TD = model.hidden(tokens_T, depths_T, attend)
    sequences, nodes, labels = (np.array(column) for column in zip(*tree.scored, strict=True))
    unique, row_P = np.unique(nodes, return_inverse=True)
    logprob_P, greedy_P = np.empty(len(nodes)), np.empty(len(nodes), bool)
    for start in range(0, len(unique), LOGIT_ROWS):
        rows = unique[start : start + LOGIT_ROWS]
        logits = model.logits(hidden_TD[torch.from_numpy(rows).to(device)])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        places = np.flatnonzero((row_P >= start) & (row_P < start + len(rows)))
        row = torch.from_numpy(row_P[places] - start).to(device)
        label = torch.from_numpy(labels[places]).to(device)
        logprob_P[places] = (logits[row, label] - logits.logsumexp(dim=-1)[row]).double().cpu().numpy()
        greedy_P[places] = (logits.argmax(dim=-1)[row] == label).cpu().numpy()
    return [
        (int(number), SequenceScore(float(logprob_P[own].sum()), bool(greedy_P[own].all())))
        for number in dict.fromkeys(sequences.tolist())
        for own in [sequences == number]
    ]


def _within_tree(model: Transformer, tree: _Tree, depths_T: torch.Tensor) -> Attend:
    """Attention of each token to those before it in its own sequences."""
    count, device, dtype = len(tree.tokens), depths_T.device, model.embedding.weight.dtype
    seen_TT = np.zeros((count, count), bool)
    for start, end, before in tree.branches:
        seen_TT[start:end, before] = True
        seen_TT[start:end, start:end] = np.tri(end - start, dtype=bool)
    hidden_TT = torch.from_numpy(~seen_TT).to(device)
    masks: dict[int | None, torch.Tensor] = {}

    def mask(window: int | None) -> torch.Tensor:
        if window not in masks:
            hidden = hidden_TT
            if window is not None:
                hidden = hidden | (depths_T[:, None] - depths_T[None, :] >= window)
            zeros = torch.zeros(hidden.shape, dtype=dtype, device=device)
            masks[window] = zeros.masked_fill_(hidden, -torch.inf)
        return masks[window]

    def attend(
        layer: int,
        q_THK: torch.Tensor,
        k_TGK: torch.Tensor,
        v_TGK: torch.Tensor,
        sinks_H: torch.Tensor | None = None,
    ) -> torch.Tensor:
        options, heads = model.score_options[layer], q_THK.shape[1]
        q, k, v = (x.transpose(0, 1)[None] for x in (q_THK, k_TGK, v_TGK))
        sinks = None if sinks_H is None else sinks_H[:, None, None]
        keys, values = repeat_heads(k, heads), repeat_heads(v, heads)
        output = masked_attention(q, keys, values, mask(options.window), options, sinks)
        return output[0].transpose(0, 1).flatten(1)

    return attend


@torch.inference_mode()
def _score_segments(
    model: Transformer | HFModel, examples: Sequence[Example]
) -> Iterator[list[tuple[int, SequenceScore]]]:
    """Sequence by sequence, laid end to end; for models whose attention is not ours."""
    device = model.embedding.weight.device
    lengths = [len(example.tokens) for example in examples]
    for row in pack(lengths, max(4 * TREE_TOKENS, *lengths)):
        batch = to_device(collate([(examples[place],) for place in row]), device)
        sums = segment_sum(model(batch).double(), batch).tolist()
        yield [(number, SequenceScore(value, None)) for number, value in zip(row, sums, strict=True)]
