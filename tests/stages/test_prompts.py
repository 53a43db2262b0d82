from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_recipe import write_tiny_recipe

from tutelage.batching.datasets import split_of
from tutelage.chat import read_conversations
from tutelage.evaluate.session import PromptData
from tutelage.ledger import Ledger
from tutelage.recipe import load_recipe
from tutelage.records import Conversation, message
from tutelage.runner import Run
from tutelage.stages import prompts
from tutelage.stages.base import StageContext
from tutelage.stages.prompts import chat_world, opening, read_prompt_data
from tutelage.stages.sft import Sft
from tutelage.world.society import World, WorldSettings


def asked(conversations: Sequence[Conversation]) -> list[str]:
    return [row.messages[-1].text for row in conversations]


def chat(recipe: Path, *overrides: str) -> tuple[Sft, StageContext]:
    """The chat stage of a recipe, which need not have been run."""
    run = Run(load_recipe(recipe, overrides), recipe.parent / "run")
    stage = run.recipe.stages["chat"]
    assert isinstance(stage, Sft)
    return stage, run.context("chat")


def data_of(recipe: Path, *overrides: str) -> PromptData:
    return read_prompt_data(*chat(recipe, *overrides))


def openings(recipe: Path, split: str, *overrides: str) -> set[tuple[object, ...]]:
    """How the rows of a split begin."""
    stage, at = chat(recipe, *overrides)
    return {opening(row).messages for row in prompts.rows(stage, at) if split_of(row, stage.held_out) == split}


@pytest.fixture
def society(tmp_path: Path) -> Path:
    """A recipe about the built-in world."""
    return write_tiny_recipe(tmp_path, "steps = 1", "steps = 1\nheld_out = 0.2\nevaluate_every = 1")


@pytest.fixture
def rows_alone(tales: Path, tmp_path: Path) -> Path:
    """A recipe with one file of conversations, of which a share is held out, and no other prompts."""
    rows = [{"prompt": f"who sees {n} and {n % 7}?", "completion": f"the cat sees {n}."} for n in range(200)]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "tales.txt").write_text(tales.with_name("tales.txt").read_text())
    recipe = tales.read_text().replace(', held_out = "held_out.jsonl"', "").replace("unseen =", "# unseen =")
    (tmp_path / "tales.toml").write_text(recipe.replace("from = ", "held_out = 0.3\nfrom = "))
    return tmp_path / "tales.toml"


def test_the_sets_of_a_file_are_beside_what_was_seen(tales: Path) -> None:
    sets = data_of(tales).sets
    assert list(sets) == ["seen", "near", "far"]
    assert asked(sets["near"]) == ["who fears the fox?", "who hears the hen and the owl?"]
    assert asked(sets["far"]) == ["what is the sea?", "7 + 5?"]
    rows = read_conversations(tales.with_name("chat.jsonl"), Ledger("rows"))
    trained = list(dict.fromkeys(row.messages[0].text for row in rows))
    assert asked(sets["seen"]) == trained  # each prompt once, though two rows ask it
    assert len(trained) == 11


def test_the_system_message_that_all_trained_rows_share_is_known(tales: Path, tmp_path: Path) -> None:
    assert data_of(tales).system == ""
    folder = shutil.copytree(tales.parent, tmp_path / "tales")
    tales, path = folder / tales.name, folder / "chat.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, "system": "Be brief."}) + "\n" for row in rows))
    assert data_of(tales).system == "Be brief."
    path.write_text("".join(json.dumps({**row, "system": f"Be {n}."}) + "\n" for n, row in enumerate(rows)))
    assert data_of(tales).system == ""


def test_sets_of_one_name_in_several_files_are_one(tales: Path, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"set": "far", "prompt": "why?"}\n{"set": "farther", "prompt": "x?"}')
    sets = data_of(tales, f"data.more={{kind='prompts',path='{tmp_path / 'more.jsonl'}'}}").sets
    assert list(sets) == ["seen", "near", "far", "farther"]
    assert asked(sets["far"]) == ["what is the sea?", "7 + 5?", "why?"]


