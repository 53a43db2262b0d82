"""Rows to preferences: two or more answers to one prompt, or one answer with a binary label."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tutelage.chat.formats.conversations import has, one_text, read_answer, read_prompt, with_system
from tutelage.chat.formats.tools import read_tools
from tutelage.chat.formats.turns import ROLES, check_learnable, clean, read_messages
from tutelage.io.row import BrokenRow, Row
from tutelage.records import AnyPreference, Message, Preference, Ranking, UnpairedPreference, message

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
BINARY_LABELS = ("label", "kto_tag")
# What data sets call the scores of both sides; they are not trained on.
SCORES = (("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen-rating", "rejected-rating"))

# A row before it is checked: the conversation with the chosen answer, and that with the rejected one.
Pair = tuple[Sequence[Message], Sequence[Message]]
MOST_ANSWERS = 9  # of a ranking


class Ranked(NamedTuple):
    """A ranking before it is checked: the conversation with each answer, and a number of each; less is better."""

    sides: list[list[Message]]
    ranks: list[float]


Parsed = Pair | Ranked | tuple[Sequence[Message], bool]


class PreferenceFormat(NamedTuple):
    """A function that recognises the rows of a format, and one that reads them, as a pair of conversations, a ranking,
    or one conversation with its label, or raises BrokenRow."""

    recognises: Callable[[Row], bool]
    read: Callable[[Row], Parsed]


def binary_label(row: Row) -> bool | None:
    """Whether the answer of a row is labelled good; None without a label."""
    return next((row[name] for name in BINARY_LABELS if isinstance(row.get(name), bool)), None)


def _read_transcripts(row: Row) -> Pair:
    """`"\\n\\nHuman: ...\\n\\nAssistant: ..."`, as HH-RLHF writes conversations."""
    return _transcript(row["chosen"], "chosen"), _transcript(row["rejected"], "rejected")


def _transcript(text: object, field: str) -> list[Message]:
    if not isinstance(text, str):
        raise BrokenRow("field that is not text", f"'{field}'")
    before, *turns = _SPEAKER.split(text)
    if before.strip():
        raise BrokenRow("malformed transcript", f"'{field}' does not begin with Human: or Assistant:")
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return [message(ROLES[speaker.lower()], text.removeprefix(" ")) for speaker, text in pairs]


def _read_ranked(row: Row) -> Pair:
    """'chosen' and 'rejected' after a prompt, or each with its own."""
    for names in SCORES:
        chosen, rejected = (row.get(name) for name in names)
        if isinstance(chosen, int | float) and isinstance(rejected, int | float) and chosen < rejected:
            raise BrokenRow("swapped sides", f"'{names[0]}' is {chosen}, below '{names[1]}' of {rejected}")
    sides = [read_answer(row[side], side) for side in ("chosen", "rejected")]
    if all(side and side[0].role != "assistant" for side in sides):
        return sides[0], sides[1]  # complete conversations; 'prompt' repeats their beginning
    if has(row, "conversations"):
        prompt = with_system(row, read_messages(row["conversations"], "conversations"))
    else:
        prompt = read_prompt(row)
    return [*prompt, *sides[0]], [*prompt, *sides[1]]


def _read_message_lists(row: Row) -> Pair:
    sides = [read_messages(row[name], name) for name in ("chosen_messages", "rejected_messages")]
    return sides[0], sides[1]


def _read_judged_outputs(row: Row) -> Pair:
    """Two outputs and the preferred one, as in AlpacaEval."""
    prompt = read_prompt(row)
    outputs = [[*prompt, message("assistant", one_text(row, (name,)))] for name in ("output_1", "output_2")]
    if row["preference"] not in (1, 2):
        raise BrokenRow("no preference", f"{row['preference']!r} must be 1 or 2")
    return (outputs[0], outputs[1]) if row["preference"] == 1 else (outputs[1], outputs[0])


def _read_ranking(row: Row) -> Ranked:
    """Answers with their ranks, where 1 is the best, or with scores, where more is better."""
    prompt, answers = read_prompt(row), row["answers"]
    numbers, sign = (row["ranks"], 1) if has(row, "ranks") else (row["scores"], -1)
    if not isinstance(answers, list) or not isinstance(numbers, list) or len(answers) != len(numbers):
        raise BrokenRow("malformed ranking", "'answers' and 'ranks' (or 'scores') must be lists of the same length")
    if not 2 <= len(answers) <= MOST_ANSWERS:
        raise BrokenRow("malformed ranking", f"it has {len(answers)} answers; 2 to {MOST_ANSWERS} are possible")
    if not all(type(number) in (int, float) for number in numbers):
        raise BrokenRow("malformed ranking", "a rank or score is not a number")
    return Ranked([[*prompt, *read_answer(answer, "answers")] for answer in answers], [sign * n for n in numbers])


def _read_labelled(row: Row) -> tuple[Sequence[Message], bool]:
    """One answer, and whether it is good."""
    good = binary_label(row)
    assert good is not None
    for name in ("messages", "conversations"):
        if has(row, name):
            return with_system(row, read_messages(row[name], name)), good
    return [*read_prompt(row), *read_answer(row["completion"], "completion")], good


def _is_transcript(text: Any) -> bool:
    return isinstance(text, str) and _SPEAKER.match(text) is not None


# The first format that recognises a row is used.
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
    "ranking": PreferenceFormat(
        lambda row: has(row, "answers", "ranks") or has(row, "answers", "scores"),
        _read_ranking,
    ),
    "kto": PreferenceFormat(
        lambda row: (
            binary_label(row) is not None and any(has(row, n) for n in ("messages", "conversations", "completion"))
        ),
        _read_labelled,
    ),
}


def preference(parsed: Parsed, row: Row, place: str) -> tuple[AnyPreference, list[str]]:
    """A parsed row as a preference, with notes of what was corrected; BrokenRow where it cannot be trained on."""
    if isinstance(parsed, Ranked):
        return _ranking(parsed, row, place)
    first, second = parsed
    if isinstance(second, bool):
        turns, notes = clean(first)
        check_learnable(turns)
        _check_answered(turns)
        prompt_end = max(place for place, turn in enumerate(turns) if turn.role == "user") + 1
        prompt, answer = tuple(turns[:prompt_end]), tuple(turns[prompt_end:])
        return UnpairedPreference(prompt, answer, second, place, read_tools(row)), notes
    (chosen, notes), (rejected, rejected_notes) = clean(first), clean(second)
    shared = _shared_prompt([chosen, rejected])
    prompt, answers = tuple(chosen[:shared]), (tuple(chosen[shared:]), tuple(rejected[shared:]))
    pair = Preference(prompt, *answers, place, read_tools(row), margin=_margin(row))
    return pair, list(dict.fromkeys([*notes, *rejected_notes]))


def _ranking(parsed: Ranked, row: Row, place: str) -> tuple[Preference | Ranking, list[str]]:
    """A ranking; of two answers the pair."""
    cleaned = [clean(side) for side in parsed.sides]
    sides = [turns for turns, _ in cleaned]
    notes = list(dict.fromkeys(note for _, noted in cleaned for note in noted))
    shared, order = _shared_prompt(sides), sorted(set(parsed.ranks))
    if len(order) == 1:
        raise BrokenRow("ranking of ties alone", "it says nothing of any two answers")
    ranks = tuple(order.index(rank) + 1 for rank in parsed.ranks)
    prompt, answers = tuple(sides[0][:shared]), [tuple(side[shared:]) for side in sides]
    if len(answers) == 2:
        best = ranks.index(1)
        return Preference(prompt, answers[best], answers[1 - best], place, read_tools(row)), notes
    return Ranking(prompt, tuple(answers), ranks, place, read_tools(row)), notes


def _shared_prompt(sides: Sequence[Sequence[Message]]) -> int:
    """How many messages all answers share; BrokenRow where what follows are no answers to one prompt."""
    names = "chosen and rejected" if len(sides) == 2 else "the answers"
    for turns in sides:
        check_learnable(turns)
        _check_answered(turns)
    if any(sides[i] == sides[k] for i in range(len(sides)) for k in range(i)):
        raise BrokenRow(f"{names} are the same" if len(sides) == 2 else "two answers of a ranking are the same")
    shared = 0
    while shared < min(map(len, sides)) and all(turns[shared] == sides[0][shared] for turns in sides):
        shared += 1
    if any(turns[shared : shared + 1] == [] or turns[shared].role != "assistant" for turns in sides):
        raise BrokenRow(f"{names} answer different prompts", f"they differ from message {shared} on")
    return shared


def _margin(row: Row) -> float:
    """The field "margin" of a pair; 0 without one."""
    margin = row.get("margin")
    if margin is None:
        return 0.0
    if type(margin) not in (int, float) or margin < 0:
        raise BrokenRow("malformed margin", f"{margin!r} must be a number, 0 or more")
    return float(margin)


def _check_answered(turns: Sequence[Message]) -> None:
    if turns[-1].role != "assistant":
        raise BrokenRow("no answer", f"the conversation ends with a {turns[-1].role} message")
