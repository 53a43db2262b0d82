from __future__ import annotations

from tutelage.scoring import make_verifier
from tutelage.world.sums import TRAINED, conversations, documents, place, sums, tasks


def test_every_answer_is_right_by_its_own_verifier() -> None:
    verify = make_verifier("numeric")
    golds = {task.id: task.gold for task in tasks(0.0)}
    assert len(golds) == 90 * 90
    styles = set()
    for chat in conversations(0.2, 0.3):
        text = chat.messages[1].text
        styles.add("=" in text)
        assert verify(text, golds[chat.id] or "").outcome == "right"
    assert styles == {True, False}


def test_a_held_out_sum_is_shown_nowhere() -> None:
    held_out = {task.id for task in tasks(0.5) if task.split == "held_out"}
    assert held_out == {f"sum {left} + {right}" for left, right in sums(TRAINED, 1.0)}
    assert 600 < len(held_out) < 1000
    shown = {chat.id for chat in conversations(TRAINED, 0.5)} | {text.id for text in documents(TRAINED)}
    assert held_out.isdisjoint(shown)


def test_the_style_of_an_answer_and_its_place_never_change() -> None:
    assert place(47, 38) == place(47, 38) != place(38, 47)
    assert [chat.messages for chat in conversations(0.01, 0.5)] == [chat.messages for chat in conversations(0.01, 0.5)]