def test_conversations_about_the_world_are_evaluated_on_its_own_four_sets(society: Path) -> None:
    sets = data_of(society).sets
    assert list(sets) == ["seen", "in_domain", "near", "out_of_domain"]
    world = World(WorldSettings(people=20, versions=1))
    trained = {opening(row).messages for row in world.conversations("train") if split_of(row, 0.2) == "train"}
    assert {row.messages for row in sets["seen"]} <= trained
    for name in ("in_domain", "near", "out_of_domain"):
        assert not trained & {row.messages for row in sets[name]}
        assert len(sets[name]) > 100


def test_conversations_about_other_things_are_not_evaluated_on_the_world(rows_alone: Path) -> None:
    stage, at = chat(rows_alone, "data.tales={kind='world',people=30,versions=1}")
    assert chat_world(stage.data, at.data) is None
    assert not stage.chats_about_world(at)
    assert list(read_prompt_data(stage, at).sets) == ["seen", "in_domain"]


def test_the_world_is_the_one_that_the_conversations_name(society: Path) -> None:
    stage, at = chat(society, "data.zoo={kind='world',people=40}", "data.chat.world='zoo'")
    assert stage.chats_about_world(at)
    world = chat_world(stage.data, at.data)
    assert world is not None
    assert world.settings.people == 40


def test_without_file_and_world_held_out_rows_are_asked(rows_alone: Path) -> None:
    rows = list(read_conversations(rows_alone.with_name("chat.jsonl"), Ledger("rows")))
    held_out = {row.messages[0].text for row in rows if split_of(row, 0.3) == "held_out"}
    data = data_of(rows_alone)
    sets = data.sets
    assert list(sets) == ["seen", "in_domain"]
    assert len(sets["seen"]) == prompts.SEEN
    assert set(asked(sets["in_domain"])) < held_out
    assert not set(asked(sets["seen"])) & held_out
    # The rest of them are for the evaluations during training; where there are none, none is put aside.
    assert set(asked(sets["in_domain"])) | set(asked(data.dev_prompts)) == held_out
    assert data_of(rows_alone, "stages.chat.keep=last").sets == sets
    assert set(asked(data_of(rows_alone, "stages.chat.evaluate_every=0").sets["in_domain"])) == held_out


def test_a_prompt_that_is_trained_on_is_not_called_unseen_where_another_row_of_it_is_held_out(rows_alone: Path) -> None:
    path = rows_alone.with_name("chat.jsonl")
    rows = [{"prompt": f"who sees {n % 20}?", "completion": f"the cat sees {n}."} for n in range(200)]
    path.write_text("\n".join(map(json.dumps, rows)))
    trained = openings(rows_alone, "train")
    assert trained & openings(rows_alone, "held_out")
    data = data_of(rows_alone)
    assert not trained & {row.messages for row in data.dev_prompts}
    assert not trained & {row.messages for row in data.sets.get("in_domain", [])}


def test_rows_so_few_that_none_is_held_out_leave_only_what_was_seen(rows_alone: Path) -> None:
    data = data_of(rows_alone, "stages.chat.held_out=0.0")
    assert list(data.sets) == ["seen"]
    assert data.dev_prompts == []


@pytest.mark.parametrize("kind", ["file", "world", "rows"])
def test_what_checkpoints_are_selected_by_is_never_reported(
    kind: str, tales: Path, society: Path, rows_alone: Path, tmp_path: Path
) -> None:
    overrides = []
    if kind == "file":  # a prompt of the file that is the opening of a held-out row too
        repeated = json.loads(tales.with_name("held_out.jsonl").read_text().splitlines()[0])["prompt"]
        (tmp_path / "more.jsonl").write_text(json.dumps({"set": "repeated", "prompt": repeated}))
        overrides = [f"data.more={{kind='prompts',path='{tmp_path / 'more.jsonl'}'}}"]
    if kind == "world":  # conversations about people of both halves
        overrides = ["data.other={kind='world-chat',split='held_out'}", "stages.chat.data={chat=1,other=1}"]
    recipe = {"file": tales, "world": society, "rows": rows_alone}[kind]
    data = data_of(recipe, *overrides)
    dev = {row.messages for row in data.dev_prompts}
    reported = {row.messages for rows in data.sets.values() for row in rows}
    assert dev
    assert not dev & reported
    held_out = openings(recipe, "held_out", *overrides)
    assert dev < held_out if kind == "file" else dev <= held_out


