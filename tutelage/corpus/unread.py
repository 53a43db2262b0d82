"""What of the input a curation did not read, in sentences."""

from __future__ import annotations

from tutelage.corpus.curation import Curation
from tutelage.corpus.input_files import skipped_sentence
from tutelage.corpus.input_shards import skipped_files
from tutelage.corpus.read.pages import OCR_PAGES, PAGES_WITHOUT_TEXT, PDF_PAGES
from tutelage.corpus.working import LIMITED, NOT_SAMPLED
from tutelage.ledger import Ledger

_REASONS_SHOWN = 3


def unread_sentences(curation: Curation, ledger: Ledger) -> list[str]:
    """What the readers dropped or left out, what they read by OCR, and the files that were skipped."""
    unread: list[str] = []
    lost = {reason: entry.rows for reason, entry in ledger.dropped.items() if reason != NOT_SAMPLED}
    if lost:
        reasons = sorted(lost.items(), key=lambda item: -item[1])[:_REASONS_SHOWN]
        why = ", ".join(f"{reason} ({rows:,})" for reason, rows in reasons)
        unread = [f"{sum(lost.values()):,} records not read: {why}"]
    if left := ledger.dropped.get(NOT_SAMPLED):
        unread.append(f"{left.rows:,} documents are not in the sample (sample = {curation.sample:g})")
    if cut := ledger.noted.get(LIMITED):
        unread.append(f"{cut.rows:,} files were read up to {curation.limit:,} documents (limit), the rest was not")
    if scanned := ledger.noted.get(OCR_PAGES):
        share = scanned.rows / ledger.noted[PDF_PAGES].rows
        unread.append(f"{scanned.rows:,} pages of PDF, {share:.0%}, were read by OCR, first in {scanned.examples[0]}")
    if blank := ledger.noted.get(PAGES_WITHOUT_TEXT):
        unread.append(f"{blank.rows:,} {PAGES_WITHOUT_TEXT}, first in {blank.examples[0]}")
    if curation.unknown_files == "skip" and (skipped := skipped_files(curation)):
        unread.append(skipped_sentence(skipped))
    return unread
