"""What one pass over a file keeps of its conversations: numbers, signatures and a few examples, but no text."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tutelage.chat.audit.final_answers import AnswerIndex

EXAMPLES = 5
EXCERPT = 160  # characters
SUMMARY = "\0"  # in the text of an example: replaced by an excerpt of the row's question and answer

# Features of one conversation. `hash` covers all of it; `prompt_hash` what the users write, ignoring case and white
# space; `flags` has a bit for each of ScanResult.flag_names; `script` is an index into SCRIPTS. The lengths are in
# characters: `context_chars` of all messages that are not trained, `user_chars` of the users' part of them,
# `assistant_chars` of the answers, `unterminated_chars` of the last answer if it has no terminal punctuation, else 0.
# `overlap` and `overlap_text` are what `most_covered` returns: a share, and the index of the benchmark's text.
FEATURES = np.dtype(
    [
        ("hash", np.int64),
        ("prompt_hash", np.int64),
        ("flags", np.uint16),
        ("script", np.uint8),
        ("context_chars", np.int32),
        ("user_chars", np.int32),
        ("assistant_chars", np.int32),
        ("unterminated_chars", np.int32),
        ("overlap", np.float32),
        ("overlap_text", np.int32),
    ]
)


class ExampleRow(NamedTuple):
    """An example: a row, its place, the text that shows the fault, and another row it resembles (-1 for none). Without
    a place the row is read again for it, and SUMMARY in the text is replaced by the row's question and answer."""

    row: int
    place: str = ""
    text: str = ""
    other: int = -1


@dataclass(eq=False)
class FileNotes:
    """Counts over all conversations, and the first examples of each flag.

    identities:         conversations by what their answers say of the assistant, such as ("name", "chatgpt").
    openings:           the first words of the prompts.
    sample:             answers drawn at random, for language identification.
    answers:            how many there are; of them `prose_answers`, of those `terminated_answers` end with punctuation.
    """

    examples: dict[str, list[ExampleRow]] = field(default_factory=lambda: defaultdict(list))
    identities: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    openings: Counter[str] = field(default_factory=Counter)
    sample: list[str] = field(default_factory=list)
    answers: int = 0
    prose_answers: int = 0
    terminated_answers: int = 0

    def add_example(self, name: str, row: int, place: str, text: str, at: int) -> None:
        """Keep an example, while there are few of its name."""
        kept = self.examples[name]
        if len(kept) < EXAMPLES and (not kept or kept[-1].row != row):
            kept.append(ExampleRow(row, place, excerpt(text, at)))

    def add_identity(self, row: int, claim: tuple[str, str]) -> None:
        """Note what one answer of a conversation says of the assistant; each conversation counts once."""
        rows = self.identities[claim]
        if not rows or rows[-1] != row:
            rows.append(row)


@dataclass(eq=False)
class ScanResult:
    """What is kept of N conversations: `features`, FEATURES[N]; the MinHash signatures of the users' text and of the
    assistant's text of each, uint16[N, 64]; the index of final answers; and counts over all of them."""

    features: np.ndarray
    user_signatures: np.ndarray
    assistant_signatures: np.ndarray
    final_answers: AnswerIndex
    notes: FileNotes
    flag_names: tuple[str, ...]

    def flagged(self, name: str) -> np.ndarray:
        """The numbers of the conversations that have a flag."""
        return np.flatnonzero(self.features["flags"] & (1 << self.flag_names.index(name)))


def excerpt(text: str, at: int = 0) -> str:
    """A few words of a text on one line, those around the character `at`."""
    start = max(0, at - EXCERPT // 3) if len(text) > EXCERPT else 0
    part = " ".join(text[start : start + EXCERPT].split())
    return f"{'…' if start else ''}{part}{'…' if start + EXCERPT < len(text) else ''}"
