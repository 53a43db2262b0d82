from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from tutelage.doctor.case import Diagnosis
from tutelage.doctor.show import HEALTHY, diagnoses_section, print_diagnoses

ILL = Diagnosis(
    "lr-too-high", "chat", "its words are broken", "the rate <b>", "lower [it]", ("peak learning rate 1", "[2]")
)


def shown(diagnoses: list[Diagnosis] | None, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_diagnoses(diagnoses, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_diagnosis_is_shown_complete_and_escaped() -> None:
    assert shown([ILL]).splitlines() == [
        "chat: its words are broken (lr-too-high)",
        "  cause: the rate <b>",
        "  fix:   lower [it]",
        "  - peak learning rate 1",
        "  - [2]",
    ]
    section = diagnoses_section([ILL])
    assert section is not None
    for part in ("lr-too-high", "chat: its words are broken", "the rate &lt;b&gt;", "lower [it]", "<li>[2]</li>"):
        assert part in section


def test_what_is_not_shown_to_work_has_a_mark_of_its_own_and_a_fix_to_try() -> None:
    unshown = replace(ILL, verdict="not shown", settings=("stages.chat.epochs=9",))
    assert "  try:   the same command into another folder, with stages.chat.epochs=9" in shown([unshown]).splitlines()
    section = str(diagnoses_section([unshown]))
    assert "badge warn" in section
    assert "stages.chat.epochs=9" in section


def test_wrapped_text_is_indented_to_its_first_word() -> None:
    wide = replace(ILL, fix="train for longer", evidence=("answers in the chat format, all sets: none",))
    assert [line.rstrip() for line in shown([wide], width=30).splitlines()][-3:] == [
        "  fix:   train for longer",
        "  - answers in the chat",
        "    format, all sets: none",
    ]


def test_healthy_is_said_only_where_something_was_examined() -> None:
    assert shown([]) == f"{HEALTHY}\n"
    assert HEALTHY in str(diagnoses_section([]))
    assert shown(None) == ""
    assert diagnoses_section(None) is None
