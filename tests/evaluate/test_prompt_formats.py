from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.evaluate import prompt_formats
from tutelage.evaluate.choice_items import Asked, ChoiceItem
from tutelage.evaluate.choices import ChoiceScore
from tutelage.evaluate.prompt_formats import REFERENCE, ask_in, format_range, formats
from tutelage.model.hub import load_model

pytestmark = pytest.mark.usefixtures("quiet")

ITEMS = [ChoiceItem(str(n), f"Question {n}?", ("red", "blue", "green", "black"), n % 4) for n in range(12)]


def test_the_formats_differ_in_one_thing_each() -> None:
    found = formats(ITEMS, chats=True)
    assert found[0] == REFERENCE
    assert len({form.name for form in found}) == len(found) == 9
    for form in found[1:]:
        fields = ("labels", "rotation", "wording", "shots", "chat")
        assert sum(getattr(form, name) != getattr(REFERENCE, name) for name in fields) == 1
    assert [form.name for form in formats(ITEMS[:3], chats=False)][-1] == "'The answer is'"


def test_a_question_in_each_format() -> None:
    by_name = {form.name: form for form in formats(ITEMS, chats=False)}
    plain = ask_in(by_name["letters"], ITEMS[1], ITEMS)
    assert plain.contexts[0] == "Question: Question 1?\nA. red\nB. blue\nC. green\nD. black\nAnswer:"
    assert plain.continuations == (" A", " B", " C", " D")
    turned = ask_in(by_name["choices rotated by 1"], ITEMS[1], ITEMS)
    assert turned.contexts[0] == "Question: Question 1?\nA. blue\nB. green\nC. black\nD. red\nAnswer:"
    assert turned.item.gold == 0
    assert ask_in(by_name["numbers"], ITEMS[1], ITEMS).continuations == (" 1", " 2", " 3", " 4")
    alone = ask_in(by_name["no labels"], ITEMS[1], ITEMS)
    assert (alone.contexts[0], alone.continuations[0]) == ("Question: Question 1?\nAnswer:", " red")
    assert ask_in(by_name["'The answer is'"], ITEMS[1], ITEMS).contexts[0].endswith("black\nThe answer is")


def test_pain_e14_examples_are_the_same_for_all_and_never_the_question_itself() -> None:
    form = next(form for form in formats(ITEMS, chats=False) if form.shots)
    contexts = [ask_in(form, item, ITEMS).contexts[0] for item in ITEMS]
    for item, context in zip(ITEMS, contexts, strict=True):
        parts = context.split("\n\n")
        assert len(parts) == 6
        assert sum(f"Question: {item.question}" in part for part in parts) == 1
    assert len({context.rpartition("\n\n")[0] for context in contexts}) <= 6


class Stub:
    """A model of known habits in place of the scores: it likes a letter, or knows every answer."""

    def __init__(self, likes: int | None) -> None:
        self.likes = likes

    def __call__(
        self, checkpoint: Any, questions: Sequence[Asked], chat: bool, alone: bool
    ) -> tuple[list[ChoiceScore], list[Asked]]:
        scores = []
        for one in questions:
            place = one.item.gold if self.likes is None else self.likes
            logprob_C = np.log(np.full(4, 0.1))
            logprob_C[place] = np.log(0.7)
            scores.append(ChoiceScore(one.item, logprob_C, np.ones(4)))
        return scores, []


def test_a_model_that_always_says_a_is_unmasked(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_formats, "score_choices", Stub(likes=0))
    found = format_range(load_model(base_folder), ITEMS, ITEMS)
    assert found["letter_bias"]["letters"] == pytest.approx({"A": 0.7, "B": 0.1, "C": 0.1, "D": 0.1})
    assert found["letter_bias"]["balanced"]
    assert found["changed"]["rate"] == 1  # the answer is whatever stands at A
    monkeypatch.setattr(prompt_formats, "score_choices", Stub(likes=None))
    knows = format_range(load_model(base_folder), ITEMS, ITEMS)
    assert (knows["low"], knows["median"], knows["high"], knows["changed"]["rate"]) == (1, 1, 1, 0)
    assert knows["letter_bias"]["spread"] == pytest.approx(0, abs=1e-12)


def test_the_command_prints_the_range_or_that_it_was_not_measured(base_folder: Path, tmp_path: Path) -> None:
    rows = [
        {"id": item.id, "question": item.question, "choices": list(item.choices), "answer": item.gold} for item in ITEMS
    ]
    suite = tmp_path / "suite.jsonl"
    suite.write_text("\n".join(map(json.dumps, rows)))
    fixed = ["evaluate", str(base_folder), "--suite", str(suite), "--by", "likelihood"]
    found = CliRunner().invoke(main, [*fixed, "--formats", "--json"])
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)["format_range"]
    assert result["questions"] == 12 and len(result["formats"]) == 8
    assert result["low"] <= result["median"] <= result["high"]
    # The reference is the same as the letters form alone.
    letters = json.loads(CliRunner().invoke(main, [*fixed, "--form", "letters", "--json"]).stdout)
    assert letters["rates"]["acc"]["rate"] == result["formats"][0]["rate"]
    assert letters["format_range"] is None
    assert "format range not measured" in CliRunner().invoke(main, fixed).output
    assert "letter bias: A " in CliRunner().invoke(main, [*fixed, "--formats"]).output


def test_a_text_with_several_beginnings_has_no_formats() -> None:
    item = replace(ITEMS[0], beginnings=True)
    with pytest.raises(ValueError, match="leave --formats out"):
        ask_in(REFERENCE, item, ITEMS)
