"""Which tokens are hidden from a masked language model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.batching.loader import micro_batches
from tutelage.batching.masking import MASK, make_masking
from tutelage.records import Example
from tutelage.tokenizer import TokenizerSettings, train

TOKENIZER = train(["abcdefgh ijklmnop"], TokenizerSettings(kind="char")).extend((MASK,))
SPECIAL = list(TOKENIZER.special_tokens.values())
ORDINARY = TOKENIZER.vocab_size - len(SPECIAL)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, TOKENIZER.vocab_size - 1), min_size=1, max_size=80),
    st.floats(0.01, 0.99),
    st.integers(0, 9),
)
def test_labels_are_the_tokens_and_only_labelled_ordinary_ones_change(ids: list[int], share: float, epoch: int) -> None:
    tokens = np.array(ids, np.int32)
    masking = make_masking(TOKENIZER, share, seed=1)
    ((example,),) = masking.apply([(Example(tokens),)], {"epoch": epoch})
    assert example.weights is not None and example.targets is not None
    assert example.targets.tolist() == ids
    ordinary = ~np.isin(tokens, SPECIAL)
    assert example.weights.sum() == (max(1, round(share * ordinary.sum())) if ordinary.any() else 0)
    assert not example.weights[~ordinary].any()
    unlabelled = example.weights == 0
    assert (example.tokens[unlabelled] == tokens[unlabelled]).all()
    assert np.isin(example.tokens[~unlabelled], [*range(TOKENIZER.vocab_size)]).all()


def test_of_the_labels_four_fifths_are_hidden_and_a_tenth_replaced() -> None:
    tokens = np.full(100_000, 3, np.int32)
    ((example,),) = make_masking(TOKENIZER, 0.15, seed=0).apply([(Example(tokens),)], None)
    chosen = example.tokens[example.weights > 0]
    assert len(chosen) == 15_000
    assert np.mean(chosen == TOKENIZER.special(MASK)) == pytest.approx(0.8, abs=0.015)
    # A replacement may be the token itself.
    assert np.mean(chosen == 3) == pytest.approx(0.1 + 0.1 / ORDINARY, abs=0.015)
    others = np.setdiff1d(chosen, [3, TOKENIZER.special(MASK)])
    assert len(others) == ORDINARY - 1


def test_each_step_hides_other_tokens_and_a_resumed_one_the_same() -> None:
    groups = [(Example(np.arange(12, dtype=np.int32)),) for _ in range(3)]
    masking = make_masking(TOKENIZER, 0.3, seed=0)
    first, again, later = (masking.apply(groups, {"position": place}) for place in (0, 0, 3))
    hidden = [[row[0].weights.tolist() for row in made] for made in (first, again, later)]  # type: ignore[union-attr]
    assert hidden[0] == hidden[1] != hidden[2]
    assert hidden[0][0] != hidden[0][1]  # equal texts of one step, too
    assert make_masking(TOKENIZER, 0.3, seed=1).apply(groups, None)[0][0].weights.tolist() != hidden[0][0]  # type: ignore[union-attr]


def test_labels_are_not_shifted() -> None:
    """Pain 37 of scale: a mask moved by [CLS] trains the neighbour of each hidden token."""
    masked = make_masking(TOKENIZER, 0.5, seed=0).apply([(Example(np.arange(10, dtype=np.int32)),)], None)
    (batch,) = micro_batches(masked, 100)
    assert batch.shifts == (0,)
    assert batch.labels_N.tolist() == list(range(10))
    assert batch.count == float((batch.weights_N != 0).sum())


def test_a_tokenizer_without_a_mask_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"has no mask token \(\[MASK\], <mask>, <\|mask\|>\); add one"):
        make_masking(train(["ab"], TokenizerSettings(kind="char")), 0.15, 0)
