"""From the numbers of a scan to what they mean: each rule with its threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tutelage.chat.audit.language import SCRIPTS
from tutelage.chat.audit.likeness import Diversity, Likeness
from tutelage.chat.audit.report import EXAMPLES, Example, Finding, Level, finding
from tutelage.chat.audit.scan import GIST, Scanned, Shown
from tutelage.chat.audit.tokens import Tokens
from tutelage.chat.formats.reading import EMPTY
from tutelage.chat.formats.turns import CUT_OFF, END_MARKER
from tutelage.ledger import Ledger

# The share of an evaluated text's runs of 13 tokens that a conversation must have.
COVERED = 0.5
# A set ends its prose with a mark where this share of it, of at least so many answers, does: what models wrote does at
# 99%, what people wrote at 96% and less, and there a missing mark is a habit.
MARKED, PROSE = 0.97, 20
# An unfinished length that so many answers have, and so many times more than lengths near it.
SAME_LENGTH, STANDS_OUT, SHORTEST_CUT = 5, 8, 100
# A script is rare below this share where one script is the main one.
RARE, MAIN = 0.05, 0.8
LARGEST_KIND, SAME_OPENING, ENOUGH = 0.5, 0.3, 50
LEAST_SAID = 0.1


class Met(NamedTuple):
    """The conversations that one kind of finding meets: their numbers, and how many they are where it meets none in
    particular; examples, or else the first of them are shown."""

    name: str
    rows: np.ndarray
    examples: Sequence[Shown] = ()
    detail: str = ""
    level: Level | None = None
    whole: int = 0

    @property
    def size(self) -> int:
        """How many it meets."""
        return self.whole or len(self.rows)

    @property
    def few(self) -> Sequence[Shown]:
        """The examples to show."""
        return self.examples[:EXAMPLES] or [Shown(int(row)) for row in self.rows[:EXAMPLES]]


NO_ROWS = np.empty(0, np.int64)


def seen_in_answers(scanned: Scanned) -> Iterator[Met]:
    """What single answers show, and what their ends do."""
    for name in ("special token", "placeholder", "hollow answer", "copied prompt", "refusal", "other language"):
        yield Met(name, scanned.flagged(name), scanned.notes.examples[name])
    notes = scanned.notes
    cut: np.ndarray = scanned.flagged("truncated")
    examples, detail = list(notes.examples["truncated"]), []
    if notes.prose >= PROSE and notes.finished >= MARKED * notes.prose:
        cut = np.union1d(cut, scanned.flagged("loose end"))
        examples += notes.examples["loose end"]
        detail.append(f"{notes.finished / notes.prose:.0%} of the prose ends with a mark")
    for length, rows in _piled_up(scanned):
        cut = np.union1d(cut, rows)
        examples += [Shown(int(row)) for row in rows[:EXAMPLES]]
        detail.append(f"{len(rows):,} answers end unfinished at exactly {length:,} characters")
    yield Met("truncated", cut, sorted(examples), "; ".join(detail))
    disagreeing, told = notes.identities.disagreeing()
    yield Met("identity", np.array(disagreeing, np.int64), detail=told)


def _piled_up(scanned: Scanned) -> Iterator[tuple[int, np.ndarray]]:
    """Lengths at which many answers stop without a mark: where something cut them."""
    ending = scanned.facts["ending"]
    lengths, counts = np.unique(ending[ending >= SHORTEST_CUT], return_counts=True)
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        if count < SAME_LENGTH:
            continue
        near = (lengths >= 0.95 * length) & (lengths <= 1.05 * length)
        usual = (counts[near].sum() - count) / (0.1 * length)
        if count < STANDS_OUT * (usual + 0.5):
            continue
        rows = np.flatnonzero(ending == length)
        if len(np.unique(scanned.said[rows], axis=0)) > 0.8 * count:  # one answer given many times is another matter
            yield length, rows


def repeated_rows(alike: Likeness) -> Iterator[Met]:
    """Duplicates within the file, and what is also in the held-out file."""
    for name, (rows, firsts) in (("duplicate", alike.exact), ("near duplicate", alike.near)):
        pairs = zip(rows[:EXAMPLES].tolist(), firsts[:EXAMPLES].tolist(), strict=True)
        yield Met(name, rows, [Shown(row, other=first) for row, first in pairs])
    leaked = np.union1d(alike.leaked[0], alike.nearly_leaked[0])
    detail = f"{len(alike.leaked[0]):,} exactly, {len(alike.nearly_leaked[0]):,} nearly"
    yield Met("leak", leaked, detail=detail)


def overlapping(scanned: Scanned, places: Sequence[str]) -> Iterator[Met]:
    """What evaluation sets ask."""
    rows = np.flatnonzero(scanned.facts["covered"] >= COVERED)
    facts = scanned.facts[rows[:EXAMPLES]]
    examples = [
        Shown(int(row), words=f"{fact['covered']:.0%} of {places[fact['covering']]}: {GIST}")
        for row, fact in zip(rows[:EXAMPLES], facts, strict=True)
    ]
    yield Met("overlap", rows, examples)


def of_the_whole(scanned: Scanned, prompts: Diversity, ledger: Ledger) -> Iterator[Met]:
    """What no single conversation shows."""
    count = len(scanned.facts)
    scripts = scanned.facts["script"]
    by_script = np.bincount(scripts, minlength=len(SCRIPTS))
    by_script[0] = 0  # too short to tell
    if count and by_script.max() >= MAIN * by_script.sum():
        rare = [n for n in range(1, len(SCRIPTS)) if 0 < by_script[n] < RARE * by_script.sum()]
        told = ", ".join(f"{SCRIPTS[n]} ({by_script[n]:,})" for n in rare)
        yield Met("rare language", np.flatnonzero(np.isin(scripts, rare)), detail=told)
    if count >= ENOUGH and len(prompts.largest) >= LARGEST_KIND * count:
        yield Met("few prompts", prompts.largest, detail=f"as many as {prompts.effective:,.1f} equally frequent kinds")
    if count >= ENOUGH:
        (words, times) = scanned.notes.openings.most_common(1)[0]
        if times >= SAME_OPENING * count:
            yield Met("same opening", NO_ROWS, detail=f"“{words} …”", whole=times)
    read, said = int(scanned.facts["read"].sum()), int(scanned.facts["said"].sum())
    if count and said < LEAST_SAID * (read + said):
        yield Met(
            "mostly prompt", NO_ROWS, detail=f"answers are {said / (read + said):.1%} of the characters", whole=count
        )
    marked = ledger.noted.get(END_MARKER)
    if marked and marked.rows < ledger.rows_kept:
        detail = f"{marked.rows:,} have one, the first is {marked.examples[0]}"
        yield Met("missing end marker", NO_ROWS, detail=detail, whole=ledger.rows_kept - marked.rows)
    cut = ledger.noted.get(CUT_OFF)
    if cut:
        examples = [Shown(-1, place) for place in cut.examples]
        yield Met("no last answer", NO_ROWS, examples, whole=cut.rows)
    empty = ledger.noted.get(EMPTY)
    if empty:
        examples = [Shown(-1, place) for place in empty.examples]
        yield Met("empty file", NO_ROWS, examples, whole=empty.rows)


def of_the_model(tokens: Tokens, too_long: str, max_refused: float) -> Iterator[Met]:
    """What the model's template refuses, reason by reason, and what is longer than its context."""
    count = len(tokens.longest)
    refused = sum(map(len, tokens.refused.values()))
    level: Level = "error" if refused > max_refused * count else "warning"
    for reason, rows in tokens.refused.items():
        examples = [Shown(row, place, words) for row, place, words in tokens.said[reason]]
        yield Met("unprovable", np.array(rows, np.int64), examples, reason, level)
    if tokens.context is None:
        return
    long = tokens.too_long()
    stops = too_long == "error" or (too_long == "split" and tokens.inseparable)
    lost = sum(tokens.graded[row] for row in long)
    detail = (
        f"context {tokens.context:,}; error: the training stops; drop: {lost:,} graded tokens are lost; split: nothing "
        f"is lost, but {len(tokens.inseparable):,} cannot be split"
    )
    yield Met("too long", np.array(long, np.int64), detail=detail, level="error" if stops else "warning")


def broken_rows(ledger: Ledger, max_broken: float) -> list[Finding]:
    """The rows that are no conversation to learn from, reason by reason."""
    dropped = {reason: entry for reason, entry in ledger.dropped.items() if reason != "blank line"}
    rows = ledger.rows_read - sum(entry.rows for reason, entry in ledger.dropped.items() if reason not in dropped)
    level: Level = "error" if sum(entry.rows for entry in dropped.values()) > max_broken * rows else "warning"
    return [
        finding("broken row", entry.rows, rows, tuple(map(_placed, entry.examples)), reason, level)
        for reason, entry in dropped.items()
    ]


def _placed(where: str) -> Example:
    place, _, words = where.partition(": ")
    return Example(place, words)
