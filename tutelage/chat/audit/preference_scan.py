"""One pass over a file of preferences: what the audit keeps of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from tutelage.chat.audit.check import Exchange
from tutelage.chat.audit.checks.copied_prompt import COPIED_PROMPT
from tutelage.chat.audit.checks.placeholder import PLACEHOLDER
from tutelage.chat.audit.checks.placeholder_answer import PLACEHOLDER_ANSWER
from tutelage.chat.audit.checks.truncated import TRUNCATED
from tutelage.chat.formats import read_preferences
from tutelage.ledger import Ledger
from tutelage.progress import track
from tutelage.records import AnyPreference, Message, Preference, Split, ToolCall, UnpairedPreference
from tutelage.text.hashing import hash_texts

# What makes an answer worse than another, whatever a labeller wants.
FLAWS = (TRUNCATED, COPIED_PROMPT, PLACEHOLDER_ANSWER, PLACEHOLDER)


class Answer(NamedTuple):
    """An answer of a row: the hash of its text without case and white space, its characters, its rank (of a labelled
    answer 1 or 2), and the name of its flaw, if it has one."""

    hash: int
    characters: int
    rank: int
    flaw: str = ""


@dataclass
class Scan:
    """What is kept of the rows: the prompt, as a hash, and the answers of each; counts by kind; and the first examples
    of each fault."""

    prompts: list[int] = field(default_factory=list)
    answers: list[tuple[Answer, ...]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)


def scan_preferences(path: Path, ledger: Ledger, split: Split) -> Scan:
    """Read the rows of one split of a file; broken ones are counted in `ledger`."""
    scan = Scan()
    with track(f"audit of {path.name}", None, "preferences") as bar:
        for row in read_preferences(path, ledger, 1.0, split=split):
            bar.update()
            scan.kinds[_kind(row)] += 1
            scan.prompts.append(_hash(row.prompt))
            scan.answers.append(tuple(_answers(row)))
            scan.places.append(row.id)
    return scan


def _kind(row: AnyPreference) -> str:
    if isinstance(row, UnpairedPreference):
        return "labelled answers"
    return "pairs" if isinstance(row, Preference) else "rankings"


def _answers(row: AnyPreference) -> Iterator[Answer]:
    if isinstance(row, UnpairedPreference):
        sides: Iterable[tuple[tuple[Message, ...], int]] = [(row.completion, 1 if row.desirable else 2)]
    elif isinstance(row, Preference):
        sides = ((row.chosen, 1), (row.rejected, 2))
    else:
        sides = zip(row.answers, row.ranks, strict=True)
    for messages, rank in sides:
        characters = sum(len(message.text) for message in messages)
        yield Answer(_hash(messages), characters, rank, _flaw(row.prompt, messages))


def _flaw(prompt: Sequence[Message], messages: Sequence[Message]) -> str:
    """The name of the first fault of an answer that no reader can want, by the checks of conversations."""
    question = next((turn.text for turn in reversed(prompt) if turn.role == "user"), "")
    text = messages[-1].text
    exchange = Exchange(question, text, text.lower(), isinstance(messages[-1].content[-1], ToolCall))
    return next((check.name for check in FLAWS if check.in_answer and check.in_answer(exchange) >= 0), "")


def _hash(messages: Sequence[Message]) -> int:
    text = "\n".join(f"{message.role}: {' '.join(message.text.casefold().split())}" for message in messages)
    return int(hash_texts([text])[0])


def comparisons(answers: Sequence[Answer]) -> Iterator[tuple[Answer, Answer]]:
    """The better and the worse answer of each pair of a row that does not tie."""
    for one, other in combinations(answers, 2):
        if one.rank != other.rank:
            yield (one, other) if one.rank < other.rank else (other, one)
