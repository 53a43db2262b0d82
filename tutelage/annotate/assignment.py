"""Who gets which item next: overlap, gold items, repeated items."""

from __future__ import annotations

from collections.abc import Iterator

from tutelage.annotate.events import AnnotationItem, Assignment
from tutelage.annotate.state import Annotations
from tutelage.text.hashing import falls_in
from tutelage.world.keyed_random import KeyedRandom

HOLD_SECONDS = 3600.0  # an item that was taken and not submitted is then free for others
GOLD_EVERY = 10
REPEAT_AFTER = 10  # items in between


def next_assignment(state: Annotations, person: str, now: float) -> tuple[Assignment, bool] | None:
    """The assignment that a person works on next, and whether it is new; None when there is nothing left.

    An unfinished one comes first, so that reloading changes nothing. Then gold and repeated items that are due, then an
    item that fewer than `overlap` people have, of these the one that most have: what is begun is finished first.
    """
    taken = holders(state, now)
    overlap = state.settings.overlap
    for assignment in state.assigned.get(person, []):
        if state.current(assignment.item, person, assignment.repeat) is None:
            needed = len(taken.get(assignment.item, set()) - {person}) < overlap
            if needed or assignment.repeat or state.items[assignment.item].gold:
                return assignment, False
    found = _due_gold(state, person) or _due_repeat(state, person, REPEAT_AFTER)
    found = found or _open_item(state, person, taken) or _due_repeat(state, person, 0)
    if found is None:
        return None
    item, repeat = found
    order = KeyedRandom(state.settings.seed, "order", item.id, person, repeat).shuffled(range(len(item.answers)))
    return Assignment(item=item.id, person=person, order=tuple(order), repeat=repeat, time=now), True


def holders(state: Annotations, now: float) -> dict[str, set[str]]:
    """The people of each item: who submitted it, or got it within the last hour."""
    taken: dict[str, set[str]] = {}
    for item, person, _ in state.history:
        taken.setdefault(item, set()).add(person)
    for person, assignments in state.assigned.items():
        for assignment in assignments:
            if now - assignment.time < HOLD_SECONDS:
                taken.setdefault(assignment.item, set()).add(person)
    return taken


def assignable(state: Annotations) -> Iterator[AnnotationItem]:
    """The items that people are asked about: with at least two answers to compare, or none, to write one."""
    return (item for item in state.items.values() if len(item.answers) != 1)


def _open_item(state: Annotations, person: str, taken: dict[str, set[str]]) -> tuple[AnnotationItem, int] | None:
    best, most = None, -1
    for item in assignable(state):
        people = taken.get(item.id, set())
        if item.gold is None and person not in people and most < len(people) < state.settings.overlap:
            best, most = item, len(people)
    return None if best is None else (best, 0)


def _due_gold(state: Annotations, person: str) -> tuple[AnnotationItem, int] | None:
    done = len(state.assigned.get(person, []))
    if done >= state.settings.screen and done % GOLD_EVERY != GOLD_EVERY - 1:
        return None
    had = {assignment.item for assignment in state.assigned.get(person, [])}
    return next(((item, 0) for item in assignable(state) if item.gold and item.id not in had), None)


def _due_repeat(state: Annotations, person: str, after: int) -> tuple[AnnotationItem, int] | None:
    """An item for the second time, with `after` others in between."""
    assignments = state.assigned.get(person, [])
    again = {assignment.item for assignment in assignments if assignment.repeat}
    for assignment in assignments[: max(0, len(assignments) - after)]:
        item = state.items[assignment.item]
        chosen = falls_in(f"repeat/{state.settings.seed}/{person}/{item.id}", state.settings.repeat)
        if chosen and item.gold is None and item.id not in again and state.current(item.id, person):
            return item, 1
    return None
