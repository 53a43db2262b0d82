"""The audit of a file of preferences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.chat.audit.check import Level
from tutelage.chat.audit.preference_scan import FLAWS, Answer, Scan, comparisons, scan_preferences
from tutelage.chat.audit.report import Example, Finding, Report
from tutelage.chat.audit.scan_result import EXAMPLES, excerpt
from tutelage.chat.formats.unread import UNREAD
from tutelage.intervals import Rate, rate
from tutelage.io.data_files import held_out_path
from tutelage.ledger import Ledger

BLANK = "blank line"
# The share of comparisons that the longer answer wins from which a reward model may learn length and little else; in
# HH-RLHF and WebGPT it is 55% to 60% (Singhal et al. 2023, arXiv 2310.03716).
LENGTH_BIAS = 0.6
# KTO's section 4.2 wants products of weight and number between 1:1 and 4:3; twice that is far from it.
UNBALANCED = 2.0


def audit_preferences(path: Path, format_name: str, held_out: Path | None = None, max_broken: float = 0.0) -> Report:
    """Check a file of preferences. Texts count as the same where they differ in case and white space only.

    held_out: a file that must share no prompt with this one; where left out, the validation split of a folder.

    Raises:
        DiskError, ValueError: a file cannot be read, is damaged, or has no rows.
    """
    ledger = Ledger(f"{path}: rows of the file")
    scan = scan_preferences(path, ledger, "train")
    others = held_out_path(path, held_out)
    held_out_prompts = set(scan_preferences(others[0], Ledger("held out"), others[1]).prompts) if others else set()
    findings = [*_broken(ledger, max_broken), *_leak(scan, held_out_prompts), *_repeated(scan), *_contradictory(scan)]
    findings += [*_same_but_for_case(scan), *_length_bias(scan), *_unbalanced(scan), *_one_prompt(scan)]
    findings += [*_flawed(scan), *_swapped(scan)]
    findings += _unread(ledger, len(scan.prompts))
    findings.sort(key=lambda finding: (finding.level != "error", -finding.share))
    return Report(str(path), format_name, len(scan.prompts), tuple(findings), _profile(scan), {}, "preferences")


def _found(
    name: str, level: Level, title: str, fix: str, scan: Scan, rows: Sequence[int], texts: Sequence[str] = ()
) -> Iterator[Finding]:
    """A finding about some rows, with the first of them as examples; nothing where there are none."""
    if rows:
        shown = [*texts, *[""] * EXAMPLES][:EXAMPLES]
        examples = [Example(scan.places[row], text) for row, text in zip(rows, shown, strict=False)]
        yield Finding(name, title, level, len(rows), len(rows) / len(scan.prompts), tuple(examples), fix, False)


def _broken(ledger: Ledger, max_broken: float) -> Iterator[Finding]:
    """Rows that cannot be trained on, a finding for each reason: ties and identical sides among them."""
    dropped = {reason: entry for reason, entry in ledger.dropped.items() if reason != BLANK}
    blank = ledger.dropped[BLANK].rows if BLANK in ledger.dropped else 0
    rows = ledger.rows_read - blank
    level: Level = "error" if sum(entry.rows for entry in dropped.values()) > max_broken * rows else "warning"
    fix = "Correct these rows, or allow a share of them with --max-broken."
    for reason, entry in dropped.items():
        placed = (where.partition(": ") for where in entry.examples)
        examples = tuple(Example(place, excerpt(text)) for place, _, text in placed)
        title = "rows that cannot be trained on"
        yield Finding("broken row", title, level, entry.rows, entry.rows / rows, examples, fix, False, reason)


def _leak(scan: Scan, held_out: set[int]) -> Iterator[Finding]:
    rows = [row for row, prompt in enumerate(scan.prompts) if prompt in held_out]
    fix = "Remove them from one of the two files: a score on trained prompts says little."
    yield from _found("leak", "error", "their prompt is also in the held-out file", fix, scan, rows)


def _repeated(scan: Scan) -> Iterator[Finding]:
    first: dict[tuple[int, tuple[Answer, ...]], int] = {}
    rows, texts = [], []
    for row, key in enumerate(zip(scan.prompts, scan.answers, strict=True)):
        earlier = first.setdefault(key, row)
        if earlier != row:
            rows.append(row)
            texts.append(f"as {scan.places[earlier]}")
    fix = "Keep one of each: repeated rows weigh more than the others."
    yield from _found("duplicate", "warning", "duplicates of an earlier row", fix, scan, rows, texts)


def _contradictory(scan: Scan) -> Iterator[Finding]:
    """Rows that say the opposite of an earlier row: of one prompt, a above b and b above a, or an answer desirable and
    not."""
    seen: dict[int, dict[tuple[int, int], int]] = defaultdict(dict)
    rows, texts = [], []
    for row, (prompt, answers) in enumerate(zip(scan.prompts, scan.answers, strict=True)):
        earlier = None
        for better, worse in _stated(answers):
            earlier = seen[prompt].get((worse, better), earlier)
            seen[prompt].setdefault((better, worse), row)
        if earlier is not None:
            rows.append(row)
            texts.append(f"the opposite of {scan.places[earlier]}")
    title = "contradict an earlier row of the same prompt"
    fix = "Decide which one holds, or keep them as label noise: the loss cannot fall below it (--label-smoothing)."
    yield from _found("contradiction", "warning", title, fix, scan, rows, texts)


def _stated(answers: Sequence[Answer]) -> Iterator[tuple[int, int]]:
    """What a row says: which answer is above which, by their hashes; a labelled answer above or below 0."""
    if len(answers) == 1:
        (answer,) = answers
        yield (answer.hash, 0) if answer.rank == 1 else (0, answer.hash)
    for better, worse in comparisons(answers):
        yield better.hash, worse.hash


def _same_but_for_case(scan: Scan) -> Iterator[Finding]:
    rows = [row for row, answers in enumerate(scan.answers) if len({answer.hash for answer in answers}) < len(answers)]
    fix = "Remove them: what such a pair teaches is case and white space."
    title = "answers that differ in case and white space only"
    yield from _found("identical answers", "warning", title, fix, scan, rows)


def _flawed(scan: Scan) -> Iterator[Finding]:
    """Rows whose best answer has a flaw, a finding for each kind."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, answers in enumerate(scan.answers):
        best = min(answers, key=lambda answer: answer.rank)
        if best.flaw and best.rank == 1:
            rows[best.flaw].append(row)
    for check in FLAWS:
        title = f"preferred: {check.title}"
        yield from _found(check.name, "warning", title, check.fix, scan, rows[check.name])


