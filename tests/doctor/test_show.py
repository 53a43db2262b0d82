from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from tutelage.doctor.case import Diagnosis
from tutelage.doctor.show import HEALTHY, diagnoses_section, print_diagnoses

ILL = Diagnosis(
    "rate-too-high", "chat", "its words fall apart", "the rate <b>", "lower [it]", ("peak learning rate 1", "[2]")
)


def shown(diagnoses: list[Diagnosis] | None, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_diagnoses(diagnoses, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_diagnosis_is_shown_whole_and_as_it_stands() -> None:
    assert shown([ILL]).splitlines() == [
        "chat: its words fall apart (rate-too-high)",
        "  cause: the rate <b>",
        "  cure:  lower [it]",
        "  - peak learning rate 1",
        "  - [2]",
    ]
    section = diagnoses_section([ILL])
    assert section is not None
    for part in ("rate-too-high", "chat: its words fall apart", "the rate &lt;b&gt;", "lower [it]", "<li>[2]</li>"):
        assert part in section


def test_what_does_not_fit_on_a_line_goes_on_under_its_first_word() -> None:
    wide = replace(ILL, cure="train for longer", evidence=("answers in the form of a conversation: none",))
    assert [line.rstrip() for line in shown([wide], width=30).splitlines()][-3:] == [
        "  cure:  train for longer",
        "  - answers in the form of a",
        "    conversation: none",
    ]


def test_the_healthy_are_called_so_and_what_was_not_examined_is_not() -> None:
    assert shown([]) == f"{HEALTHY}\n"
    assert HEALTHY in str(diagnoses_section([]))
    assert shown(None) == ""
    assert diagnoses_section(None) is None
