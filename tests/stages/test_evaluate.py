from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tutelage import progress
from tutelage.config import SettingsError
from tutelage.evaluate.asking import ask, continue_text
from tutelage.evaluate.format import words
from tutelage.evaluate.statistics import rate
from tutelage.model.hub import load_model
from tutelage.recipe import Run, load_recipe
from tutelage.records import Conversation, message
from tutelage.stages.evaluate import ANSWER, Trial, behaviour, make_trial, run_suite
from tutelage.stages.prepare import StageContext
from tutelage.stages.prompts import known_words, prompt_sets, trained_answers
from tutelage.stages.settings import Sft


@pytest.fixture(autouse=True)
def quiet() -> Any:
    progress.set_mode("quiet")
    yield
    progress.set_mode("auto")


def chat(run: Run) -> tuple[Sft, StageContext]:
    stage = run.recipe.stages["chat"]
    assert isinstance(stage, Sft)
    return stage, run.context("chat")


@pytest.fixture(scope="module")
def figures(tales_run: Run) -> dict[str, Any]:
    return run_suite("format", *chat(tales_run))


def with_prompts(tales: Path, run: Run, folder: Path, sets: dict[str, list[str]]) -> Run:
    """The same run with other prompts to try it on."""
    rows = [json.dumps({"set": name, "prompt": prompt}) for name, prompts in sets.items() for prompt in prompts]
    (folder / "prompts.jsonl").write_text("\n".join(rows))
    return Run(load_recipe(tales, [f"data.unseen.path='{folder / 'prompts.jsonl'}'"]), run.folder)


def test_outcomes_of_format_agree_with_its_rates(figures: dict[str, Any]) -> None:
    outcomes = figures["outcomes"][""]
    assert [prompt for prompt, _ in outcomes] == [
        "who fears the fox?",
        "who hears the hen and the owl?",
        "what is the sea?",  # and not the next, with digits that a tokenizer of these characters lacks
    ]
    complies = [right for _, right in outcomes]
    assert {name: figures[name] for name in ("rate", "low", "high", "count")} == {
        name: getattr(rate(sum(complies), 3), name) for name in ("rate", "low", "high", "count")
    }
    assert (figures["near"]["rate"], figures["near"]["count"]) == (sum(complies[:2]) / 2, 2)
    assert (figures["far"]["rate"], figures["far"]["count"]) == (complies[2], 1)
    assert figures["seen"]["count"] == 11
    assert len(figures["failures"]) == complies.count(0)


def test_words_and_answers_by_heart_are_counted_over_the_unseen_prompts(
    figures: dict[str, Any], tales_run: Run
) -> None:
    unseen = [row for row in figures["samples"] if row["set"] != "seen"]
    assert len(unseen) == figures["verbatim"]["count"] == 3
    known, trained = known_words(*chat(tales_run)), trained_answers(*chat(tales_run))
    assert figures["verbatim"]["rate"] == sum(hash(row["after"].strip()) in trained for row in unseen) / 3
    written = [word for row in unseen for word in words(row["after"])]
    assert figures["real_words"]["count"] == len(written) > 0
    assert figures["real_words"]["rate"] == sum(word in known for word in written) / len(written)


def test_samples_show_each_prompt_with_what_the_base_and_this_model_write(
    tales: Path, tales_run: Run, tmp_path: Path
) -> None:
    asked = {"odd": ["who sees the fox?", "ooo"], "odder": ["likes likes likes", "7?", "h"]}  # they are answered unlike
    stage, at = chat(with_prompts(tales, tales_run, tmp_path, asked))
    samples = run_suite("format", stage, at)["samples"]
    seen = [("seen", prompt.messages[-1].text) for prompt in prompt_sets(stage, at)["seen"][:8]]
    unseen = [(name, prompt) for name, prompts in asked.items() for prompt in prompts if prompt != "7?"]
    assert [(row["set"], row["prompt"]) for row in samples] == seen + unseen
    assert len({row["after"] for row in samples[8:]}) >= 3
    model, base = load_model(tales_run.folder / "chat"), load_model(tales_run.folder / "base")
    for row in samples:
        (after,) = ask(model, [Conversation((message("user", row["prompt"]),))], ANSWER, "")
        (before,) = continue_text(base, [row["prompt"]], ANSWER, "")
        assert (row["after"], row["before"]) == (after.text, before.text)
        assert row["complies"] == (bool(after.text.strip()) and after.generation.finish_reason == "stop")


def test_a_set_of_which_nothing_can_be_said_is_left_out(tales: Path, tales_run: Run, tmp_path: Path) -> None:
    found = run_suite("format", *chat(with_prompts(tales, tales_run, tmp_path, {"sums": ["7?"], "near": ["who?"]})))
    assert "sums" not in found
    assert (found["count"], found["near"]["count"]) == (1, 1)
    seen_alone = run_suite("format", *chat(with_prompts(tales, tales_run, tmp_path, {"sums": ["7?", "8?"]})))
    assert seen_alone["count"] == len(seen_alone["outcomes"][""]) == 11


