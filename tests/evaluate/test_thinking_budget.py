from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.engine.engine import Engine
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.thinking_budget import ThinkBudget, budget_process, end_thoughts, forced_place, marker_ids
from tutelage.model.transformer import Transformer
from tutelage.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("tokens", "place"),
    [([1, 2], None), ([1, 2, 3], 0), ([1, 2, 3, 8], 1), ([1, 2, 3, 8, 9], None), ([8, 9, 3, 4], None)],
)
def test_the_marker_is_forced_once_the_budget_is_used_up(tokens: list[int], place: int | None) -> None:
    """A budget of 3 tokens; the marker is 8 9. A thought that was closed before is left alone."""
    assert forced_place(tokens, [8, 9], 3) == place


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 6))
def test_a_thought_always_ends_right_after_its_budget(thought: list[int], budget: int) -> None:
    end, tokens = [8, 9], list[int]()
    for free in [*thought, *[0] * 10]:
        place = forced_place(tokens, end, budget)
        tokens.append(free if place is None else end[place])
    assert tokens[budget : budget + 2] == end and tokens.count(8) == 1


def test_the_engine_closes_a_thought_and_leaves_other_answers_alone(
    small_model: Callable[[int], Transformer], small_tokenizer: Tokenizer
) -> None:
    model, settings = small_model(0), SamplingSettings(max_tokens=14)
    end = marker_ids(small_tokenizer, "</think>")

    def write(opened: bool) -> list[int]:
        engine = Engine(model)
        process = end_thoughts(small_tokenizer, 4, opened)
        request = engine.add(np.array([5, 6, 7]), frozenset(), settings, process=process)
        engine.run()
        return request.generation.tokens

    forced, free = write(True), write(False)
    assert forced[:4] == free[:4] and forced[4 : 4 + len(end)] == end != free[4 : 4 + len(end)]


def test_a_thought_that_would_end_too_soon_goes_on_with_wait(
    small_model: Callable[[int], Transformer], small_tokenizer: Tokenizer
) -> None:
    """The token that the model likes best is taken for the one that ends it."""
    model, settings = small_model(0), SamplingSettings(max_tokens=14)
    wait = small_tokenizer.encode("Wait").tolist()
    prompt = np.array([5, 6, 7])

    def write(minimum: int, stops: frozenset[int], opened: bool = True) -> list[int]:
        engine = Engine(model)
        process = budget_process(small_tokenizer, ThinkBudget(at_least=minimum), opened)
        request = engine.add(prompt, stops, settings, process=process)
        engine.run()
        return request.generation.tokens

    free = write(0, frozenset())
    stop = frozenset({free[2]})
    short = write(0, stop)
    assert short == free[: free.index(free[2]) + 1]
    begun = len(short) - 1
    longer = write(begun + len(wait) + 1, stop)
    assert longer[:begun] == short[:begun] and longer[begun : begun + len(wait)] == wait
    assert free[2] not in longer[: begun + len(wait) + 1]
    assert write(12, stop, opened=False) == short
