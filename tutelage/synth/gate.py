"""The gate: a row is kept if the audit's own checks find nothing in it, and nothing like it was kept before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tutelage.chat.audit.benchmarks import benchmark_texts
from tutelage.chat.audit.check import Exchange
from tutelage.chat.audit.checks import CHECKS
from tutelage.chat.audit.checks.benchmark_overlap import MIN_OVERLAP
from tutelage.chat.audit.checks.identity import identity_claims, machine_claim
from tutelage.chat.audit.checks.special_token import TemplateMarkers
from tutelage.config import Settings, SettingsError, suggest
from tutelage.synth.method import Drop, Row, Turn
from tutelage.synth.near_rows import NearRows
from tutelage.text.ngrams import ItemIndex, index_items, most_covered, text_hashes
from tutelage.text.words import hash_words

_ANSWERS = {check.name: check.in_answer for check in CHECKS if check.in_answer}
_TEXTS = {check.name: check.in_text for check in CHECKS if check.in_text}
# Besides the checks of single texts, which have the names that `tutelage audit` shows.
NAMES = (*_ANSWERS, *_TEXTS, "special token", "identity", "empty", "overlap", "duplicate", "near duplicate")
_DIGITS = re.compile(r"\d+")


class GateSettings(Settings, frozen=True, kw_only=True):
    """What a made row may not have.

    skip:       checks that are left out, by their names in `tutelage audit`, such as "refusal" where they are wanted.
    against:    evaluation sets, files with any fields: rows that hold half of the words of one of their texts, or equal
                one, are dropped, also where only numbers differ.
    width:      words of an n-gram in that search: 13 as GPT-3, 8 as Tulu 3.
    assistant:  names that the assistant and its maker may have; answers that claim another are dropped.
    """

    skip: list[str] = []
    against: list[str] = []
    width: int = 8
    assistant: list[str] = []

    def __post_init__(self) -> None:
        for name in self.skip:
            if name not in NAMES:
                raise SettingsError(f"gate.skip names '{name}', which is no check{suggest(name, NAMES)}")


class Gate:
    """Checks rows in order. Memory: two signatures and a few numbers a row, and no text.

    Raises:
        DiskError, ValueError: an evaluation set cannot be read, or holds no text.
    """

    def __init__(self, settings: GateSettings) -> None:
        self.skip = frozenset(settings.skip)
        self._names = {name.lower() for name in settings.assistant}
        self._markers = TemplateMarkers()
        self._near = NearRows()
        self._benchmark: ItemIndex | None = None
        self._whole: frozenset[int] = frozenset()
        self._places: list[str] = []
        if settings.against:
            batches, places = benchmark_texts([Path(path) for path in settings.against])
            texts = [masked(text) for batch in batches for text in batch]
            self._benchmark = index_items([(text,) for text in texts], settings.width)
            self._whole = frozenset(text_hashes(hash_words(texts)).tolist())
            self._places = places

    def check(self, row: Row) -> Drop | None:
        """Why a row is dropped for what it holds, regardless of other rows; None if it is not."""
        for turns in conversations_of(row):
            for reason, detail in self._faults(turns):
                if reason not in self.skip:
                    return Drop(reason, detail)
        return self._overlap(row) if "overlap" not in self.skip else None

    def copy_of(self, row: Row) -> Drop | None:
        """Why a row is dropped as a copy of a kept one; None if it is none. Short answers are the same only after the
        same prompt, as in `chat.audit.near_duplicates`."""
        found = self._near.find(*_sides(row))
        return None if found is None or found[0] in self.skip else Drop(found[0], f"of kept row {found[1] + 1:,}")

    def remember(self, row: Row) -> None:
        """A row is kept."""
        self._near.add(*_sides(row))

    def _faults(self, turns: Sequence[Turn]) -> Iterator[tuple[str, str]]:
        question = ""
        for number, turn in enumerate(turns):
            text = turn["content"]
            if not text.strip() and turn["role"] != "system" and "tool_calls" not in turn:
                yield "empty", turn["role"]
            if (at := self._markers.find(text)) >= 0:
                yield "special token", text[at : at + 80]
            yield from ((name, text) for name, find in _TEXTS.items() if find(text) >= 0)
            if turn["role"] != "assistant":
                question = question if turn["role"] == "tool" else text  # an answer may quote a result
                continue
            exchange = Exchange(question, text, text.lower(), first=number < 2)
            yield from ((name, text) for name, find in _ANSWERS.items() if find(exchange) >= 0)
            for _, name in identity_claims(exchange):
                if name not in self._names:
                    yield "identity", name
            if claim := machine_claim(exchange):
                yield "identity", claim

    def _overlap(self, row: Row) -> Drop | None:
        if self._benchmark is None:
            return None
        texts = [masked(turn["content"]) for turns in conversations_of(row) for turn in turns]
        hashes = hash_words(texts)
        shares, items = most_covered(hashes, self._benchmark)
        worst = int(shares.argmax())
        if shares[worst] >= MIN_OVERLAP:
            return Drop("overlap", f"{shares[worst]:.0%} of {self._places[items[worst]]}")
        if not self._whole.isdisjoint(text_hashes(hashes).tolist()):
            return Drop("overlap", "equals a text of an evaluation set")
        return None


def masked(text: str) -> str:
    """A text with each number replaced by one: the same problem with other numbers is the same problem."""
    return _DIGITS.sub("0", text)


def conversations_of(row: Row) -> list[list[Turn]]:
    """The conversations in a row: one, two of a preference; a document is an answer to nothing."""
    if "text" in row:
        return [[{"role": "assistant", "content": row["text"]}]]
    if "messages" in row:
        return [row["messages"]]
    return [[*row["prompt"], *row[side]] for side in ("chosen", "rejected")]


def _sides(row: Row) -> tuple[str, str]:
    """The users' text and the assistant's."""
    [turns] = conversations_of(row)[:1]
    sides = ["\n".join(turn["content"] for turn in turns if turn["role"] == role) for role in ("user", "assistant")]
    return sides[0], sides[1]
