from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.audit.near_duplicates import find_duplicates, prompt_diversity, repeated
from tutelage.chat.audit.scan import scan
from tutelage.records import Conversation, message

PASSAGE = " ".join(f"word{n}" for n in range(120))


def chats(*pairs: tuple[str, str], system: str = "") -> list[Conversation]:
    opening = (message("system", system),) if system else ()
    return [
        Conversation((*opening, message("user", a), message("assistant", b)), str(n)) for n, (a, b) in enumerate(pairs)
    ]


def pairs(arrays: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return list(zip(arrays[0].tolist(), arrays[1].tolist(), strict=True))


@given(st.lists(st.integers(0, 5), max_size=20))
def test_repeated_values(values: list[int]) -> None:
    expected = [(place, values.index(value)) for place, value in enumerate(values) if values.index(value) < place]
    assert pairs(repeated(np.array(values, np.int64))) == expected


def test_exact_and_near_duplicates_are_distinguished() -> None:
    long = f"It is said that {PASSAGE}."
    rows = chats(
        (f"What of {PASSAGE}?", long),
        (f"What of {PASSAGE}?", long),  # exactly
        (f"And what of {PASSAGE}?", long.upper()),  # nearly
        (f"What of {PASSAGE}?", f"Nothing at all is known of it, {PASSAGE[::-1]}."),  # another answer
        (f"Who is {PASSAGE}?", "Ada."),
        (f"who is  {PASSAGE}?", "Ada."),  # a short answer, and the same question
        (f"When is {PASSAGE}?", "Ada."),  # a short answer, and another question
    )
    duplicates = find_duplicates(scan(rows), None)
    assert pairs(duplicates.exact) == [(1, 0)]
    assert pairs(duplicates.near) == [(2, 0), (5, 4)]


def test_the_system_message_does_not_count() -> None:
    rows = chats(("Who is it, and why?", "Ada."), ("Where is it now, and when?", "Bern."), system=PASSAGE * 3)
    rows += chats(("Who is it, and why?", "Ada."))
    duplicates = find_duplicates(scan(rows), None)
    assert (pairs(duplicates.exact), pairs(duplicates.near)) == ([], [(2, 0)])


def test_leaks_and_duplicates_do_not_get_mixed_up() -> None:
    mine = chats(
        (f"What of {PASSAGE}?", PASSAGE), (f"What of {PASSAGE}, then?", PASSAGE), ("Hi", "Hello."), ("Why?", "So.")
    )
    other = chats(
        ("What else is there to be asked about it?", "No."), (f"What of {PASSAGE}?", "Nothing."), ("Hi", "Hello.")
    )
    duplicates = find_duplicates(scan(mine), scan(other))
    assert pairs(duplicates.exact_leaks) == [(0, 1), (2, 2)]
    assert pairs(duplicates.near_leaks) == []  # the answer is another, and so it is no near duplicate
    assert pairs(duplicates.near) == [(1, 0)]


def test_diversity_counts_clusters_of_prompts() -> None:
    prompts = [f"{PASSAGE} number {n}?" for n in range(6)] + [
        "Something wholly different is asked here, my friend."
    ] * 2
    diversity = prompt_diversity(scan(chats(*((prompt, "Yes.") for prompt in prompts))))
    assert (diversity.distinct, diversity.clusters, diversity.largest.tolist()) == (7, 2, list(range(6)))
    assert 1 < diversity.effective_clusters < 2
    assert prompt_diversity(scan([])).clusters == 0
