from __future__ import annotations

import numpy as np

from tutelage.evaluate.samples import OPENING, prompt_of
from tutelage.records import Example


def test_the_prompt_of_a_conversation_ends_before_its_first_trained_token() -> None:
    weights = np.array([0, 0, 0, 1, 1, 0, 1], np.float32)
    assert prompt_of(Example(np.arange(7, dtype=np.int32), weights)).tolist() == [0, 1, 2]


def test_the_prompt_of_a_document_is_its_opening_and_never_all_of_it() -> None:
    assert prompt_of(Example(np.arange(100, dtype=np.int32))).tolist() == list(range(OPENING))
    for length in (2, 3, 9):
        assert 1 <= len(prompt_of(Example(np.arange(length, dtype=np.int32)))) < length
