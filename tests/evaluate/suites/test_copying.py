"""The suite "copying" on models that copy everything, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import Answer
from tutelage.evaluate.results import Results
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.suites import SUITES, copying
from tutelage.evaluate.suites.copying import cases
from tutelage.world.society import World, WorldSettings

WORLD = World(WorldSettings(people=20, versions=2))
COUNT = 12


def measured(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str, str], str]) -> Results:
    """The suite with a model whose answer to a prompt is a function of it and of the right value."""
    truths = {case.question.prompt: case.question.answer for case in cases(WORLD, COUNT)}

    def continued(model: object, prompts: Sequence[str], settings: SamplingSettings, label: str) -> list[Answer]:
        return [Answer(answer(prompt, truths[prompt.rpartition("- ")[2]]), Generation()) for prompt in prompts]

    monkeypatch.setattr(copying, "SENTENCES", COUNT)
    monkeypatch.setattr(copying, "continue_text", continued)
    session = EvalSession("stage", {"model": Path("x")}, frozenset({"world"}), world=WORLD)
    session._models[Path("x")] = object()  # type: ignore[assignment]
    return SUITES["copying"].run(session)


def test_a_model_that_copies_needs_a_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    result = measured(monkeypatch, lambda prompt, truth: f" {truth}." if truth in prompt else " nowhere.")
    assert {name: rate.rate for name, rate in result.rates.items()} == {"nothing": 0, "sheet": 1, "two_sheets": 1}
    assert {rate.count for rate in result.rates.values()} == {COUNT}
    assert set(result.rates) == set(copying.SUITE.labels)


def test_sheets_state_the_fact_and_the_sentence_does_not() -> None:
    made = cases(WORLD, 40)
    assert len({case.question.subject for case in made}) == 40
    for case in made:
        assert case.question.answer in case.sheet
        assert case.question.answer not in case.question.prompt
        assert case.question.subject not in case.other
    assert {case.other_first for case in made} == {True, False}
    assert made == cases(WORLD, 40)


def test_people_of_the_sentences_are_in_no_text() -> None:
    text = " ".join(document.text for document in WORLD.documents())
    assert not [case for case in cases(WORLD, 40) if case.question.subject in text]
