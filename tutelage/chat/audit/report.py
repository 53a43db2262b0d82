"""The result of an audit: findings, each with its level, how many rows it is about, examples and a fix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tutelage.chat.audit.check import Level
from tutelage.chat.audit.checks import CHECKS


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation with the fault: its place (file and row) and the text that shows it."""

    place: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of the file.

    name:         of the check that found it; title and fix are the check's.
    level:        "error" stops a training, a warning does not.
    count:        how many conversations have it, or rows, where they could not be read.
    share:        the same as a share of all of them.
    examples:     the first few of them.
    auto_fixable: whether `fix_file` leaves these conversations out.
    detail:       what exactly was found, where that differs from file to file.
    """

    name: str
    title: str
    level: Level
    count: int
    share: float
    examples: tuple[Example, ...]
    fix: str
    auto_fixable: bool
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Report:
    """All findings in a file of conversations.

    conversations: how many were read.
    findings:      errors first, then the most frequent.
    profile:       figures about the whole file, under plain dotted names.
    noun:          what its rows are.
    rows:          for each check that found any, the numbers of the conversations, from 0 and ascending; broken rows
                   and faults of the whole file have none.
    """

    path: str
    format: str
    conversations: int
    findings: tuple[Finding, ...]
    profile: Mapping[str, Any]
    rows: Mapping[str, np.ndarray] = field(repr=False)
    noun: str = "conversations"

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop a training."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def verdict(self) -> str:
        """One sentence: whether the file is ready for training."""
        errors, warnings = len(self.errors), len(self.findings) - len(self.errors)
        ready = "Not ready" if errors else "Ready"
        return f"{ready} for training: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}."

    def left_out(self) -> dict[int, str]:
        """What `fix_file` leaves out: numbers of conversations, each with the first of CHECKS that found it."""
        reasons: dict[int, str] = {}
        for check in CHECKS:
            if check.auto_fixable:
                for row in self.rows.get(check.name, np.empty(0, np.int64)).tolist():
                    reasons.setdefault(row, check.name)
        return reasons

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "path": self.path,
            "format": self.format,
            "conversations": self.conversations,
            "errors": len(self.errors),
            "findings": [
                {
                    "name": finding.name,
                    "title": finding.title,
                    "level": finding.level,
                    "count": finding.count,
                    "share": finding.share,
                    "detail": finding.detail,
                    "fix": finding.fix,
                    "auto_fixable": finding.auto_fixable,
                    "examples": [{"place": example.place, "excerpt": example.excerpt} for example in finding.examples],
                }
                for finding in self.findings
            ],
            "profile": dict(self.profile),
        }


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
