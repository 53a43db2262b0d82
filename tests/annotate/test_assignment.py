"""Who gets what: overlap, gold and repeated items, in any order of events."""

from __future__ import annotations

from collections import Counter

from annotate_helpers import items
from hypothesis import given
from hypothesis import strategies as st

from tutelage.annotate.assignment import HOLD_SECONDS, next_assignment
from tutelage.annotate.events import AnnotationItem, LogSettings, Submission
from tutelage.annotate.state import Annotations, read_events


def start(new: list[AnnotationItem], overlap: int = 1, repeat: float = 0.0, screen: int = 0) -> Annotations:
    return read_events([LogSettings(task="rank", overlap=overlap, repeat=repeat, screen=screen), *new])


def take(state: Annotations, person: str, now: float = 0.0) -> tuple[str, int] | None:
    found = next_assignment(state, person, now)
    if found is None:
        return None
    assignment, new = found
    if new:
        state.apply(assignment)
    return assignment.item, assignment.repeat


def finish(state: Annotations, person: str, place: tuple[str, int]) -> None:
    id_ = f"{len(state.by_id):08d}"
    state.apply(Submission(id=id_, item=place[0], person=person, repeat=place[1], ranks=(1, 2, 3)))


def work(state: Annotations, person: str) -> list[tuple[str, int]]:
    """Everything that a person gets."""
    done = []
    while (place := take(state, person)) is not None:
        finish(state, person, place)
        done.append(place)
    return done


@given(
    overlap=st.integers(1, 3),
    count=st.integers(1, 6),
    moves=st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60),
)
def test_no_item_gets_more_people_than_wanted_and_nobody_gets_one_twice(
    overlap: int, count: int, moves: list[tuple[str, bool]]
) -> None:
    state = start(items(count), overlap)
    for person, submits in moves:
        place = take(state, person)
        assert place == take(state, person)  # a reload changes nothing
        if submits and place is not None:
            finish(state, person, place)
    for person in "abcd":
        work(state, person)
    people = Counter(item for item, _, _ in state.history)
    assert people == dict.fromkeys(state.items, min(overlap, 4))
    assert all(len(assigned) == len({a.item for a in assigned}) for assigned in state.assigned.values())


def test_what_is_begun_is_finished_first() -> None:
    state = start(items(5), overlap=2)
    first = take(state, "ann")
    assert take(state, "ben") == first
    third = take(state, "cem")
    assert third != first


def test_an_item_that_was_left_is_free_for_others_after_a_while() -> None:
    state = start(items(1))
    place = take(state, "ann")
    assert place is not None
    assert take(state, "ben", HOLD_SECONDS - 1) is None
    assert take(state, "ben", HOLD_SECONDS + 1) == place
    finish(state, "ben", place)
    assert take(state, "ann", HOLD_SECONDS + 2) is None  # it is done; nobody needs a second


def test_the_order_of_answers_differs_by_person_and_is_stored() -> None:
    state = start(items(20, answers=4), overlap=3)
    for person in ("ann", "ben", "cem"):
        work(state, person)
    orders = {person: [a.order for a in given] for person, given in state.assigned.items()}
    assert all(sorted(order) == [0, 1, 2, 3] for given in orders.values() for order in given)
    assert orders["ann"] != orders["ben"]
    assert len({*orders["ann"]}) > 5
    assert state.orders[next(iter(state.items)), "ann", 0] == orders["ann"][0]


def test_gold_items_come_first_as_a_screening_and_then_one_in_ten() -> None:
    gold = range(4)
    state = start(items(40, gold=gold), screen=2)
    numbers = [list(state.items).index(item) for item, _ in work(state, "ann")]
    assert [n for n, number in enumerate(numbers) if number in gold] == [0, 1, 9, 19]
    assert len(numbers) == 40
    assert {0, 1} <= {list(state.items).index(item) for item, _ in work(state, "ben")}  # everybody gets them


def test_repeated_items_come_again_later() -> None:
    state = start(items(40), repeat=0.5)
    places = work(state, "ann")
    again = [item for item, repeat in places if repeat]
    assert 10 < len(again) == len({*again}) < 30
    for n, (item, repeat) in enumerate(places[:30]):
        if repeat:
            assert n - places.index((item, 0)) > 10
