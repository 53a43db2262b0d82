"""Diagnoses on the terminal and in a report."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.doctor.case import Diagnosis
from tutelage.html import Html, badge, bullets, heading, join, paragraph, section, tag

HEALTHY = "The doctor finds nothing wrong."


def print_diagnoses(diagnoses: Sequence[Diagnosis] | None, console: Console) -> None:
    """Each diagnosis with its evidence; a sentence where there is none, and nothing where nothing was examined."""
    if diagnoses == []:
        console.print(HEALTHY)
    for one in diagnoses or ():
        console.print(Text.assemble((f"{one.stage}: {one.symptom}", "bold red"), f" ({one.name})"))
        told = [
            ("cause: ", one.cause, ""),
            ("cure:  ", one.cure, ""),
            *(("- ", figure, "dim") for figure in one.evidence),
        ]
        for mark, words, style in told:
            grid = Table.grid()  # what does not fit on the line goes on under its first word
            grid.add_row(f"  {mark}", Text(words, style))
            console.print(grid)


def diagnoses_section(diagnoses: Sequence[Diagnosis] | None) -> Html | None:
    """The part of a report that says what is wrong; None where nothing was examined."""
    if diagnoses is None:
        return None
    note = "Found in the run's own numbers; a rate is called bad only where its whole 95% interval is."
    if not diagnoses:
        return section("Diagnosis", paragraph(badge("healthy", "good"), f" {HEALTHY}"), note=note)
    return section("Diagnosis", *(part for one in diagnoses for part in _shown(one)), note=note)


def _shown(one: Diagnosis) -> list[Html]:
    return [
        heading(join([badge(one.name, "bad"), f" {one.stage}: {one.symptom}"])),
        paragraph(tag("strong", "Cause: "), f"{one.cause}. ", tag("strong", "Cure: "), f"{one.cure}."),
        bullets(one.evidence),
    ]
