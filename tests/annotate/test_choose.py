"""The blind choice between checkpoints."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from annotate_helpers import items, log_of, service

from tutelage.annotate.choose import battles_of, choice_figures, choice_lines, decision, training_scores, until_decided
from tutelage.annotate.events import LogSettings, PromptTurn
from tutelage.annotate.items import make_item
from tutelage.annotate.service import SubmitRequest
from tutelage.annotate.state import Annotations


def votes(count: int, chance: float, seed: int = 0, answers: int = 3) -> Annotations:
    """The first model is ranked first with this chance; the order of the others is random."""
    draw, rows = random.Random(seed), []
    for number in range(count):
        others = draw.sample(range(2, answers + 1), answers - 1)
        ranks = [1, *others] if draw.random() < chance else [answers, *(rank - 1 for rank in others)]
        rows.append((number, "ann", ranks))
    return log_of(items(count, answers=answers), rows)


def test_a_better_checkpoint_is_found_and_no_more_votes_are_asked_for() -> None:
    assert decision(votes(19, 1.0)) is None  # nobody decides on so few
    assert decision(votes(60, 1.0)) == {"best": "runs/m1", "prompts": 20}
    assert decision(votes(60, 0.9)) == {"best": "runs/m1", "prompts": 40}
    assert decision(votes(60, 1 / 3)) is None
    unseen = log_of(items(30), [(n, "ann", (1, 2, None)) for n in range(30)])
    assert decision(unseen) is None  # the third may be the best


@pytest.mark.slow
def test_equal_checkpoints_are_rarely_told_apart() -> None:
    """The level is 0.05 over all looks and all pairs, and Bonferroni's bound is above it."""
    found = sum(decision(votes(60, 0.5, seed, answers=2)) is not None for seed in range(100))
    assert found <= 9  # more has a probability below 0.03 at a rate of 0.05


def test_the_page_says_that_nothing_is_left_when_it_is_decided(tmp_path: Path) -> None:
    settings = LogSettings(task="choose")
    with service(tmp_path / "log", items(40), settings, until_decided()) as desk:
        done = 0
        while not (shown := desk.next("ann")).get("done"):
            order = desk.state.assigned["ann"][shown["number"]].order
            ranks: list[int | None] = [1 + (place != 1) for place in order]
            desk.submit("ann", SubmitRequest(id=f"vote-number-{done}", number=shown["number"], revision=0, ranks=ranks))
            done += 1
        assert done == 20
        assert "best" not in json.dumps(shown)  # whoever votes on does not learn which
    found = choice_figures(desk.state)
    assert found["decision"]["best"] == found["players"][0]["name"] == "runs/m2"
    assert any("people choose runs/m2" in line for line in choice_lines(found))


def test_equal_answers_count_as_a_tie_and_named_models_not_at_all() -> None:
    same = make_item([PromptTurn("user", "a?")], ["x", "x"], ["runs/m1", "runs/m2"])
    named = make_item([PromptTurn("user", "Who?")], ["I am GPT-4, an AI.", "y"], ["runs/m1", "runs/m2"])
    state = log_of([*items(1, answers=2), same, named], [(0, "ann", (1, 2)), (2, "ann", (1, 2))])
    battles = battles_of(state)
    assert sorted(battles.won_N.tolist()) == [0.5, 1.0]
    with pytest.raises(ValueError, match="no blind vote"):
        battles_of(log_of([named], [(0, "ann", (1, 2))]))


def test_the_choice_of_people_is_beside_that_of_score_and_loss(tmp_path: Path) -> None:
    (tmp_path / "sft").mkdir()
    lines: list[dict[str, Any]] = [
        {"step": 5, "held_out.chat": 2.0, "dev_eval": {"score": 0.5}},
        {"step": 6},
        {"step": 9, "held_out.chat": 1.0, "dev_eval": {"score": 0.25}},
    ]
    log = tmp_path / "sft" / "train.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"st')
    names = [f"{tmp_path}/sft@{step}" for step in (5, 9)]
    assert training_scores(names[0]) == {"score": 0.5, "held_out_loss": 2.0}
    assert training_scores("gpt-4") == {"score": None, "held_out_loss": None}
    new = [make_item([PromptTurn("user", f"{n}?")], ["x", "y"], names) for n in range(4)]
    found = choice_figures(log_of(new, [(n, "ann", (1, 2)) for n in range(3)] + [(3, "ann", (2, 1))]))
    assert (found["by_score"], found["by_loss"]) == tuple(names)
    assert found["decision"] is None
    text = "\n".join(choice_lines(found))
    assert "not decided after 4 prompts" in text
    assert f"the held-out loss of training chooses {names[1]}" in text
