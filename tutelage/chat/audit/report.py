"""What an audit says: findings, each with its level, how many it meets, examples and a cure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

Level = Literal["error", "warning"]
EXAMPLES = 5
EXCERPT = 160  # characters


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation that a finding meets: its place (file and row) and the words that show it."""

    place: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    name:     one of KINDS.
    level:    "error" stops a training, a warning does not.
    count:    how many conversations it meets, or rows, where they could not be read.
    share:    the same as a share of all of them.
    examples: the first few of them.
    cure:     what to do, in one sentence.
    mends:    whether `fix_file` leaves these conversations out.
    detail:   what exactly was found, where that differs from file to file.
    """

    name: str
    level: Level
    count: int
    share: float
    examples: tuple[Example, ...]
    cure: str
    mends: bool
    detail: str = ""

    @property
    def title(self) -> str:
        """What is wrong, in a few words."""
        return KINDS[self.name].title


@dataclass(frozen=True, eq=False)
class Report:
    """What was found in a file of conversations.

    conversations: how many were read.
    findings:      errors first, then what meets most.
    profile:       figures about the whole, under plain dotted names.
    rows:          of each kind that was met, the numbers of the conversations it meets, from 0 and ascending; without
                   what is no conversation (broken rows) or meets none in particular.
    """

    path: str
    format: str
    conversations: int
    findings: tuple[Finding, ...]
    profile: Mapping[str, Any]
    rows: Mapping[str, np.ndarray] = field(repr=False)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must be mended before training."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    def left_out(self) -> dict[int, str]:
        """What `fix_file` leaves out: numbers of conversations, each with the kind that stands first in KINDS."""
        found: dict[int, str] = {}
        for name in KINDS:
            if KINDS[name].mends:
                for row in self.rows.get(name, np.empty(0, np.int64)).tolist():
                    found.setdefault(row, name)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "path": self.path,
            "format": self.format,
            "conversations": self.conversations,
            "errors": len(self.errors),
            "findings": [
                {
                    "name": one.name,
                    "title": one.title,
                    "level": one.level,
                    "count": one.count,
                    "share": one.share,
                    "detail": one.detail,
                    "cure": one.cure,
                    "mends": one.mends,
                    "examples": [{"place": e.place, "excerpt": e.excerpt} for e in one.examples],
                }
                for one in self.findings
            ],
            "profile": dict(self.profile),
        }


class Kind(NamedTuple):
    """What all findings of a name share; `mends` as in Finding."""

    title: str
    level: Level
    mends: bool
    cure: str


# In the order in which a conversation that several meet is left out for one of them.
KINDS: dict[str, Kind] = {
    "broken row": Kind(
        "rows that cannot be read",
        "error",
        True,
        "Mend these rows, or leave them out with --fix, or allow a share of them with --max-broken.",
    ),
    "leak": Kind(
        "also in the held-out file",
        "error",
        True,
        "Take them out of one of the two files: what is measured on rows that were trained on says nothing.",
    ),
    "overlap": Kind(
        "holds what an evaluation asks",
        "error",
        True,
        "Take them out, or leave that evaluation out: its score would be memory.",
    ),
    "unprovable": Kind(
        "cannot be trained on with this model's template",
        "error",
        True,
        "See the reason and the tokens with `tutelage look FILE --model M`; mend them, leave them out with --fix, or "
        "allow a share of them with --max-refused.",
    ),
    "too long": Kind(
        "longer than the model's context",
        "error",
        False,
        "Train with --too-long split, or drop, or lengthen the context; nothing is cut in silence.",
    ),
    "special token": Kind(
        "special tokens or another template's marks written out in a text",
        "warning",
        True,
        "Take the marks out of the texts: the turns are written by the template alone.",
    ),
    "placeholder": Kind(
        "placeholders that nobody filled",
        "warning",
        True,
        "Fill them with the words they stand for, or the model will say them.",
    ),
    "hollow answer": Kind(
        "answers that say nothing",
        "warning",
        True,
        "Write the answers, or leave the rows out.",
    ),
    "truncated": Kind(
        "answers cut off before their end",
        "warning",
        True,
        "Write them to their end, or leave them out: the end token would be trained in the middle of a sentence.",
    ),
    "copied prompt": Kind(
        "answers that repeat their prompt",
        "warning",
        True,
        "Take the repeated prompt off the answers, or the model will echo what it is asked.",
    ),
    "contradiction": Kind(
        "different answers to one prompt",
        "warning",
        True,
        "Find out which answer is right and keep that one; --fix leaves all of them out.",
    ),
    "duplicate": Kind(
        "exact duplicates of an earlier row",
        "warning",
        True,
        "Keep one of each: what stands there several times is learned by heart.",
    ),
    "near duplicate": Kind(
        "near duplicates of an earlier row",
        "warning",
        True,
        "Keep one of each: small changes of wording teach little and weigh much.",
    ),
    "refusal": Kind(
        "answers that refuse",
        "warning",
        False,
        "Keep only the refusals that you want to hear: a model that sees many of them refuses what it could do.",
    ),
    "identity": Kind(
        "answers that disagree on who speaks",
        "warning",
        False,
        "Let all answers name one assistant and one maker, or none.",
    ),
    "other language": Kind(
        "answers in another script than their question",
        "warning",
        False,
        "Read some of them; leave them out unless they are translations.",
    ),
    "rare language": Kind(
        "conversations in a script that few of the rows have",
        "warning",
        False,
        "Leave them out, or add more of them: so few teach nothing and are noise to the rest.",
    ),
    "few prompts": Kind(
        "prompts that are nearly all alike",
        "warning",
        False,
        "Add other kinds of prompts: what is trained on one kind does badly on all others.",
    ),
    "same opening": Kind(
        "prompts that open with the same words",
        "warning",
        False,
        "Vary how things are asked, or the model learns to wait for these words.",
    ),
    "mostly prompt": Kind(
        "little that is learned from",
        "warning",
        False,
        "Shorten the prompts if you can: they are read at every step, and only the answers are graded.",
    ),
    "missing end marker": Kind(
        "answers without the end marker that others have written out",
        "warning",
        False,
        "Take the markers off, or write them everywhere. Here they are taken off, and the template's own end is "
        "trained after every answer; a tool that trains the text as it is would not learn to stop after these.",
    ),
    "empty file": Kind(
        "files without rows",
        "warning",
        False,
        "Take them away, or write them again: something may have gone wrong while they were written.",
    ),
    "no last answer": Kind(
        "conversations that end with an unanswered turn",
        "warning",
        False,
        "Write the missing answers; without them the last turns are left out of the training.",
    ),
}
REASONS = tuple(KINDS)


def finding(
    name: str,
    count: int,
    total: int,
    examples: tuple[Example, ...] = (),
    detail: str = "",
    level: Level | None = None,
) -> Finding:
    """A finding of one of KINDS; `level` where it depends on more than the kind."""
    kind = KINDS[name]
    share = count / total if total else 0.0
    return Finding(name, level or kind.level, count, share, examples[:EXAMPLES], kind.cure, kind.mends, detail)


def excerpt(text: str, at: int = 0) -> str:
    """A few words of a text on one line, those around the character `at`."""
    start = max(0, at - EXCERPT // 3) if len(text) > EXCERPT else 0
    part = " ".join(text[start : start + EXCERPT].split())
    return f"{'…' if start else ''}{part}{'…' if start + EXCERPT < len(text) else ''}"
