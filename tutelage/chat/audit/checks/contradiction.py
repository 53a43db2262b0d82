"""Different final answers to one prompt."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from tutelage.chat.audit.check import AuditedFile, Check, Hit, RereadRow
from tutelage.chat.audit.final_answers import REFUSED, AnswerIndex
from tutelage.chat.audit.scan_result import SUMMARY, ExampleRow

_LARGEST = np.iinfo(np.int64).max


def contradict(first: str, second: str) -> bool:
    """Whether two final answers cannot both be right: they differ, and neither contains the other."""
    if first == second:
        return False
    if REFUSED in (first, second):
        return True
    if not first or not second:
        return False
    shorter, longer = sorted((first, second), key=len)
    return re.search(rf"(?<!\w){re.escape(shorter)}(?!\w)", longer) is None or {first, second} <= {"yes", "no"}


def candidates(index: AnswerIndex) -> dict[int, list[int]]:
    """The answers that follow the same context and do not all agree: their places, by context."""
    order = np.argsort(index.contexts, kind="stable")
    contexts, answers = index.contexts[order], index.answers[order]
    begins = np.flatnonzero(np.concatenate([[True], contexts[1:] != contexts[:-1]]))[: len(order)]
    if not len(order):
        return {}
    # An answer without a final answer contradicts only a refusal.
    undecided = answers == 0
    lowest = np.minimum.reduceat(np.where(undecided, _LARGEST, answers), begins)
    highest = np.maximum.reduceat(np.where(undecided, -_LARGEST, answers), begins)
    refused = np.logical_or.reduceat(answers == hash(REFUSED), begins)
    partly_refused = refused & np.logical_or.reduceat(undecided, begins)
    ends = np.append(begins[1:], len(order))
    groups = np.flatnonzero((lowest < highest) | partly_refused)
    return {int(contexts[begins[i]]): order[begins[i] : ends[i]].tolist() for i in groups}


def contradicting(groups: Iterable[list[int]], answer_at: Callable[[int], str]) -> list[list[int]]:
    """The groups of answers to one prompt in which two contradict, without the answers that contradict none."""
    kept = []
    for group in groups:
        by_answer: dict[str, list[int]] = defaultdict(list)
        for place in group:
            by_answer[answer_at(place)].append(place)
        conflicting = [answer for answer in by_answer if any(contradict(answer, other) for other in by_answer)]
        if conflicting:
            kept.append(sorted(place for answer in conflicting for place in by_answer[answer]))
    return kept


def find(file: AuditedFile) -> Iterator[Hit]:
    """Hashes tell which answers may contradict; their rows are read again, and the texts decide."""
    index = file.scan.final_answers
    groups = list(candidates(index).values())
    if groups:
        rows = np.unique(index.rows[np.concatenate(groups)])
        yield Hit(rows, confirm=lambda reread: _confirmed(groups, index, reread))


def _confirmed(groups: list[list[int]], index: AnswerIndex, reread: Mapping[int, RereadRow]) -> Hit | None:
    def answer_at(place: int) -> str:
        row = int(index.rows[place])
        return reread[row].final_answers[place - int(np.searchsorted(index.rows, row))]

    conflicts = contradicting(groups, answer_at)
    if not conflicts:
        return None
    examples = []
    for group in conflicts:
        other = next(place for place in group if answer_at(place) != answer_at(group[0]))
        texts = " / ".join(answer_at(place).replace(REFUSED, "refused") or "answered" for place in (group[0], other))
        examples.append(ExampleRow(int(index.rows[group[0]]), "", f"{SUMMARY} “{texts}”", int(index.rows[other])))
    rows = np.unique(index.rows[np.concatenate(conflicts)])
    return Hit(rows, sorted(examples), f"{len(conflicts):,} prompts")


CONTRADICTION = Check(
    "contradiction",
    "warning",
    "different answers to one prompt",
    "Find out which answer is right and keep that one; --fix leaves all of them out.",
    find,
    auto_fixable=True,
)
