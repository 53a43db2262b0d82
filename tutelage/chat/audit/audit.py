"""The audit of a file: one pass that keeps numbers, the checks over them, and a second read of the few example rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tutelage.chat.audit.benchmarks import benchmark_texts
from tutelage.chat.audit.check import AuditedFile, Check, Hit, Limits, RereadRow, TooLong
from tutelage.chat.audit.checks import CHECKS
from tutelage.chat.audit.checks.benchmark_overlap import BENCHMARK_WIDTH
from tutelage.chat.audit.checks.special_token import TemplateMarkers
from tutelage.chat.audit.profile import profile
from tutelage.chat.audit.report import Example, Finding, Report
from tutelage.chat.audit.scan import final_answers, scan
from tutelage.chat.audit.scan_result import EXAMPLES, SUMMARY, ExampleRow, excerpt
from tutelage.chat.audit.tokens import TokenCounts
from tutelage.chat.formats import find_format, read_conversations
from tutelage.chat.render.renderer import Renderer, TrainOn
from tutelage.io.data_files import held_out_path
from tutelage.ledger import Ledger
from tutelage.progress import track
from tutelage.records import Conversation, Split
from tutelage.text.ngrams import index_items

_ORDER = {check.name: place for place, check in enumerate(CHECKS)}


def audit_file(
    path: Path,
    *,
    renderer: Renderer | None = None,
    context: int | None = None,
    train_on: TrainOn = "assistant",
    held_out: Path | None = None,
    against: Sequence[Path] = (),
    too_long: TooLong = "error",
    max_broken: float = 0.0,
    max_refused: float = 0.0,
) -> Report:
    """Check a file of conversations. The file is read once, and again up to the last row that is shown; only numbers
    are held in memory.

    renderer: of the model to be trained; context: the most tokens it reads. With it each conversation is rendered,
              verified and measured; without it only texts are checked.
    held_out: a file that must share nothing with this one; where left out, the validation split of a folder.
    against:  benchmarks, with any fields, whose texts must not be in this file.
    too_long, max_broken, max_refused: what the training allows (`tutelage sft`); what it allows is no error.

    Raises:
        DiskError, ValueError: a file cannot be read, is damaged, has no rows, or is in no known format.
    """
    ledger = Ledger(f"{path}: rows of the file")
    format_name = find_format(path)
    if held_out:
        find_format(held_out)  # reports a wrong path before the work starts
    others = held_out_path(path, held_out)
    batches, places = benchmark_texts(against)
    texts = [(text,) for batch in batches for text in batch]
    benchmark = index_items(texts, BENCHMARK_WIDTH) if texts else None
    tokens = TokenCounts(renderer, context, train_on) if renderer else None
    markers = TemplateMarkers(tuple(renderer.tokenizer.special_tokens) if renderer else ())
    file = AuditedFile(
        scan=scan(_read(path, ledger), markers, benchmark, tokens),
        held_out=scan(_read(others[0], Ledger("held out"), others[1])) if others else None,
        ledger=ledger,
        benchmark_places=places,
        tokens=tokens,
        limits=Limits(too_long, max_broken, max_refused),
    )
    hits = [(check, hit) for check in CHECKS for hit in check.find(file) if hit.size]
    reread = _reread(path, [hit for _, hit in hits])
    confirmed = [(check, hit.confirm(reread) if hit.confirm else hit) for check, hit in hits]
    hits = [(check, hit) for check, hit in confirmed if hit]
    count = len(file.scan.features)
    findings = [_finding(check, hit, count, reread) for check, hit in hits]
    findings.sort(key=lambda finding: (finding.level != "error", -finding.share, _ORDER[finding.name]))
    return Report(str(path), format_name, count, tuple(findings), profile(file), _rows(hits))


def _read(path: Path, ledger: Ledger, split: Split = "train") -> Iterator[Conversation]:
    """The conversations of a file, with a progress bar; no share of broken rows stops here, a check judges it."""
    conversations = read_conversations(path, ledger, 1.0, split=split)
    with track(f"audit of {path.name}", None, "conversations") as bar:
        for conversation in conversations:
            bar.update()
            yield conversation


def _reread(path: Path, hits: Sequence[Hit]) -> dict[int, RereadRow]:
    """The rows that examples are shown of, and those that a hit needs to be confirmed; the file is read no further than
    the last of them."""
    examples = [example for hit in hits if not hit.confirm for example in hit.shown_examples if not example.place]
    wanted = {row for example in examples for row in (example.row, example.other) if row >= 0}
    wanted |= {int(row) for hit in hits if hit.confirm for row in hit.rows}
    last = max(wanted, default=-1)
    reread: dict[int, RereadRow] = {}
    for row, conversation in enumerate(read_conversations(path, Ledger("again"), 1.0) if wanted else ()):
        if row in wanted:
            reread[row] = RereadRow(conversation.id, _summary(conversation), tuple(final_answers(conversation)))
        if row == last:
            break
    return reread


def _summary(conversation: Conversation) -> str:
    messages = conversation.messages
    question = next((message.text for message in messages if message.role == "user"), "")
    answer = next((message.text for message in reversed(messages) if message.role == "assistant"), "")
    return f"{excerpt(question)} -> {excerpt(answer)}"


def _finding(check: Check, hit: Hit, conversations: int, reread: Mapping[int, RereadRow]) -> Finding:
    total = conversations if hit.total is None else hit.total
    return Finding(
        name=check.name,
        title=check.title,
        level=hit.level or check.level,
        count=hit.size,
        share=hit.size / total if total else 0.0,
        examples=tuple(_example(example, reread) for example in hit.shown_examples[:EXAMPLES]),
        fix=check.fix,
        auto_fixable=check.auto_fixable,
        detail=hit.detail,
    )


def _example(example: ExampleRow, reread: Mapping[int, RereadRow]) -> Example:
    if example.place:
        return Example(example.place, example.text)
    row = reread[example.row]
    place = row.place if example.other < 0 else f"{row.place} and {reread[example.other].place}"
    return Example(place, (example.text or SUMMARY).replace(SUMMARY, row.summary))


def _rows(hits: Sequence[tuple[Check, Hit]]) -> dict[str, np.ndarray]:
    """The conversations that each check found."""
    rows: dict[str, np.ndarray] = {}
    for check, hit in hits:
        if len(hit.rows):
            rows[check.name] = np.union1d(rows.get(check.name, hit.rows), hit.rows)
    return rows
