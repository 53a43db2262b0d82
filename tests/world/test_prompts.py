from __future__ import annotations

import re
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.records import Conversation
from tutelage.world import World, WorldSettings
from tutelage.world.arithmetic import QUESTIONS
from tutelage.world.everyday import DIALOGUES, EXCHANGES
from tutelage.world.prompts import NEAR, OUT_OF_DOMAIN, prompt_sets
from tutelage.world.wordings import BRIEF, FOLLOW_UPS, ONE_STEP, REVERSE, TWO_STEP

WORLD = World(WorldSettings())
SETS = prompt_sets(WORLD, 200)
SUM = r"[0-9 +x-]+"
SLOTS = {"clauses": "(?:was|went|works|plays) .+", "left": SUM, "right": SUM, "expression": SUM}


def texts(prompts: list[Conversation]) -> list[str]:
    return [prompt.messages[-1].text for prompt in prompts]


def plain(text: str) -> str:
    """A prompt as one would call it the same: without case and marks."""
    return " ".join(re.findall(r"\w+", text.lower()))


def user_turns(world: World) -> set[str]:
    rows = (row for split in ("train", "held_out") for row in world.conversations(split))
    return {plain(turn.text) for row in rows for turn in row.messages if turn.role == "user"}


def pattern(template: str) -> re.Pattern[str]:
    """Matches what a template can become, in any world."""
    parts = ((re.escape(text), slot) for text, slot, _, _ in Formatter().parse(template))
    return re.compile("".join(text + (SLOTS.get(slot, ".+") if slot else "") for text, slot in parts), re.IGNORECASE)


def test_each_set_is_full_and_holds_each_prompt_once() -> None:
    assert list(SETS) == ["seen", "in_domain", "near", "out_of_domain"]
    assert [len(prompts) for prompts in SETS.values()] == [200, 200, 200, len(OUT_OF_DOMAIN)]
    assert len(OUT_OF_DOMAIN) >= 60
    for prompts in SETS.values():
        assert len({prompt.messages for prompt in prompts}) == len(prompts)
        assert len({prompt.id for prompt in prompts}) == len(prompts)
        assert all([turn.role for turn in prompt.messages][-1] == "user" for prompt in prompts)
        assert all([turn.role for turn in prompt.messages].count("user") == 1 for prompt in prompts)
    assert {wording for wording in NEAR if not any(map(pattern(wording).fullmatch, texts(SETS["near"])))} == set()


def test_seen_and_in_domain_open_conversations_of_the_two_halves() -> None:
    for name, split in (("seen", "train"), ("in_domain", "held_out")):
        opened = {row.id: row.messages for row in WORLD.conversations(split)}
        assert all(opened[p.id][: len(p.messages)] == p.messages for p in SETS[name])
    trained = {plain(turn.text) for row in WORLD.conversations("train") for turn in row.messages}
    assert trained.isdisjoint(map(plain, texts(SETS["in_domain"])))


@pytest.mark.parametrize("world", [WORLD, World(WorldSettings(people=20, seed=3, wordings=6))])
def test_near_and_out_of_domain_prompts_occur_in_no_conversation(world: World) -> None:
    sets, turns = prompt_sets(world, 1000), user_turns(world)
    assert len(turns) > 200
    assert [text for text in texts(sets["near"] + sets["out_of_domain"]) if plain(text) in turns] == []


def test_no_wording_of_any_world_becomes_one_of_them() -> None:
    tables = (ONE_STEP, BRIEF, FOLLOW_UPS, TWO_STEP, QUESTIONS)
    wordings = [wording for table in tables for row in table.values() for wording in row]
    patterns = [pattern(wording) for wording in (*wordings, *REVERSE)]
    assert any(p.fullmatch("Who works as a glazier and plays the harp?") for p in patterns)
    assert any(p.fullmatch("What is 3 + 4?") for p in patterns)
    prompts = texts(SETS["near"] + SETS["out_of_domain"])
    assert [text for text in prompts if any(p.fullmatch(text) for p in patterns)] == []
    everyday = {plain(text) for asked, _ in EXCHANGES for text in asked}
    everyday |= {plain(text) for _, turns in DIALOGUES for text in turns[::2]}
    # A prompt of marks alone is empty without them, and so is no everyday turn.
    assert "" not in everyday
    assert everyday.isdisjoint(map(plain, prompts))


@given(st.integers(0, 40), st.integers(0, 3))
def test_a_smaller_set_is_the_beginning_of_a_larger(count: int, seed: int) -> None:
    world = World(WorldSettings(people=20, seed=seed))
    few, many = prompt_sets(world, count), prompt_sets(world, 40)
    assert few == {name: prompts[:count] for name, prompts in many.items()}


def test_another_seed_asks_otherwise() -> None:
    other = prompt_sets(World(WorldSettings(seed=1)), 200)
    assert all(texts(other[name]) != texts(SETS[name]) for name in SETS)
