from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tutelage.evaluate import budget
from tutelage.evaluate.budget import PROBE, within_budget
from tutelage.evaluate.session import EvalSession
from tutelage.records import Conversation, message

SETS = {
    "seen": [Conversation((message("user", f"seen {n}"),), f"s{n}") for n in range(40)],
    "in_domain": [Conversation((message("user", f"new {n}"),), f"n{n}") for n in range(120)],
}


def session(seconds: float | None) -> EvalSession:
    return EvalSession("sft", {"model": Path("model")}, frozenset(), budget=lambda: seconds)


@pytest.fixture
def second_per_prompt(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A model that takes a second for each prompt; the counts of prompts it was asked."""
    clock, asked = [0.0], []

    def ask(checkpoint: Any, prompts: Sequence[Conversation], *rest: Any) -> None:
        asked.append(len(prompts))
        clock[0] += len(prompts)

    monkeypatch.setattr(budget, "ask", ask)
    monkeypatch.setattr(budget.time, "monotonic", lambda: clock[0])
    return asked


def counts(sets: budget.Sets) -> dict[str, int]:
    return {name: len(prompts) for name, prompts in sets.items()}


def test_without_a_budget_every_prompt_is_asked(second_per_prompt: list[int]) -> None:
    assert within_budget(session(None), None, SETS) is SETS  # type: ignore[arg-type]
    assert second_per_prompt == []


def test_a_sample_fits_into_the_time_of_two_models(second_per_prompt: list[int]) -> None:
    chosen = within_budget(session(PROBE + 80.0), None, SETS)  # type: ignore[arg-type]
    assert counts(chosen) == {"seen": 10, "in_domain": 30}  # 40 seconds for each model, in the proportion of the sets
    assert second_per_prompt == [PROBE]


def test_both_models_are_asked_the_same_prompts(second_per_prompt: list[int]) -> None:
    opened = session(PROBE + 80.0)
    first = within_budget(opened, None, SETS)  # type: ignore[arg-type]
    fewer = {name: prompts[5:] for name, prompts in SETS.items()}  # a model whose tokenizer lacks some characters
    second = within_budget(opened, None, fewer)  # type: ignore[arg-type]
    for name, prompts in second.items():
        assert {prompt.id for prompt in prompts} <= {prompt.id for prompt in first[name]}
    assert second_per_prompt == [PROBE]


def test_which_prompts_are_asked_depends_on_their_text_alone(second_per_prompt: list[int]) -> None:
    backwards = {name: prompts[::-1] for name, prompts in SETS.items()}
    one, other = (within_budget(session(60.0), None, sets) for sets in (SETS, backwards))  # type: ignore[arg-type]
    for name in SETS:
        assert {prompt.id for prompt in one[name]} == {prompt.id for prompt in other[name]}


def test_a_budget_for_all_asks_all_and_one_for_none_asks_a_few(second_per_prompt: list[int]) -> None:
    assert counts(within_budget(session(1000.0), None, SETS)) == {"seen": 40, "in_domain": 120}  # type: ignore[arg-type]
    assert counts(within_budget(session(1.0), None, SETS)) == {"seen": 2, "in_domain": 6}  # type: ignore[arg-type]
