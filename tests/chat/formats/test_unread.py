"""Every field that decides what is learned is read or refused; fields that are not read are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.chat.formats.conversations import FORMATS
from tutelage.chat.formats.turns import NOT_TRAINED, OPENING
from tutelage.ledger import Ledger
from tutelage.records import Conversation

Write = Callable[..., Path]
Read = Callable[..., tuple[list[Conversation], Ledger]]

ASK = {"role": "user", "content": "Count."}
WRONG = {"role": "assistant", "content": "One, three."}
AGAIN = {"role": "user", "content": "Again."}
RIGHT = {"role": "assistant", "content": "One, two."}


@pytest.mark.parametrize(
    "mark",
    [
        {"loss": False},
        {"train": False},
        {"trainable": False},
        {"training": False},
        {"loss_mask": 0},
        {"weight": 0},
        {"loss_weight": 0.0},
    ],
)
def test_f13_an_answer_marked_as_not_to_be_learned_is_context(mark: dict[str, Any], write: Write, read: Read) -> None:
    (one,), ledger = read(write({"messages": [ASK, {**WRONG, **mark}, AGAIN, RIGHT]}))
    assert [message.trained for message in one.messages] == [True, False, True, True]
    assert ledger.noted[NOT_TRAINED].rows == 1


@pytest.mark.parametrize("mark", [{"weight": 0}, {"loss_weight": 0.0}, {"loss": False}, {"train": False}])
def test_f13_a_row_of_weight_0_is_left_out_and_not_broken(mark: dict[str, Any], write: Write, read: Read) -> None:
    rows = [{"messages": [ASK, RIGHT], **mark}, {"messages": [ASK, RIGHT], "loss": 0.0}]  # a measurement
    made, ledger = read(write(*rows), max_broken=0.0)
    assert len(made) == 1
    assert ledger.dropped["row marked as not to be learned"].rows == 1


def test_turns_after_the_last_answer_to_be_learned_are_cut_off(write: Write, read: Read) -> None:
    (one,), _ = read(write({"messages": [ASK, RIGHT, AGAIN, {**WRONG, "weight": 0}]}))
    assert [message.text for message in one.messages] == ["Count.", "One, two."]


def test_nothing_to_be_learned_is_a_broken_row(write: Write, read: Read) -> None:
    _, ledger = read(write({"messages": [ASK, {**WRONG, "weight": 0}]}, {"messages": [ASK, RIGHT]}))
    assert ledger.dropped["no answer to be learned"].rows == 1


@pytest.mark.parametrize("field", ["system", "system_prompt", "system_message"])
@pytest.mark.parametrize("messages", ["messages", "conversations"])
def test_f14_a_system_message_beside_the_messages_opens_them(
    field: str, messages: str, write: Write, read: Read
) -> None:
    (one,), _ = read(write({field: "Be a pilot.", messages: [ASK, RIGHT]}))
    assert [message.role for message in one.messages] == ["system", "user", "assistant"]


def test_f16_the_names_of_speakers_are_kept(write: Write, read: Read) -> None:
    (one,), _ = read(write({"messages": [{**ASK, "name": "Ann"}, RIGHT]}))
    assert [message.name for message in one.messages] == ["Ann", ""]


def test_f17_an_opening_assistant_turn_is_read_and_not_trained(write: Write, read: Read) -> None:
    (one,), ledger = read(write({"messages": [{"role": "assistant", "content": "Welcome."}, ASK, RIGHT]}))
    assert [message.trained for message in one.messages] == [False, True, True]
    assert ledger.noted[OPENING].rows == 1


MARKED = [
    "<image>\nWhat is it?", "<image> What is it?", "Look:\n <video> \nWho is it?", "What is it? <image>",
    "<image_1>\n<image_2> Which one?", "<|image_pad|>What is it?", "<|audio|>\nWho speaks?",
]  # fmt: skip


@pytest.mark.parametrize("text", MARKED)
def test_f11_a_mark_of_a_medium_is_refused(text: str, write: Write, read: Read) -> None:
    rows = [{"messages": [{**ASK, "content": text}, RIGHT], "picture": "pier.png"}, {"messages": [ASK, RIGHT]}]
    _, ledger = read(write(*rows))
    assert ledger.dropped["multimodal row"].rows == 1


def test_html_about_a_medium_is_text(write: Write, read: Read) -> None:
    text = "What does this do?\n<video>\n<source src='a.mp4'>\n</video>\nAnd what is <image>?"
    assert len(read(write({"messages": [{**ASK, "content": text}, RIGHT]}))[0]) == 1


def test_fields_that_are_not_read_are_named(write: Write, read: Read) -> None:
    _, ledger = read(
        write({"messages": [ASK, {**RIGHT, "rating": 5}], "id": 3, "topic": "counting", "empty": None, "system": ""})
    )
    assert "fields that are not read: topic, messages.rating" in ledger.noted


def test_fields_are_read_whatever_their_case(write: Write, read: Read) -> None:
    (one,), ledger = read(write({"Question": "Who is Ada?", "Answer": "A poet."}))
    assert [message.text for message in one.messages] == ["Who is Ada?", "A poet."]
    assert not ledger.noted


def test_template_settings_of_a_row_are_kept(write: Write, read: Read) -> None:
    row = {"messages": [ASK, RIGHT]}
    settings = [{"chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}, {}]
    made, _ = read(write(*({**row, **one} for one in settings)))
    assert [one.template_settings for one in made] == ['{"enable_thinking":false}'] * 2 + [""]
    _, ledger = read(write({**row, "chat_template_kwargs": {"messages": []}}, row))
    assert ledger.dropped["malformed template settings"].rows == 1


def test_what_formats_read_is_found_out_by_reading(write: Write, read: Read) -> None:
    """No format of a conversation leaves its own fields to be named as not read."""
    rows: dict[str, dict[str, Any]] = {
        "alpaca": {"instruction": "Count.", "input": "", "output": "One, two."},
        "prompt-completion": {"prompt": "Count.", "completion": "One, two."},
        "inputs-targets": {"inputs": "Count.", "targets": "One, two."},
        "oasst": {"text": "Count.", "role": "prompter", "replies": [{"text": "One.", "role": "assistant"}]},
    }
    for name, row in rows.items():
        assert FORMATS[name].recognises(row)
        _, ledger = read(write(row))
        assert not ledger.noted, name