def test_pain_15_prompts_that_leave_no_room_to_answer_end_nothing(tales: Path, tmp_path: Path) -> None:
    """A row whose question alone fills the context is dropped and counted; it must not end the training. A prompt that
    fits the chat stage's longer context is continued by the base model too."""
    shutil.copytree(tales.parent, tmp_path, dirs_exist_ok=True)
    for name, verb in (("chat.jsonl", "sees"), ("held_out.jsonl", "likes")):
        row = json.dumps({"prompt": f"who {verb} the cat " * 10, "completion": "the dog."})
        (tmp_path / name).write_text(row + "\n" + (tmp_path / name).read_text())
    with (tmp_path / "prompts.jsonl").open("a") as file:
        for times in (4, 10):
            file.write("\n" + json.dumps({"set": "long", "prompt": "who hears the cat " * times}))
    overrides = [f"stages.chat.{setting}" for setting in ("too_long=drop", "context=80", "steps=1", "evaluate_every=1")]
    run = Run(load_recipe(tmp_path / "tales.toml", overrides), tmp_path / "run")
    summary = run.run()
    assert summary["stages.chat.ledgers.chat.dropped.longer than the context of 80 tokens.rows"] == 1
    assert summary["evaluate.chat.format.count"] == 4
    assert summary["evaluate.chat.format.long.count"] == 1
    assert summary["evaluate.chat.format.seen.count"] == 11
    look = json.loads((tmp_path / "run" / "chat" / "train.jsonl").read_text().splitlines()[-1])
    assert look["behaviour"]["format"]["count"] == 4  # the openings of the other held-out rows, each once


def test_pain_17_what_the_base_could_do_is_counted_before_and_after(tales_run: Run) -> None:
    found = run_suite("forgetting", *chat(tales_run))
    assert list(found["outcomes"]) == ["tales"]
    before, after, size = (sum(row[place] for row in found["outcomes"]["tales"]) for place in (1, 2, 3))
    text = (Path(tales_run.recipe.data["tales"].path)).read_text()  # type: ignore[union-attr, arg-type]
    assert size == len(text[int(len(text) * 0.9) :]) - 1  # nothing stands before a text's first character
    assert (found["before"], found["after"]) == pytest.approx((before / size, after / size))
    assert found["increase"] == pytest.approx(after / before - 1)
    assert found["increase"] == tales_run.summary()["evaluate.chat.forgetting.increase"]


def test_knowledge_needs_a_world_to_ask_about(tales_run: Run) -> None:
    with pytest.raises(SettingsError, match="asks about the built-in world, but \\[data\\] has none of kind 'world'$"):
        run_suite("knowledge", *chat(tales_run))


def test_behaviour_is_the_mean_of_what_was_tried(tales_run: Run) -> None:
    model, trial = load_model(tales_run.folder / "chat"), make_trial(*chat(tales_run))
    assert (len(trial.prompts), trial.questions) == (4, [])
    found = behaviour(model, trial)
    assert list(found) == ["format", "real_words", "score"]
    assert found["score"] == (found["format"]["rate"] + found["real_words"]["rate"]) / 2
    assert list(behaviour(model, Trial(trial.prompts, [], frozenset()))) == ["format", "score"]
    assert behaviour(model, Trial([], [], trial.known_words)) == {}


def test_a_model_that_writes_no_words_is_not_praised_for_having_written_no_wrong_one(
    tales: Path, tmp_path: Path
) -> None:
    """A model that answers "..." keeps the form; were its words left out of the mean, no other could beat it."""
    shutil.copytree(tales.parent, tmp_path, dirs_exist_ok=True)
    rows = [json.loads(row) for row in (tmp_path / "chat.jsonl").read_text().splitlines()]
    (tmp_path / "chat.jsonl").write_text("\n".join(json.dumps(row | {"completion": "..."}) for row in rows))
    run = Run(load_recipe(tmp_path / "tales.toml", ["evaluate={}", "stages.chat.evaluate_every=0"]), tmp_path / "run")
    run.run()
    found = behaviour(load_model(run.folder / "chat"), make_trial(*chat(run)))
    assert found["format"]["rate"] == 1
    assert found["score"] == 0.5


def test_before_is_what_the_model_could_do_that_a_stage_goes_on_from(
    tales: Path, tales_run: Run, tmp_path: Path
) -> None:
    """A base model has no turns to keep; a chat model is asked the same prompts as the stage that goes on from it."""
    assert run_suite("before", *chat(tales_run)) == {}
    folder = tales_run.folder / "chat"
    model = f"stages.base={{kind='model',path='{folder}',data={{tales=1}},lr=0.01}}"
    run = Run(load_recipe(tales, [model, "stages.chat.steps=2", "evaluate.chat=['before','format']"]), tmp_path / "run")
    summary = run.run()
    own, _ = chat(run)
    assert run_suite("before", own, run.context("chat"))["format"]["near"]["count"] == 2
    # The model it goes on from was tried on the very same prompts in its own run.
    for name in ("rate", "near.rate", "seen.rate", "stops.rate", "real_words.rate"):
        assert summary[f"evaluate.chat.before.format.{name}"] == tales_run.summary()[f"evaluate.chat.format.{name}"]


def test_of_the_bases_words_it_is_counted_how_many_are_real(figures: dict[str, Any], tales_run: Run) -> None:
    known = known_words(*chat(tales_run))
    written = [word for row in figures["samples"] for word in words(row["before"])]
    assert figures["base_words"]["count"] == len(written) > 0
    assert figures["base_words"]["rate"] == sum(word in known for word in written) / len(written)