def _swapped(scan: Scan) -> Iterator[Finding]:
    """Where one of two answers has a flaw, and it is the preferred one in most of the file: the whole interval is above
    half."""
    flawed = [
        (row, bool(better.flaw))
        for row, answers in enumerate(scan.answers)
        for better, worse in comparisons(answers)
        if bool(better.flaw) != bool(worse.flaw)
    ]
    rows = sorted({row for row, preferred in flawed if preferred})
    if flawed and rate(sum(preferred for _, preferred in flawed), len(flawed)).low > 0.5:
        title = "prefer a flawed answer to one without a flaw, more often than the other way round"
        fix = "Read some of them: chosen and rejected may be swapped."
        yield from _found("swapped", "warning", title, fix, scan, rows)


def longer_preferred(scan: Scan) -> Rate | None:
    """How often the longer answer is preferred, among comparisons of different lengths; None without any."""
    pairs = [pair for answers in scan.answers for pair in comparisons(answers)]
    longer = [better.characters > worse.characters for better, worse in pairs if better.characters != worse.characters]
    return rate(sum(longer), len(longer)) if longer else None


def _length_bias(scan: Scan) -> Iterator[Finding]:
    """A share of comparisons that the longer, or the shorter, answer wins, of which the whole interval is far from
    half."""
    share = longer_preferred(scan)
    if share is None or (share.low < LENGTH_BIAS and share.high > 1 - LENGTH_BIAS):
        return
    word = "longer" if share.rate > 0.5 else "shorter"
    part = share.rate if word == "longer" else 1 - share.rate
    fix = (
        "Balance the lengths, or compare the reward with the length of answers after training: a reward model that "
        "knows length only is right as often."
    )
    title, count = f"the {word} answer is preferred", round(part * share.count)
    yield Finding("length bias", title, "warning", count, part, (), fix, False)


def _unbalanced(scan: Scan) -> Iterator[Finding]:
    good, bad = (sum(len(of) == 1 and of[0].rank == rank for of in scan.answers) for rank in (1, 2))
    few, many = sorted((good, bad))
    if many > UNBALANCED * few:
        rare, often = ("desirable", "undesirable") if good == few else ("undesirable", "desirable")
        wanted = f"{many / few:.2g}" if few else "1"
        fix = f"Set {rare}_weight to about {wanted} times {often}_weight (KTO, arXiv 2402.01306, section 4.2)."
        share = many / (good + bad)
        yield Finding("unbalanced labels", f"answers labelled {often}", "warning", many, share, (), fix, False)


def _one_prompt(scan: Scan) -> Iterator[Finding]:
    if len(scan.prompts) > 1 and len(set(scan.prompts)) == 1:
        fix = "Add rows of other prompts: one prompt teaches one answer, and KTO needs two."
        yield from _found("one prompt", "warning", "all rows have one prompt", fix, scan, range(len(scan.prompts)))


def _unread(ledger: Ledger, rows: int) -> Iterator[Finding]:
    for note, entry in ledger.noted.items():
        if note.startswith(UNREAD):
            examples = tuple(Example(place, "") for place in entry.examples)
            detail, fix = note.removeprefix(UNREAD), "Check that nothing in them is meant to be learned."
            title = "rows with fields that are not read"
            yield Finding("unread field", title, "warning", entry.rows, entry.rows / rows, examples, fix, False, detail)


def _profile(scan: Scan) -> dict[str, Any]:
    """Figures about the whole file."""
    counts = Counter(scan.prompts)
    figures: dict[str, Any] = {kind: scan.kinds[kind] for kind in ("pairs", "rankings", "labelled answers")}
    figures |= {
        "prompts.distinct": len(counts),
        "prompts.shared": sum(count > 1 for count in counts.values()),
        "prompts.most_rows": max(counts.values(), default=0),
    }
    pairs = [pair for answers in scan.answers for pair in comparisons(answers)]
    if (share := longer_preferred(scan)) is not None:
        figures |= {f"longer_preferred.{name}": getattr(share, name) for name in ("rate", "low", "high", "count")}
        for side, answers in zip(("better", "worse"), zip(*pairs, strict=True), strict=True):
            figures[f"{side}.characters.median"] = int(np.median([answer.characters for answer in answers]))
            figures[f"{side}.flawed.share"] = sum(bool(answer.flaw) for answer in answers) / len(answers)
    ranked = [answers for answers in scan.answers if len(answers) > 2]
    if ranked:
        possible = sum(len(answers) * (len(answers) - 1) // 2 for answers in ranked)
        figures["ties.share"] = 1 - sum(1 for answers in ranked for _ in comparisons(answers)) / possible
    labelled = [answers[0] for answers in scan.answers if len(answers) == 1]
    if labelled:
        figures["desirable.share"] = sum(answer.rank == 1 for answer in labelled) / len(labelled)
    return figures
