"""Every fix that the doctor writes as a setting is a setting, and changes the one it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tutelage.config import apply_overrides, convert
from tutelage.doctor.case import Case, Diagnosis
from tutelage.doctor.diagnose import diagnose
from tutelage.evaluate.statistics import rate
from tutelage.report.read import Forgetting, RowLosses
from tutelage.stages import AnyStage

FELL = RowLosses(before=2.0, after=1.5, change=-0.25, low=-0.3, high=-0.2, rows=6)
SAME = RowLosses(before=2.0, after=1.98, change=-0.01, low=-0.05, high=0.03, rows=6)


def apply(case: Case, diagnosis: Diagnosis) -> dict[str, Any]:
    """The stage's settings with the fix, read as a recipe's are."""
    name, settings = case.stage.name, {k: v for k, v in case.settings.items() if v is not None}
    table = apply_overrides({"stages": {name: settings}}, diagnosis.settings)["stages"][name]
    convert(table, AnyStage, "recipe")
    return table


def test_the_fix_of_every_planted_fault_is_a_setting_that_exists(recorded: list[Any]) -> None:
    """Field failure: `replay = 0.5 (--replay)` was the fix, and that command was refused."""
    fixed = set()
    for run in recorded:
        for diagnosis in diagnose(run.case):
            if diagnosis.settings:
                assert apply(run.case, diagnosis) != {k: v for k, v in run.case.settings.items() if v is not None}
                fixed.add(diagnosis.name)
    assert fixed >= {
        "lr-too-high",
        "lr-too-low",
        "replay-share-too-high",
        "too-few-steps",
        "too-many-epochs",
        "user-tokens-trained",
        "overtrained",
        "base-forgotten",
        "data-repetition-overfitting",
    }


def forgot(case: Case, text: str, **settings: Any) -> Case:
    lost = {text: Forgetting(before=1.0, after=1.3, increase=0.3, low=0.2, high=0.4, alarm=True)}
    info = msgspec.structs.replace(
        case.stage.info,
        settings={**case.settings, "replay": 0.0, **settings},
        trained_by_dataset={name: n for name, n in case.stage.info.trained_by_dataset.items() if "replay" not in name},
    )
    return replace(case, stage=replace(case.stage, forgetting=lost, info=info))


@pytest.mark.parametrize(
    ("text", "settings", "fixed"),
    [
        ("pages", {}, ("replay", 0.5)),
        ("probe", {"steps": None, "epochs": 30}, ("epochs", 15)),
        ("probe", {"steps": None, "epochs": 1, "lora": {"rank": 4}}, ("lr", None)),
    ],
)
def test_replay_is_named_only_where_there_is_a_text_to_replay(
    healthy: Case, text: str, settings: dict[str, Any], fixed: tuple[str, Any]
) -> None:
    case = forgot(healthy, text, **settings)
    diagnosis = next(one for one in diagnose(case) if one.name == "base-forgotten")
    name, value = fixed
    table = apply(case, diagnosis)
    assert table[name] == value or (value is None and table[name] < case.stage.info.lr)
    assert ("LoRA" in diagnosis.fix) == ("lora" not in settings)
    assert ("(--replay 0.5)" in diagnosis.fix) == (text == "pages")


def shown(case: Case, losses: RowLosses | None, steps: int = 100, compliant: int | None = None) -> Case:
    rates = case.stage.rates if compliant is None else {"format.compliant": rate(compliant, 4)}
    rows = {} if losses is None else {"chat": losses}
    info = msgspec.structs.replace(case.stage.info, steps=steps)
    return replace(case, stage=replace(case.stage, row_losses=rows, rates=rates, info=info))


def unmeasured(case: Case) -> Case:
    return replace(case, stage=replace(case.stage, row_losses={}, rates={}, forgetting={}))


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        (lambda case: shown(case, FELL), None),
        (lambda case: shown(case, None), None),
        (lambda case: unmeasured(case), "neither its answers nor its loss on held-out rows were measured"),
        (lambda case: shown(case, SAME), "loss on 6 held-out rows of 'chat': 2.000 to 1.980"),
        (lambda case: shown(case, FELL, steps=1), "1 optimizer step in all"),
        (lambda case: shown(case, FELL, compliant=0), "answers in the chat format: 0.0% of 4"),
    ],
)
def test_what_is_not_shown_to_work_is_no_health(
    healthy: Case, change: Callable[[Case], Case], evidence: str | None
) -> None:
    """Field failure: one step, or answers of which none kept the format, and the doctor found nothing wrong."""
    case = change(healthy)
    found = diagnose(case)
    assert [one.verdict for one in found] == ([] if evidence is None else ["not shown"])
    for diagnosis in found:
        assert any(evidence in line for line in diagnosis.evidence)  # type: ignore[operator]
        assert apply(case, diagnosis) != case.settings


def test_pain_rows_that_got_worse_are_overfit_and_not_undertrained(healthy: Case) -> None:
    """Field failure: 10 epochs of 30 rows raised the held-out loss by a third, and the doctor asked for 30 epochs."""
    rose = RowLosses(before=3.68, after=4.978, change=0.353, low=0.149, high=0.538, rows=6)
    case = shown(healthy, rose, compliant=4)
    info = case.stage.info
    info = msgspec.structs.replace(
        info,
        epochs=dict.fromkeys(info.epochs, 10.0),
        held_out=dict.fromkeys(info.held_out, 100.0),  # far above the loss on its own rows
        settings={**info.settings, "epochs": 10, "steps": None},
    )
    case = replace(case, stage=replace(case.stage, info=info))
    (diagnosis,) = diagnose(case)
    assert (diagnosis.name, diagnosis.symptom) == ("too-many-epochs", "its loss on rows like yours rose")
    assert apply(case, diagnosis)["epochs"] == 3
    once = replace(case.stage, info=msgspec.structs.replace(info, epochs=dict.fromkeys(info.epochs, 1.0)))
    assert [found.name for found in diagnose(replace(case, stage=once))] == ["not-shown-to-work"]
