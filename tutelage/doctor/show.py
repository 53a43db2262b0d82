"""Diagnoses on the terminal and in a report."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.doctor.case import Diagnosis
from tutelage.html import Html, badge, bullets, heading, join, paragraph, section, tag

HEALTHY = "The doctor found no problems."


def print_diagnoses(diagnoses: Sequence[Diagnosis] | None, console: Console) -> None:
    """Prints each diagnosis with its evidence; one sentence where there is none, and nothing where no stage was
    examined."""
    if diagnoses == []:
        console.print(HEALTHY)
    for diagnosis in diagnoses or ():
        colour = "bold red" if diagnosis.verdict == "problem" else "bold yellow"
        console.print(Text.assemble((f"{diagnosis.stage}: {diagnosis.symptom}", colour), f" ({diagnosis.name})"))
        lines = [
            ("cause: ", diagnosis.cause, ""),
            ("fix:   ", diagnosis.fix, ""),
            *([("try:   ", _command(diagnosis), "")] if diagnosis.settings else []),
            *(("- ", figure, "dim") for figure in diagnosis.evidence),
        ]
        for mark, text, style in lines:
            grid = Table.grid()  # wrapped text is indented to its first word
            grid.add_row(f"  {mark}", Text(text, style))
            console.print(grid)


def _command(diagnosis: Diagnosis) -> str:
    return f"the same command into another folder, with {' '.join(diagnosis.settings)}"


def diagnoses_section(diagnoses: Sequence[Diagnosis] | None) -> Html | None:
    """The section of a report with all diagnoses; None where no stage was examined."""
    if diagnoses is None:
        return None
    note = "From the run's own numbers; a rate counts as bad only where its whole 95% interval does."
    if not diagnoses:
        return section("Diagnosis", paragraph(badge("healthy", "good"), f" {HEALTHY}"), note=note)
    return section("Diagnosis", *(part for diagnosis in diagnoses for part in _parts(diagnosis)), note=note)


def _parts(diagnosis: Diagnosis) -> list[Html]:
    return [
        heading(
            join(
                [
                    badge(diagnosis.name, "bad" if diagnosis.verdict == "problem" else "warn"),
                    f" {diagnosis.stage}: {diagnosis.symptom}",
                ]
            )
        ),
        paragraph(tag("strong", "Cause: "), f"{diagnosis.cause}. ", tag("strong", "Fix: "), f"{diagnosis.fix}."),
        *([paragraph(tag("strong", "Try: "), f"{_command(diagnosis)}.")] if diagnosis.settings else []),
        bullets(diagnosis.evidence),
    ]
