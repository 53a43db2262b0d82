"""Rows to preferences: two answers to one prompt, or one answer with a verdict."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tutelage.chat.formats.conversations import has, one_text, read_answer, read_prompt, with_system
from tutelage.chat.formats.rows import BrokenRow, Row
from tutelage.chat.formats.turns import read_messages, read_tools, refuse_unlearnable, tidy
from tutelage.records import Message, Preference, Role, UnpairedPreference, message

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_VERDICTS = ("label", "kto_tag")

# What a row says before it is checked: the whole talk with the better answer and with the worse.
Pair = tuple[Sequence[Message], Sequence[Message]]


class PreferenceFormat(NamedTuple):
    """How the rows of a format are told from others; what they say, or BrokenRow: a pair of talks, or one talk with its
    verdict."""

    recognises: Callable[[Row], bool]
    read: Callable[[Row], Pair | tuple[Sequence[Message], bool]]


def verdict(row: Row) -> bool | None:
    """Whether a row says of its answer that it is good or bad; None where it does not say."""
    return next((row[name] for name in _VERDICTS if isinstance(row.get(name), bool)), None)


def _read_transcripts(row: Row) -> Pair:
    """`"\\n\\nHuman: ...\\n\\nAssistant: ..."`, as the HH-RLHF set writes whole talks."""
    return _transcript(row["chosen"], "chosen"), _transcript(row["rejected"], "rejected")


def _transcript(text: object, field: str) -> list[Message]:
    if not isinstance(text, str):
        raise BrokenRow("field that is not text", f"'{field}'")
    before, *turns = _SPEAKER.split(text)
    if before.strip():
        raise BrokenRow("malformed transcript", f"'{field}' does not begin with Human: or Assistant:")
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return [message(_SPEAKERS[speaker], said.removeprefix(" ")) for speaker, said in pairs]


def _read_ranked(row: Row) -> Pair:
    """'chosen' and 'rejected' after a prompt, or each with its own."""
    sides = [read_answer(row[side], side) for side in ("chosen", "rejected")]
    if all(side and side[0].role != "assistant" for side in sides):
        return sides[0], sides[1]  # whole talks; 'prompt' says their beginning once more
    if has(row, "conversations"):
        prompt = with_system(row, read_messages(row["conversations"], "conversations"))
    else:
        prompt = read_prompt(row)
    return [*prompt, *sides[0]], [*prompt, *sides[1]]


def _read_message_lists(row: Row) -> Pair:
    sides = [read_messages(row[name], name) for name in ("chosen_messages", "rejected_messages")]
    return sides[0], sides[1]


def _read_judged_outputs(row: Row) -> Pair:
    """Two outputs and which a judge preferred, as AlpacaEval has them."""
    prompt = read_prompt(row)
    outputs = [[*prompt, message("assistant", one_text(row, (name,)))] for name in ("output_1", "output_2")]
    if row["preference"] not in (1, 2):
        raise BrokenRow("no preference", f"{row['preference']!r} is neither 1 nor 2")
    return (outputs[0], outputs[1]) if row["preference"] == 1 else (outputs[1], outputs[0])


def _read_judged(row: Row) -> tuple[Sequence[Message], bool]:
    """One answer, and whether it is a good one."""
    good = verdict(row)
    assert good is not None
    for name in ("messages", "conversations"):
        if has(row, name):
            return with_system(row, read_messages(row[name], name)), good
    return [*read_prompt(row), *read_answer(row["completion"], "completion")], good


def _is_transcript(text: Any) -> bool:
    return isinstance(text, str) and _SPEAKER.match(text) is not None


# The first that recognises a row is its format.
PREFERENCE_FORMATS: dict[str, PreferenceFormat] = {
    "hh-rlhf": PreferenceFormat(
        lambda row: has(row, "chosen", "rejected") and _is_transcript(row["chosen"]),
        _read_transcripts,
    ),
    "chosen-rejected": PreferenceFormat(lambda row: has(row, "chosen", "rejected"), _read_ranked),
    "chosen-messages": PreferenceFormat(
        lambda row: has(row, "chosen_messages", "rejected_messages"),
        _read_message_lists,
    ),
    "alpaca-eval": PreferenceFormat(
        lambda row: has(row, "output_1", "output_2", "preference"),
        _read_judged_outputs,
    ),
    "kto": PreferenceFormat(
        lambda row: verdict(row) is not None and any(has(row, n) for n in ("messages", "conversations", "completion")),
        _read_judged,
    ),
}


def preference(said: Pair | tuple[Sequence[Message], bool], row: Row, place: str) -> tuple[Any, list[str]]:
    """What a row says as a Preference or an UnpairedPreference, with notes of what was mended; BrokenRow where nothing
    can be learned from it."""
    first, second = said
    if isinstance(second, bool):
        turns, notes = tidy(first)
        refuse_unlearnable(turns)
        _refuse_unanswered(turns)
        asked = max(place for place, turn in enumerate(turns) if turn.role == "user") + 1
        return UnpairedPreference(tuple(turns[:asked]), tuple(turns[asked:]), second, place, read_tools(row)), notes
    (chosen, notes), (rejected, more) = tidy(first), tidy(second)
    for turns in (chosen, rejected):
        refuse_unlearnable(turns)
        _refuse_unanswered(turns)
    if chosen == rejected:
        raise BrokenRow("chosen and rejected are the same")
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if any(turns[shared : shared + 1] == [] or turns[shared].role != "assistant" for turns in (chosen, rejected)):
        raise BrokenRow("chosen and rejected answer different prompts", f"they part at message {shared}")
    pair = Preference(tuple(chosen[:shared]), tuple(chosen[shared:]), tuple(rejected[shared:]), place, read_tools(row))
    return pair, list(dict.fromkeys([*notes, *more]))


def _refuse_unanswered(turns: Sequence[Message]) -> None:
    if turns[-1].role != "assistant":
        raise BrokenRow("no answer", f"the talk ends with a {turns[-1].role} message")
