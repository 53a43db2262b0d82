from __future__ import annotations

import pytest

from tutelage.synth.instruction_filters import echoes, unusable


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("Name three rivers of Europe.", ""),
        ("2 + 2 = 4, but why is that so?", ""),
        ("Name a river.", "instruction too short"),
        ("word " * 151, "instruction too long"),
        ("Draw a picture of a cat.", "impossible task"),
        ("Summarise the page at https://example.org/a.", "impossible task"),  # alpaca-lora PR 65
        ("Write a program that sorts words.", "program"),
        ("- name three rivers of Europe", "malformed opening"),
        ("4. Name three rivers.\n5. 6. Who wrote Hamlet?", "part of a list"),  # a small model counts twice
        ("2) What should I think about?", "part of a list"),
        ("The soup was cold and the waiter forgot us.", "statement"),
        ("It talked for 3.5 hours about the bridge", "statement"),
        ("A bat and a ball cost $1.10. The bat costs a dollar more. How much is the ball?", ""),
        ("The soup was cold. Write a review of it.", ""),
        ("This is a review: the soup was cold.", ""),
    ],
)
def test_instructions(instruction: str, reason: str) -> None:
    assert unusable(instruction) == reason


@pytest.mark.parametrize(
    ("instruction", "answer", "echo"),
    [
        ("Sentence 3: The sun sets in the west.", "The sun sets in the west.", True),
        ("The sun sets in the west.", "the sun sets  in the west!", True),
        ("Is the statement true or false: A spider is an insect?", "False", False),
        ("Translate into French: the sun sets.", "Le soleil se couche.", False),
        ("Which of these is a river: a tree, a house or the Rhine?", "The Rhine.", False),
        ("Rewrite in the passive voice: The gardener cut the hedge.", "The hedge was cut by the gardener.", False),
    ],
)
def test_an_answer_that_is_its_instruction_is_an_echo(instruction: str, answer: str, echo: bool) -> None:
    assert echoes(instruction, answer) == echo
