"""Answers that are cut off before their end."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tutelage.chat.audit.check import AuditedFile, Check, Exchange, Hit
from tutelage.chat.audit.scan_result import EXAMPLES, ExampleRow, ScanResult

# A flag of the scan: prose that ends without punctuation. It counts only where almost all other prose ends with it.
NO_TERMINAL_PUNCTUATION = "no terminal punctuation"
# The share of prose answers that end with punctuation, of at least so many, from which a missing mark is a fault:
# in model-written sets 99% do, in sets that people wrote 96% and less, and there a missing mark is a habit.
TERMINATED_SHARE, MIN_PROSE = 0.97, 20
# A length without terminal punctuation that so many answers have, and so many times more than lengths near it.
SAME_LENGTH, OUTLIER_FACTOR, MIN_CUT_CHARS = 5, 8, 100

_MIN_CHARS, _MIN_WORDS = 40, 8  # characters of a prose answer, words of its last line
_TERMINAL = frozenset(".!?…。！？”\"'’`)]}）】」』*_>~|;؟।॥")
# Words that cannot end a sentence; "for", "with" and "to" can.
_CONNECTING = frozenset(
    "a an the and or but nor of into onto than whose because although if as their its your our my every between among "
    "during including e.g i.e they he she we which who whom until unless while very such I'm I've it's they're you're "
    "we're that's there's".split()
)
_LIST_ITEM = re.compile(r"\s*(?:[-*+•#>|]|\(?\w{1,3}[.):])")
# The author of a quotation, after a dash; the signature of a letter; a list within a line.
_NO_SENTENCE = re.compile(
    r"[-–—~]\s*[A-Z][\w.']*(?: [\w.&']+){0,5}\Z| - "
    r"|\b(?i:sincerely|regards|yours|wishes|respect|love)\b[^.!?]{0,60}\Z"
)
_NOT_PROSE = re.compile(r"[={}<>|\\/@#]")


def find_truncation(exchange: Exchange) -> int:
    """An answer that ends where no sentence can: on a comma, on a word that needs another, in an open block of code."""
    if exchange.ends_with_call:
        return -1
    text = exchange.answer.rstrip()
    if text.count("```") % 2:
        return len(text) - 1
    if len(text) < _MIN_CHARS:
        return -1
    last = text[-1]
    if last in ",，、" or (last in "-–(" and text[-2:-1] == " "):
        return len(text) - 1
    line = text[text.rfind("\n") + 1 :]
    word = line[line.rfind(" ") + 1 :]
    prose = word in _CONNECTING and line.count(" ") >= _MIN_WORDS - 1 and not _NOT_PROSE.search(line)
    return len(text) - len(word) if prose else -1


def is_prose(answer: str) -> bool:
    """Whether an answer is long enough to need terminal punctuation, and its last line is neither a list item nor
    code."""
    text = answer.rstrip()
    if len(text) < _MIN_CHARS:
        return False
    line = text[text.rfind("\n") + 1 :]
    return line.count(" ") >= _MIN_WORDS - 1 and not (
        _LIST_ITEM.match(line) or _NOT_PROSE.search(line) or _NO_SENTENCE.search(line)
    )


def ends_with_punctuation(answer: str) -> bool:
    """Whether an answer ends as a finished sentence, quotation or block does."""
    text = answer.rstrip()
    return not text or text[-1] in _TERMINAL or not (text[-1].isalnum() or text[-1] in ":-–")


def ends_with_name(answer: str) -> bool:
    """Whether the last word of an answer is a name, a number or a formula: those end headings and letters too."""
    text = answer.rstrip()
    word = text[max(text.rfind(" "), text.rfind("\n")) + 1 :]
    return not word.isalpha() or word[0].isupper()


def find(file: AuditedFile) -> Iterator[Hit]:
    """Answers with an impossible end; prose without punctuation, where nearly all other prose has it; and many
    unfinished answers of exactly one length."""
    scan, notes = file.scan, file.scan.notes
    rows: np.ndarray = scan.flagged(TRUNCATED.name)
    examples, detail = list(notes.examples[TRUNCATED.name]), []
    unterminated = notes.prose_answers - notes.terminated_answers
    # At least one, or the rule could not find a single cut answer of 30.
    if notes.prose_answers >= MIN_PROSE and unterminated <= max(1, (1 - TERMINATED_SHARE) * notes.prose_answers):
        rows = np.union1d(rows, scan.flagged(NO_TERMINAL_PUNCTUATION))
        examples += notes.examples[NO_TERMINAL_PUNCTUATION]
        share = notes.terminated_answers / notes.prose_answers
        detail.append(f"{share:.0%} of the prose answers end with punctuation")
    for length, cut_rows in _equal_lengths(scan):
        rows = np.union1d(rows, cut_rows)
        examples += [ExampleRow(int(row)) for row in cut_rows[:EXAMPLES]]
        detail.append(f"{len(cut_rows):,} answers end unfinished at exactly {length:,} characters")
    yield Hit(rows, sorted(examples), "; ".join(detail))


def _equal_lengths(scan: ScanResult) -> Iterator[tuple[int, np.ndarray]]:
    """Lengths at which unusually many answers stop without punctuation, and those answers: a tool cut them there."""
    unterminated = scan.features["unterminated_chars"]
    lengths, counts = np.unique(unterminated[unterminated >= MIN_CUT_CHARS], return_counts=True)
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        if count < SAME_LENGTH:
            continue
        near = (lengths >= 0.95 * length) & (lengths <= 1.05 * length)
        usual = (counts[near].sum() - count) / (0.1 * length)
        if count < OUTLIER_FACTOR * (usual + 0.5):
            continue
        rows = np.flatnonzero(unterminated == length)
        # One answer that is given many times is another matter.
        if len(np.unique(scan.assistant_signatures[rows], axis=0)) > 0.8 * count:
            yield length, rows


TRUNCATED = Check(
    "truncated",
    "warning",
    "answers cut off before their end",
    "Complete them, or leave them out: the end token would be trained in the middle of a sentence.",
    find,
    auto_fixable=True,
    in_answer=find_truncation,
)
