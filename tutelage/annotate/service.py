"""What the page asks for: the next item, drafts, submissions. Each call is answered after its data is on the disk."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tutelage.annotate.assignment import assignable, next_assignment
from tutelage.annotate.checks import written_faults
from tutelage.annotate.events import FLAGS, Assignment, Outcome, Submission, dense_ranks
from tutelage.annotate.items import masked_answers
from tutelage.annotate.log import AnnotationLog
from tutelage.annotate.state import Annotations, Place, read_events
from tutelage.files import DiskError, write_bytes
from tutelage.serve.errors import ApiError
from tutelage.synth.near_rows import NearRows

_PERSON = re.compile(r"[\w][\w .-]{0,39}")
_ID = re.compile(r"[\w-]{8,64}")
COPY_WORDS = 10  # an answer of fewer words may well be given twice


class AnnotationDraft(msgspec.Struct, kw_only=True):
    """What is not submitted yet, in the order that the page shows; `revision` is what it began from."""

    revision: int = 0
    ranks: list[int | None] = []
    text: str = ""
    suggested: bool = False
    all_bad: bool = False
    flags: list[str] = []
    reason: str = ""
    seconds: float = 0.0


class SubmitRequest(msgspec.Struct, kw_only=True):
    """A submission as the page sends it; `revision` is the one that it saw."""

    id: str
    number: int
    revision: int
    outcome: Outcome = "done"
    ranks: list[int | None] = []
    text: str = ""
    suggested: bool = False
    flags: list[str] = []
    reason: str = ""
    seconds: float = 0.0


class AnnotationService:
    """The log with its state and its drafts, one call at a time. `decided` says whether votes are needed no more."""

    def __init__(
        self,
        log: AnnotationLog,
        decided: Callable[[Annotations], bool] = lambda state: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.state = read_events(log.events)
        self._log, self._decided, self._clock = log, decided, clock
        self._lock = threading.Lock()
        self._drafts_path = drafts_path(log.path)
        self._drafts = read_drafts(self._drafts_path)
        self._written, self._written_at = NearRows(), list[Place]()
        for vote in self.state.votes():
            self._remember(vote)

    def next(self, person: str) -> dict[str, Any]:
        """The item that a person works on next."""
        check_person(person)
        with self._lock:
            found = None if self._decided(self.state) else next_assignment(self.state, person, self._clock())
            if found is None:
                return {"done": True, "progress": self._progress(person)}
            assignment, new = found
            if new:
                self._append(assignment)
            return self._shown(person, self.state.assigned[person].index(assignment))

    def item(self, person: str, number: int) -> dict[str, Any]:
        """One of the person's own items again, with what they submitted."""
        with self._lock:
            self._assignment(person, number)
            return self._shown(person, number)

    def save_draft(self, person: str, number: int, draft: AnnotationDraft) -> dict[str, Any]:
        """Keep a draft. One that began before the last submission is not kept: it would bring back what was changed."""
        with self._lock:
            assignment = self._assignment(person, number)
            if draft.revision != self._revision(assignment):
                return {"saved": False}
            self._drafts.setdefault(person, {})[str(number)] = draft
            try:
                write_bytes(self._drafts_path, msgspec.json.encode(self._drafts))
            except DiskError as error:
                raise ApiError(503, str(error)) from error
            return {"saved": True}

    def submit(self, person: str, asked: SubmitRequest) -> dict[str, Any]:
        """Append a submission; one whose id is there already is answered alike and changes nothing.

        Raises:
            ApiError: 400 where it is malformed, 409 where the person submitted the item meanwhile, say in another
                window, 503 where the disk is full.
        """
        with self._lock:
            assignment = self._assignment(person, asked.number)
            before = self.state.by_id.get(asked.id)
            place = (assignment.item, person, assignment.repeat)
            if before is not None and (before.item, before.person, before.repeat) != place:
                raise ApiError(409, "this id belongs to another submission", "id")
            if before is None:
                if asked.revision != self._revision(assignment):
                    message = "you submitted this item in another window meanwhile; look at what is saved"
                    raise ApiError(409, message, code="revision_conflict")
                before = self._submission(assignment, asked)
                self._append(before)
                self._remember(before)
                self._drafts.get(person, {}).pop(str(asked.number), None)
            return {"revision": before.revision, "progress": self._progress(person)}

    def check(self, person: str, number: int, text: str) -> dict[str, Any]:
        """What the audit says of an answer while it is written."""
        with self._lock:
            assignment = self._assignment(person, number)
            item = self.state.items[assignment.item]
            faults = written_faults(item, text)
            similar = self._written.find("", text) if len(text.split()) >= COPY_WORDS else None
            own = (assignment.item, person, assignment.repeat)
            if similar is not None and self._written_at[similar[1]] != own:
                faults.append(f"{similar[0]} of an answer that is written already")
            return {"faults": faults}

    def _submission(self, assignment: Assignment, asked: SubmitRequest) -> Submission:
        """The submission of a request, its ranks in the order of the item's answers."""
        if not _ID.fullmatch(asked.id):
            raise ApiError(400, "the id must be 8 to 64 letters, digits and -", "id")
        if unknown := sorted({*asked.flags} - {*FLAGS}):
            raise ApiError(400, f"there is no flag {unknown[0][:40]!r}; known: {', '.join(FLAGS)}", "flags")
        now = self._clock()
        return Submission(
            id=asked.id,
            item=assignment.item,
            person=assignment.person,
            repeat=assignment.repeat,
            revision=self._revision(assignment) + 1,
            outcome=asked.outcome,
            ranks=self._ranks(assignment, asked),
            text=asked.text,
            suggested=asked.suggested,
            flags=tuple(asked.flags),
            reason=asked.reason,
            # A page cannot have spent more time than has passed.
            seconds=round(max(0.0, min(asked.seconds, now - assignment.time)), 1),
            time=now,
            guidelines=self.state.settings.guidelines_version,
        )

    def _ranks(self, assignment: Assignment, asked: SubmitRequest) -> tuple[int | None, ...]:
        count = len(assignment.order)
        if count == 0:
            if asked.outcome == "done" and not asked.text.strip():
                raise ApiError(400, "the answer is empty; write one, or skip the item", "text")
            return ()
        shown = asked.ranks or [None] * count
        if len(shown) != count or not all(rank is None or 1 <= rank <= count for rank in shown):
            raise ApiError(400, f"ranks must be {count} numbers from 1 to {count}, or null", "ranks")
        given = [rank for rank in shown if rank is not None]
        if asked.outcome == "done" and len(given) < 2:
            raise ApiError(400, "rank at least two answers, or say that all are bad, or skip the item", "ranks")
        if not self.state.settings.ties and len({*given}) < len(given):
            raise ApiError(400, "two answers have one rank, and ties are not wanted here", "ranks")
        ranks: list[int | None] = [None] * count
        for place, rank in zip(assignment.order, shown, strict=True):
            ranks[place] = rank
        return dense_ranks(tuple(ranks))

    def _shown(self, person: str, number: int) -> dict[str, Any]:
        """An item as the page gets it: no id, no model, nothing of other people."""
        assignment = self.state.assigned[person][number]
        item = self.state.items[assignment.item]
        answers = masked_answers(item)
        last = self.state.current(item.id, person, assignment.repeat)
        draft = self._drafts.get(person, {}).get(str(number))
        if draft is not None and draft.revision != self._revision(assignment):
            draft = None
        return {
            "number": number,
            "prompt": item.prompt,
            "answers": [answers[place] for place in assignment.order],
            "suggestion": item.suggestion,
            "revision": self._revision(assignment),
            "submitted": last and {
                "outcome": last.outcome,
                "ranks": [last.ranks[place] for place in assignment.order],
                "text": last.text,
                "suggested": last.suggested,
                "flags": last.flags,
                "reason": last.reason,
                "seconds": last.seconds,
            },
            "draft": draft,
            "progress": self._progress(person),
        }  # fmt: skip

    def _progress(self, person: str) -> dict[str, Any]:
        own = [history[-1].seconds for (_, who, _), history in self.state.history.items() if who == person]
        items = sum(item.gold is None for item in assignable(self.state))
        return {"done": len(own), "items": items, "seconds": sorted(own)[len(own) // 2] if own else None}

    def _assignment(self, person: str, number: int) -> Assignment:
        check_person(person)
        assignments = self.state.assigned.get(person, [])
        if not 0 <= number < len(assignments):
            raise ApiError(404, f"you have no item {number + 1}; reload the page")
        return assignments[number]

    def _revision(self, assignment: Assignment) -> int:
        last = self.state.current(assignment.item, assignment.person, assignment.repeat)
        return last.revision if last else 0

    def _append(self, event: Assignment | Submission) -> None:
        try:
            self._log.append(event)
        except DiskError as error:
            raise ApiError(503, f"not saved: {error}") from error
        self.state.apply(event)

    def _remember(self, vote: Submission) -> None:
        if len(vote.text.split()) >= COPY_WORDS:
            self._written.add("", vote.text)
            self._written_at.append((vote.item, vote.person, vote.repeat))


def check_person(person: str) -> None:
    """Raises ApiError where a text is no name of an annotator."""
    if not _PERSON.fullmatch(person):
        raise ApiError(400, "a name is 1 to 40 letters, digits, blanks, '.', '_' and '-'", "person")


def drafts_path(log: Path) -> Path:
    """The file of the drafts beside a log."""
    return log.with_name(f"{log.name}.drafts")


def read_drafts(path: Path) -> dict[str, dict[str, AnnotationDraft]]:
    """The drafts of each person by the number of the item; {} where there are none."""
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, AnnotationDraft]])
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} holds no drafts ({error}); remove it: submissions are in the log") from error
