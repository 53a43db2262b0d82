"""The audit of a file: one pass that keeps numbers, what they show, and a second look at the few rows that show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tutelage.chat.audit import findings as found
from tutelage.chat.audit.claims import REFUSED, Decided, candidates, contradicting
from tutelage.chat.audit.evaluations import evaluation_texts
from tutelage.chat.audit.findings import Met
from tutelage.chat.audit.likeness import diversity, find_alike
from tutelage.chat.audit.marks import Marks
from tutelage.chat.audit.profile import profile
from tutelage.chat.audit.report import REASONS, Example, Report, excerpt, finding
from tutelage.chat.audit.scan import GIST, Shown, scan, told_by
from tutelage.chat.audit.tokens import Tokens
from tutelage.chat.formats import find_format, read_conversations
from tutelage.chat.render.hf import Renderer
from tutelage.chat.render.native import TrainOn
from tutelage.corpus.overlap import examined
from tutelage.ledger import Ledger
from tutelage.progress import track
from tutelage.records import Conversation

Policy = Literal["error", "split", "drop"]


def audit_file(
    path: Path,
    *,
    renderer: Renderer | None = None,
    context: int | None = None,
    train_on: TrainOn = "assistant",
    held_out: Path | None = None,
    against: Sequence[Path] = (),
    too_long: Policy = "error",
    max_broken: float = 0.0,
    max_refused: float = 0.0,
) -> Report:
    """What is wrong with a file of conversations; the file is read, and then once more up to
    the last row that is shown, and only numbers are held of it.

    renderer: of the model to be trained, and context, the most tokens it reads: then each conversation is rendered,
              proven and measured. Without it texts alone are looked at.
    held_out: a file that must share nothing with this one.
    against:  evaluation sets, of any fields, whose questions must not stand in this file.
    too_long, max_broken, max_refused: what the training allows (`tutelage sft`); what it allows is no error.

    Raises:
        DiskError, ValueError: a file cannot be read, is damaged, has no rows, or is in no known format.
    """
    ledger = Ledger(f"{path}: rows of the file")
    form = find_format(path)
    if held_out:
        find_format(held_out)  # a wrong path is told before the work, not after it
    batches, places = evaluation_texts(against)
    wanted = examined(batches) if against else None
    tokens = Tokens(renderer, context, train_on) if renderer else None
    marks = Marks(tuple(renderer.tokenizer.special_tokens) if renderer else ())
    scanned = scan(_read(path, ledger), marks, wanted, tokens)
    other = scan(_read(held_out, Ledger("held out"))) if held_out else None
    prompts = diversity(scanned)
    met = [
        *found.seen_in_answers(scanned),
        *found.repeated_rows(find_alike(scanned, other)),
        *found.overlapping(scanned, places),
        *found.of_the_whole(scanned, prompts, ledger),
        *(found.of_the_model(tokens, too_long, max_refused) if tokens else ()),
    ]
    groups = list(candidates(scanned.decided).values())
    seen = _look_again(path, met, groups, scanned.decided)
    met += _contradictions(groups, scanned.decided, seen)
    count = len(scanned.facts)
    findings = [
        finding(one.name, one.size, count, tuple(_example(shown, seen) for shown in one.few), one.detail, one.level)
        for one in met
        if one.size
    ]
    findings += found.broken_rows(ledger, max_broken)
    findings.sort(key=lambda one: (one.level != "error", -one.share, REASONS.index(one.name)))
    figures = profile(scanned, prompts, ledger, tokens)
    return Report(str(path), form, count, tuple(findings), figures, _rows(met))


def _read(path: Path, ledger: Ledger) -> Iterator[Conversation]:
    """The conversations of a file, counted on the screen; broken rows are the audit's to judge."""
    conversations = read_conversations(path, ledger, 1.0)
    with track(f"audit of {path.name}", None, "conversations") as bar:
        for conversation in conversations:
            bar.update()
            yield conversation


def _rows(met: Sequence[Met]) -> dict[str, np.ndarray]:
    """The conversations that each kind meets, whatever it met them for."""
    rows: dict[str, np.ndarray] = {}
    for one in met:
        if len(one.rows):
            rows[one.name] = np.union1d(rows.get(one.name, one.rows), one.rows)
    return rows


class Seen(NamedTuple):
    """A row that was read again: its place, what it asks and says, and what its answers decide."""

    place: str
    gist: str
    told: tuple[str, ...]


def _look_again(path: Path, met: Sequence[Met], groups: Sequence[list[int]], decided: Decided) -> dict[int, Seen]:
    """What it takes of the file's rows to show the examples of what was met, and to compare answers to one prompt; it
    is read no further than the last of these rows."""
    examples = [shown for one in met for shown in one.few if not shown.place]
    wanted = {row for shown in examples for row in (shown.row, shown.other) if row >= 0}
    wanted |= {int(row) for group in groups for row in decided.rows[group]}
    last = max(wanted, default=-1)
    seen: dict[int, Seen] = {}
    for row, conversation in enumerate(read_conversations(path, Ledger("again"), 1.0) if wanted else ()):
        if row in wanted:
            seen[row] = Seen(conversation.id, _gist(conversation), tuple(told_by(conversation)))
        if row == last:
            break
    return seen


def _gist(conversation: Conversation) -> str:
    asked = next((one.text for one in conversation.messages if one.role == "user"), "")
    said = next((one.text for one in reversed(conversation.messages) if one.role == "assistant"), "")
    return f"{excerpt(asked)} -> {excerpt(said)}"


def _example(shown: Shown, seen: Mapping[int, Seen]) -> Example:
    if shown.place:
        return Example(shown.place, shown.words)
    own = seen[shown.row]
    place = own.place if shown.other < 0 else f"{own.place} and {seen[shown.other].place}"
    return Example(place, (shown.words or GIST).replace(GIST, own.gist))


def _contradictions(groups: Sequence[list[int]], decided: Decided, seen: Mapping[int, Seen]) -> Iterator[Met]:
    """Different answers to one prompt. Hashes told which to look at, and their words tell whether they contradict."""

    def told(answer: int) -> str:
        row = int(decided.rows[answer])
        return seen[row].told[answer - int(np.searchsorted(decided.rows, row))]

    fighting = contradicting(groups, told)
    if not fighting:
        return
    examples = []
    for group in fighting:
        other = next(answer for answer in group if told(answer) != told(group[0]))
        words = " / ".join(told(answer).replace(REFUSED, "refused") or "answered" for answer in (group[0], other))
        examples.append(Shown(int(decided.rows[group[0]]), "", f"{GIST} “{words}”", int(decided.rows[other])))
    rows = np.unique(decided.rows[np.concatenate(fighting)])
    yield Met("contradiction", rows, sorted(examples), f"{len(fighting):,} prompts")
