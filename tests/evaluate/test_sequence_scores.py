from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.batching.packing import collate, segment_sum
from tutelage.evaluate import sequence_scores as module
from tutelage.evaluate.sequence_scores import SequenceScore, score_sequences
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example

MODEL = initialise(Transformer(resolve(ModelSettings(depth=2, width=16, context=32), 8)), 0)
# Layers of which one sees 4 tokens, and capped scores, as in Gemma 2.
WINDOWED = initialise(
    Transformer(
        msgspec.structs.replace(MODEL.config, window=4, windowed=(0,), attention_softcap=2.0, logit_softcap=3.0)
    ),
    1,
)


def example(ids: list[int], scored: int) -> Example:
    weights = np.zeros(len(ids), np.float32)
    weights[scored:] = 1
    return Example(np.array(ids, np.int32), weights)


def alone(model: Transformer, one: Example) -> float:
    """The sum as training computes it."""
    batch = collate([(one,)])
    with torch.inference_mode():
        return float(segment_sum(model(batch).double(), batch)[0])


def scores_of(model: Transformer, examples: list[Example]) -> list[SequenceScore]:
    found = dict(pair for part in score_sequences(model, examples) for pair in part)
    return [found[number] for number in range(len(examples))]


@pytest.mark.parametrize("model", [MODEL, WINDOWED], ids=["plain", "windows and caps"])
@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=2, max_size=12), st.integers(1, 11)), min_size=1))
def test_a_common_beginning_changes_no_score(model: Transformer, rows: list[tuple[list[int], int]]) -> None:
    """Three kinds of token, so that sequences share beginnings, contain each other and are equal."""
    examples = [example(ids, min(scored, len(ids) - 1)) for ids, scored in rows]
    found = [score.logprob for score in scores_of(model, examples)]
    assert found == pytest.approx([alone(model, one) for one in examples], abs=2e-5)


def test_beginnings_are_computed_once_and_trees_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = [1, 2, 3, 4, 5, 6]
    examples = [example([*shared, end], 6) for end in range(5)] + [example([*shared, 1, 2, end], 6) for end in range(3)]
    (tree,) = module._trees(examples)
    assert tree.tokens == [*shared, 1, 2]
    monkeypatch.setattr(module, "TREE_TOKENS", 4)
    others = [example([n, n, n, n, 7], 4) for n in range(6)]
    assert [len(tree.tokens) for tree in module._trees(others)] == [8, 8, 8]
    found = [score.logprob for score in scores_of(MODEL, others)]
    assert found == pytest.approx([alone(MODEL, one) for one in others], abs=2e-5)


def test_greedy_says_whether_decoding_writes_the_same() -> None:
    ids = [1, 2, 3]
    for _ in range(3):
        hidden = MODEL.hidden(torch.tensor(ids), torch.arange(len(ids)), MODEL.within_segments((len(ids),)))
        ids.append(int(MODEL.logits(hidden[-1:]).argmax()))
    other = [*ids[:-1], (ids[-1] + 1) % 8]
    assert [score.greedy for score in scores_of(MODEL, [example(ids, 3), example(other, 3)])] == [True, False]
