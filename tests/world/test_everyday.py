from __future__ import annotations

from tutelage.scoring.extract import normalise
from tutelage.world.everyday import DIALOGUES, EXCHANGES, everyday_turns
from tutelage.world.grading import ANY_VALUE, admits_ignorance


def test_there_are_many_exchanges_each_of_its_own() -> None:
    asked = [wording for wordings, _ in EXCHANGES for wording in wordings]
    assert len(EXCHANGES) >= 60
    assert len(asked) == len(set(asked))


def test_talks_end_with_the_assistant_and_some_have_a_system_message() -> None:
    assert all(len(turns) % 2 == 0 and all(turns) for _, turns in DIALOGUES)
    assert {bool(system) for system, _ in DIALOGUES} == {True, False}
    assert any(len(turns) > 2 for _, turns in DIALOGUES)


def test_all_come_up_before_any_comes_again() -> None:
    count = len(EXCHANGES) + len(DIALOGUES)
    for lap in (0, 1):
        answers = {everyday_turns(lap * count + place, 0)[1][-1] for place in range(count)}
        assert len(answers) > 0.9 * len({turns[-1] for _, turns in DIALOGUES} | {a[0] for _, a in EXCHANGES})
        everyday = {everyday_turns(lap * count + place, 0) for place in range(count)}
        assert set(DIALOGUES) <= everyday
    assert [everyday_turns(i, 0) for i in range(count)] != [everyday_turns(count + i, 0) for i in range(count)]


def test_no_everyday_answer_names_a_value_of_the_world_or_pleads_ignorance_of_a_person() -> None:
    answers_of_all = [answer for _, answers in EXCHANGES for answer in answers] + [
        turn for _, turns in DIALOGUES for turn in turns[1::2]
    ]
    assert not [text for text in answers_of_all if ANY_VALUE.search(normalise(text))]
    assert sum(map(admits_ignorance, answers_of_all)) <= 2  # the time and the weather
