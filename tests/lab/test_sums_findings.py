from __future__ import annotations

import re

import pytest

from tutelage.lab.findings import early_reasoning, frequent_tasks, one_style, own_solutions
from tutelage.lab.sums import answer, question, unseen


@pytest.mark.parametrize(("left", "right"), [(457, 289), (100, 999), (505, 606), (999, 998)])
def test_every_style_works_the_sum_out_right(left: int, right: int) -> None:
    texts = [one_style.styled(left, right, style) for style in range(5)]
    assert len(set(texts)) == 5
    assert texts[0] == answer(left, right, "steps")
    for text in texts:
        assert re.findall(r"\d+", text)[-1] == str(left + right)
        for first, second, result in re.findall(r"(\d+) \+ (\d+) (?:=|is) (\d+)", text):
            assert int(first) + int(second) == int(result), text
    assert max(map(len, texts)) < 1.4 * min(map(len, texts)), "no style has more to say than another"


def test_no_question_is_trained_on() -> None:
    asked = {row["question"] for row in unseen(one_style.ROWS)()}
    assert asked.isdisjoint(row["prompt"] for row in one_style.mixed(one_style.ROWS)())
    assert asked.isdisjoint(row["prompt"] for row in own_solutions.prompts())
    early = {row["question"] for row in unseen(2 * early_reasoning.ROWS)()}
    assert early.isdisjoint(row["prompt"] for row in early_reasoning.once())
    texts = [str(row["text"]) for row in early_reasoning.worked()]
    assert len(texts) > 0.9 * early_reasoning.EARLY
    assert early.isdisjoint(text[: text.index("?") + 1] for text in texts)


def test_teacher_and_model_solve_the_same_sums() -> None:
    prompts = [row["prompt"] for row in own_solutions.prompts()]
    assert prompts == [row["prompt"] for row in own_solutions.taught(own_solutions.NEW)()]
    assert len(set(prompts)) == own_solutions.NEW
    assert question(*own_solutions.fresh(1)[0]) == prompts[0]


def test_one_shift_is_sixty_times_as_frequent_and_no_asked_word_is_read() -> None:
    texts = [str(row["text"]) for row in frequent_tasks.documents(8)()]
    rare = sum(text.startswith("rot 13") for text in texts)
    assert len(texts) / rare == pytest.approx(frequent_tasks.RATIO + 1, rel=0.01)
    read = {text.split("> ")[1].rstrip(".") for text in texts}
    asked = {frequent_tasks.letters("unseen", number) for number in range(frequent_tasks.ASKED)}
    assert not read & asked
    assert frequent_tasks.rotated("hello", 13) == "uryyb"
    assert all(
        frequent_tasks.rotated(text.split("> ")[1].rstrip("."), int(text.split()[1].rstrip(":"))) == text.split()[2]
        for text in texts[:200]
    )
