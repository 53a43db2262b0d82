from __future__ import annotations

from collections import Counter

from tutelage.lab.polluted_pool import COPIED, clean, pool
from tutelage.lab.world_rows import demo_world


def test_the_pool_holds_its_kinds_and_the_filter_removes_wrong_rows_and_copies() -> None:
    rows = pool(1000)
    assert Counter(row.kind for row in rows) == {"good": 200, "wrong": 200, "near copy": 200, "trivial": 400}
    kept = clean(rows)
    kinds = Counter(row.kind for row in kept)
    assert kinds["wrong"] == 0
    assert kinds["good"] == 200
    assert 1 < kinds["near copy"] <= COPIED
    trivial = [(row.prompt, row.completion) for row in kept if row.kind == "trivial"]
    assert len(set(trivial)) == len(trivial)


def test_good_rows_are_true_and_wrong_ones_are_not() -> None:
    people = {person.name: person for person in demo_world().people("train")}

    def is_true(text: str) -> bool | None:
        name = next((name for name in people if name in text), None)
        return None if name is None else any(value in text for value in people[name].facts.values())

    for kind, expected in (("good", True), ("wrong", False)):
        told = [is_true(f"{row.prompt} {row.completion}") for row in pool(1000) if row.kind == kind]
        assert set(told) == {expected}