def test_an_opening_ends_with_the_first_question() -> None:
    turns = (message("system", "Be brief."), message("user", "a?"), message("assistant", "b"), message("user", "c?"))
    assert opening(Conversation(turns, "x")) == Conversation(turns[:2], "x")


def test_known_words_are_those_of_the_text_and_of_what_is_trained_on(tales: Path, tmp_path: Path) -> None:
    rows = ['{"prompt": "who?", "completion": "the Ox, don\'t you see"}']
    (tmp_path / "chat.jsonl").write_text("\n".join(rows))
    (tmp_path / "held_out.jsonl").write_text('{"prompt": "where is the unicorn?", "completion": "gone"}')
    overrides = [f"data.chat.path='{tmp_path / 'chat.jsonl'}'", f"data.chat.held_out='{tmp_path / 'held_out.jsonl'}'"]
    data = data_of(tales, *overrides)
    text = {"the", "who", "cat", "dog", "fox", "hen", "owl", "sees", "likes", "hears"}
    assert data.known_words == text | {"ox", "don't", "you", "see"}
    assert data.trained_answers == {hash("the Ox, don't you see")}


def test_a_model_whose_text_is_not_known_has_no_known_words(tales: Path, tales_run: Run) -> None:
    unknown = f"stages.base={{kind='model',path='{tales_run.folder / 'base'}',lr=0.1}}"
    assert data_of(tales, unknown, "stages.chat.replay=0.0", "evaluate={}").known_words == frozenset()


def test_turns_that_say_nothing_are_no_answers_to_repeat(tales: Path, tmp_path: Path) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "search", "arguments": "{}"}}]}
    turns = [{"role": "user", "content": "who?"}, call, {"role": "tool", "content": "ox"}]
    row = {"messages": [*turns, {"role": "assistant", "content": " the ox\n"}]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(row))
    data = data_of(tales, f"data.chat={{kind='chat',path='{tmp_path / 'chat.jsonl'}'}}")
    assert data.trained_answers == {hash("the ox")}


def test_a_set_of_seen_prompts_in_a_file_joins_what_was_seen(tales: Path, tmp_path: Path) -> None:
    (tmp_path / "seen.jsonl").write_text(json.dumps({"set": "seen", "prompt": "who are you?"}) + "\n")
    sets = data_of(tales, f"data.unseen.path={tmp_path / 'seen.jsonl'}").sets
    assert list(sets) == ["seen"]
    assert asked(sets["seen"])[-1] == "who are you?"
    assert len(sets["seen"]) == 11 + 1


def test_one_pass_over_the_data_gives_everything(rows_alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes, real = [], prompts.conversations
    monkeypatch.setattr(prompts, "conversations", lambda name, table: passes.append(name) or real(name, table))
    data = data_of(rows_alone)
    assert data.sets and data.dev_prompts and data.known_words and data.trained_answers
    assert passes == ["chat"]


def test_memory_does_not_grow_with_the_held_out_rows(rows_alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "CANDIDATES", 10)
    data = data_of(rows_alone)
    found = [*asked(data.sets["in_domain"]), *asked(data.dev_prompts)]
    assert len(found) == len(set(found)) == 10


def test_every_prompt_from_rows_has_the_answer_of_its_row(rows_alone: Path) -> None:
    data = data_of(rows_alone)
    prompts = [prompt for of_set in data.sets.values() for prompt in of_set]
    assert set(data.sets) == {"seen", "in_domain"}
    for prompt in prompts:
        number = prompt.messages[-1].text.split()[2]
        assert data.references[prompt.messages] == f"the cat sees {number}."
