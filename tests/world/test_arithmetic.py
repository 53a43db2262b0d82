from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.world.arithmetic import ANSWERS, NOTES, QUESTIONS, exchange, fill, note, random_sum
from tutelage.world.keyed_random import KeyedRandom

EQUATION = re.compile(r"(\d+) ([-+x]) (\d+) = (\d+)")
DO = {"+": int.__add__, "-": int.__sub__, "x": int.__mul__}


@settings(max_examples=300)
@given(st.integers())
def test_every_equation_is_true_and_the_last_gives_the_result(key: int) -> None:
    sum_ = random_sum(KeyedRandom(key))
    for step in sum_.steps:
        match = EQUATION.fullmatch(step)
        assert match
        left, sign, right, result = match.groups()
        assert DO[sign](int(left), int(right)) == int(result)
    left, sign, right = sum_.expression.split()
    assert DO[sign](int(left), int(right)) == sum_.result
    assert sum_.steps[-1].endswith(f"= {sum_.result}")
    assert sum_.result >= 0


@given(st.integers())
def test_notes_and_answers_hold_the_result(key: int) -> None:
    result = str(random_sum(KeyedRandom(key)).result)
    asked, answered = exchange(KeyedRandom(key))
    assert result in re.findall(r"\d+", note(KeyedRandom(key)))
    assert result in re.findall(r"\d+", answered)
    assert asked[-1] in ".?"


def test_every_wording_is_filled_in() -> None:
    for key in range(60):
        sum_ = random_sum(KeyedRandom(key))
        for template in (*NOTES[sum_.operation], *QUESTIONS[sum_.operation]):
            assert {str(sum_.left), str(sum_.right)} <= set(re.findall(r"\d+", fill(template, sum_)))
        for template in ANSWERS:
            assert all(step in fill(template, sum_) for step in sum_.steps)


def test_all_operations_and_many_sums_come_up() -> None:
    sums = [random_sum(KeyedRandom(key)) for key in range(300)]
    assert {sum_.operation for sum_ in sums} == {"plus", "minus", "times"}
    assert len({sum_.expression for sum_ in sums}) > 200
    assert {len(sum_.steps) for sum_ in sums} == {1, 2, 3}
