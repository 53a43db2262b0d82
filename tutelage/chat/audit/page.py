"""An audit as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.chat.audit.report import Finding, Report
from tutelage.html import Html, badge, page, paragraph, section, table


def report_page(report: Report) -> str:
    """All findings, each with its fix and its examples, and the figures of the whole file."""
    rows: list[list[str | Html]] = [
        [
            badge(finding.level, "bad" if finding.level == "error" else "warn"),
            described(finding),
            f"{finding.count:,}",
            f"{finding.share:.1%}",
        ]
        for finding in report.findings
    ]
    body = [section("Findings", table(["", "finding", "count", "share"], rows, numeric=(2, 3)))] if rows else []
    body += [_finding_section(finding) for finding in report.findings]
    body.append(_profile_section(report))
    lead = f"{report.path}: {report.conversations:,} {report.noun}, format {report.format}. {report.verdict}"
    return page(f"Audit of {Path(report.path).name}", body, lead)


def described(finding: Finding) -> str:
    """The title of a finding, with its detail."""
    return f"{finding.title} ({finding.detail})" if finding.detail else finding.title


def _finding_section(finding: Finding) -> Html:
    rows: list[list[str | Html]] = [[example.place, example.excerpt] for example in finding.examples]
    examples = [table(["place", "text"], rows)] if rows else []
    left_out = "; --fix leaves these out" if finding.auto_fixable else ""
    note = f"{finding.level}, {finding.count:,} ({finding.share:.1%}){left_out}"
    by_reason = finding.name in ("broken row", "unverifiable")
    title = f"{finding.title}: {finding.detail}" if by_reason else finding.title
    return section(title[:1].upper() + title[1:], paragraph(finding.fix), *examples, note=note)


def _profile_section(report: Report) -> Html:
    rows: list[list[str | Html]] = []
    for name, value in report.profile.items():
        if isinstance(value, dict):
            rows.append([name, ", ".join(f"{key}: {_number(inner)}" for key, inner in value.items()) or "none"])
        else:
            rows.append([name, _number(value)])
    return section("Figures", table(["", ""], rows))


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if value > 1 else f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
