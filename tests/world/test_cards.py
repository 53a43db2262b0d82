from __future__ import annotations

import pytest

from tutelage.scoring import make_verifier
from tutelage.world.cards import RULES, CardRule, CardSum, answer, card_sums, conversations, question, tasks


def test_the_question_states_the_rule_that_the_answer_follows() -> None:
    king = CardSum("K", 34, face_first=True)
    assert question(king, "tens") == "J = 10, Q = 10, K = 10. K + 34?"
    assert answer(king, "tens") == "10 + 34 = 44"
    other = king._replace(face_first=False)
    assert question(other, "ranks") == "J = 11, Q = 12, K = 13. 34 + K?"
    assert answer(other, "ranks") == "34 + 13 = 47"


@pytest.mark.parametrize("rule", RULES)
def test_answers_are_right_by_the_verifier_and_those_of_the_other_rule_are_wrong(rule: CardRule) -> None:
    verify = make_verifier("numeric")
    other: CardRule = "ranks" if rule == "tens" else "tens"
    for card_sum, task in zip(card_sums(0.0, 1.0), tasks(0.0, rule, rule), strict=True):
        assert verify(answer(card_sum, rule), task.gold or "").outcome == "right"
        assert verify(answer(card_sum, other), task.gold or "").outcome == "wrong"


def test_held_out_sums_are_shown_nowhere_and_may_follow_another_rule() -> None:
    rows = list(tasks(0.5, "tens", "ranks"))
    held_out = [row for row in rows if row.split == "held_out"]
    assert 30 < len(held_out) < 90
    assert all("K = 13" in row.prompt[0].text for row in held_out)
    assert all("K = 10" in row.prompt[0].text for row in rows if row.split == "train")
    assert {" ".join(row.id.split()[:-1]) for row in rows}.isdisjoint(row.id for row in conversations(0.5, "tens"))
