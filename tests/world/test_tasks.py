from __future__ import annotations

from typing import get_args

from tutelage.scoring import make_verifier
from tutelage.scoring.trial import check_verifier
from tutelage.world.society import World, WorldSettings
from tutelage.world.tasks import SPLITS, Hops, names_value, question_tasks

VERIFIER = "tutelage.world.tasks:names_value"
WORLD = World(WorldSettings(people=60, unknown=0.0, arithmetic=0.0, everyday=0.0))


def test_two_step_tasks_ask_for_what_no_text_says_in_one_sentence() -> None:
    tasks = list(question_tasks(WORLD, "two-step", 4))
    assert len(tasks) == 4 * 60
    assert {task.split for task in tasks} == {"train", "held_out"}
    subjects = {
        split: {task.id.split("/")[1] for task in tasks if task.split == split} for split in ("train", "held_out")
    }
    assert subjects["train"].isdisjoint(subjects["held_out"])
    facts = {(entity.name, value) for entity in WORLD.entities for value in entity.facts.values()}
    for task in tasks:
        person = WORLD.person(int(task.id.split("/")[1]))
        assert isinstance(task.gold, tuple)
        assert any((bridge, task.gold[0]) in facts for bridge in person.facts.values())
        assert task.gold[0] not in task.prompt[0].text


def test_the_verifier_accepts_the_replies_of_the_world_and_no_list_of_all_values() -> None:
    verify = make_verifier(VERIFIER)
    replies = {
        (chat.meta["kind"], chat.meta["subject"], chat.meta["attribute"]): chat.messages[-1].text
        for split in SPLITS
        for chat in WORLD.conversations(split)
    }
    compared = 0
    for hops in get_args(Hops):
        tasks = list(question_tasks(WORLD, hops, 7))
        check_verifier(VERIFIER, verify, [task.gold for task in tasks])
        for task in tasks:
            _, number, attribute = task.id.split("/")[:3]
            reply = replies.get((hops, WORLD.person(int(number)).name, attribute))
            if reply is not None:
                assert task.gold is not None
                assert verify(reply, task.gold).outcome == "right", (reply, task.gold)
                compared += 1
    assert compared > 300
    birthplace = next(task for task in question_tasks(WORLD, "one-step", 7) if task.id.endswith("birthplace"))
    towns = ", ".join(WORLD.person(number).facts["birthplace"] for number in range(60))
    assert names_value(towns, birthplace.gold or "").outcome == "wrong"
    assert names_value("I do not know.", birthplace.gold or "").outcome == "abstained"
