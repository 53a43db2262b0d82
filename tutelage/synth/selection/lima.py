"""LIMA's rules for answers of forums (2305.11206, section 2.1): long enough, not in the first person, no references."""

from __future__ import annotations

import re

from tutelage.synth.selection.candidates import Candidates, Decision, answers

SHORTEST, LONGEST = 1200, 4096  # characters
_FIRST_PERSON = re.compile(r"\b(?:I|my|me|I'm|I've|mine)\b")
_REFERENCE = re.compile(r"\bas (?:mentioned|others|noted|said)\b|\bstack ?exchange\b|\b(?:other|above) answer\b", re.I)
_LINK = re.compile(r"https?://|!\[[^\]]*\]\(|<img\b", re.I)


def select(candidates: Candidates) -> Decision:
    """Rows whose answer passes all rules, drawn at random."""
    decision = Decision()
    passed = []
    for number, row in enumerate(candidates.rows):
        reason = fault("\n".join(answers(row)))
        if reason:
            decision.dropped[number] = reason
        else:
            passed.append(number)
    drawn = candidates.random("lima").shuffled(passed)[: candidates.keep]
    decision.kept = dict.fromkeys(sorted(drawn), 1.0)
    return decision


def fault(answer: str) -> str:
    """The first rule that an answer breaks; "" if it breaks none."""
    if not SHORTEST <= len(answer) <= LONGEST:
        return "too short" if len(answer) < SHORTEST else "too long"
    if _FIRST_PERSON.search(answer):
        return "first person"
    if _REFERENCE.search(answer):
        return "refers to other answers"
    return "links or images" if _LINK.search(answer) else ""
