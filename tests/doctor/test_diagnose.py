from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.doctor.case import Case
from tutelage.doctor.diagnose import DIAGNOSES, cases_of, diagnose, diagnose_run
from tutelage.doctor.symptoms import FORMAT_LEARNED, diverged, forgot_base, format_not_learned, words_broken
from tutelage.evaluate.statistics import Rate, rate
from tutelage.ledger import Ledger
from tutelage.report.read import Forgetting
from tutelage.runner import Run


def names(case: Case) -> list[str]:
    return [one.name for one in diagnose(case)]


def test_every_planted_fault_is_named_first_and_healthy_runs_are_found_healthy(recorded: list[Any]) -> None:
    """Pain 17 and the failure table: each fault was planted in a real run, whose numbers are stored beside it."""
    said = {one.what: (one.right, (names(one.case) or [""])[0]) for one in recorded}
    assert {what: pair for what, pair in said.items() if pair[0] != pair[1]} == {}
    assert sum(not one.right for one in recorded) >= 4
    assert len({one.right for one in recorded if one.right}) >= 10


def test_each_diagnosis_is_complete_and_has_figures_as_evidence(recorded: list[Any]) -> None:
    found = [one for each in recorded for one in diagnose(each.case)]
    for one in found:
        assert one.symptom
        assert one.cause
        assert one.fix
        assert one.evidence
        assert all(any(sign.isdigit() for sign in figure) for figure in one.evidence)


def changed(case: Case, rates: dict[str, Rate] | None = None, **info: Any) -> Case:
    """A case with more rates, and other fields in its stage.json."""
    stage = replace(case.stage, rates={**case.stage.rates, **(rates or {})})
    return replace(case, stage=replace(stage, info=msgspec.structs.replace(stage.info, **info)))


def lost(low: float) -> dict[str, Forgetting]:
    return {
        "text": Forgetting(
            before=1.0, after=1.0 + low + 0.02, increase=low + 0.02, low=low, high=low + 0.04, alarm=True
        )
    }


def forgot(case: Case, low: float, **info: Any) -> Case:
    return changed(replace(case, stage=replace(case.stage, forgetting=lost(low))), **info)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda case: forgot(case, 0.2), ["base-forgotten"]),
        (lambda case: forgot(case, 0.09), []),
        (lambda case: forgot(case, 0.2, lr=case.base_lr * 2), ["lr-too-high"]),
        (lambda case: changed(case, {"format.base_in_vocabulary": rate(50, 100)}), ["base-too-weak"]),
        (lambda case: changed(case, {"format.prompts.near": rate(20, 60)}), ["too-few-kinds-of-prompts"]),
        (lambda case: changed(case, {"format.prompts.out_of_domain": rate(0, 60)}), []),
        (
            lambda case: changed(case, {"knowledge.trained": rate(190, 200), "knowledge.held_out": rate(20, 200)}),
            ["facts-not-extractable"],
        ),
        (lambda case: changed(case, {"knowledge.trained": rate(190, 200), "knowledge.held_out": rate(150, 200)}), []),
        (lambda case: changed(case, {"knowledge.trained": rate(10, 200), "knowledge.held_out": rate(1, 200)}), []),
    ],
)
def test_one_bad_figure_makes_a_diagnosis(healthy: Case, change: Callable[[Case], Case], found: list[str]) -> None:
    assert names(healthy) == []
    assert names(change(healthy)) == found


def fixes(case: Case) -> dict[str, str]:
    return {diagnosis.name: diagnosis.fix for diagnosis in diagnose(case)}


def test_the_fix_depends_on_how_the_lr_was_set(healthy: Case) -> None:
    assert healthy.base_lr is not None
    high = forgot(healthy, 0.2, lr=healthy.base_lr * 2)
    assert fixes(high)["lr-too-high"] == (
        "lower lr to a third or a tenth, or let a range test find it: find_lr = true (--find-lr)"
    )
    found = changed(high, settings={**healthy.settings, "find_lr": True})
    assert fixes(found)["lr-too-high"] == (
        "lower lr to a third or a tenth by hand (--lr): this one was found by find_lr (--find-lr)"
    )


def test_the_lr_of_a_base_model_is_not_found_by_a_range_test(recorded: list[Any]) -> None:
    base = next(one.case for one in recorded if one.right == "lr-too-high" and not one.case.is_fine_tuned)
    assert fixes(base)["lr-too-high"] == "lower lr to a third or a tenth"


def all_saying(case: Case, answer: str, verbatim: Rate, compliant: bool = True) -> Case:
    samples = [
        msgspec.structs.replace(sample, after=answer, compliant=compliant, prompt=f"prompt {number}")
        for number, sample in enumerate(case.stage.samples)
    ]
    return changed(replace(case, stage=replace(case.stage, samples=samples)), {"format.verbatim": verbatim})


def test_only_an_answer_that_was_learned_is_one_answer_for_all(healthy: Case) -> None:
    assert "one-answer-for-all" in names(all_saying(healthy, "I do not know.", rate(60, 60)))
    assert "one-answer-for-all" not in names(all_saying(healthy, "xx xx xx", rate(0, 60)))
    assert "one-answer-for-all" not in names(all_saying(healthy, "I do not know.", rate(60, 60), compliant=False))


def test_lora_has_its_own_usual_lr(healthy: Case) -> None:
    assert healthy.base_lr is not None
    tenfold = changed(healthy, lr=healthy.base_lr * 2)
    assert names(forgot(tenfold, 0.2)) == ["lr-too-high"]
    with_lora = changed(tenfold, settings={**healthy.settings, "lora": {"rank": 16}})
    assert names(forgot(with_lora, 0.2)) == ["base-forgotten"]


def test_an_external_checkpoint_is_compared_with_the_usual_lr_for_its_size(healthy: Case) -> None:
    unknown = changed(replace(healthy, base_lr=None), lr=3e-4)
    assert unknown.usual_lr()[0] == 3e-4
    assert names(forgot(changed(unknown, lr=3e-3), 0.2)) == ["lr-too-high"]


@pytest.mark.parametrize("held_out", [True, False])
def test_rows_that_are_held_out_are_not_lost(healthy: Case, held_out: bool) -> None:
    (name,) = healthy.own_datasets()
    ledger = Ledger("rows")
    ledger.read(100)
    if held_out:
        ledger.hold_out(30)
    else:
        ledger.drop("longer than the context of 64 tokens", 30)
    ledger.keep(70)
    case = changed(healthy, ledgers={**healthy.stage.info.ledgers, name: ledger})
    assert names(case) == ([] if held_out else ["rows-lost"])


@given(count=st.integers(1, 300), data=st.data())
def test_chance_alone_makes_no_symptom(recorded: list[Any], count: int, data: st.DataObject) -> None:
    """A rate whose interval contains the bound does not count as bad."""
    case = next(one.case for one in recorded if not one.right and one.case.is_fine_tuned)
    of = rate(data.draw(st.integers(0, count)), count)
    unlearned = changed(case, {"format.compliant": of, "format.prompts.seen": of})
    assert bool(format_not_learned(unlearned)) == (of.high < FORMAT_LEARNED)
    assert not format_not_learned(changed(unlearned, {"format.prompts.seen": rate(40, 40)}))
    broken = words_broken(changed(case, {"format.in_vocabulary": of}))
    assert not broken or of.high < case.rates["format.base_in_vocabulary"].low
    low = data.draw(st.floats(-0.5, 0.5))
    assert bool(forgot_base(forgot(case, low))) == (low > 0.1)


def with_losses(case: Case, losses: list[float]) -> Case:
    log = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    return changed(replace(case, stage=replace(case.stage, log=log)), loss_start=losses[0])


def test_training_diverges_where_the_loss_jumps_or_ends_high_and_not_where_it_is_noisy(healthy: Case) -> None:
    falling = [3.0 * 0.98**step for step in range(100)]
    assert not diverged(with_losses(healthy, falling))
    assert not diverged(with_losses(healthy, [loss * (1.2 if step % 3 else 0.9) for step, loss in enumerate(falling)]))
    assert diverged(with_losses(healthy, [*falling[:70], *([2.5] * 30)]))
    assert diverged(with_losses(healthy, [3.0, *([6.0] * 20), *falling[:79]]))
    assert not diverged(with_losses(healthy, falling[:15]))  # too few steps to tell


def test_a_real_run_is_examined_stage_by_stage(tales_run: Run) -> None:
    cases = cases_of(tales_run)
    assert [case.stage.name for case in cases] == ["base", "chat"]
    assert [case.base_lr for case in cases] == [None, 1e-2]
    found = diagnose_run(tales_run)
    assert found is not None
    assert found == [one for case in cases for one in diagnose(case)]
    assert diagnose_run(tales_run, "base") == diagnose(cases[0])
    assert {one.stage for one in found} == {"chat"}  # 30 steps on 300 lines: neither a base nor a chat model
    assert "base-too-weak" in {one.name for one in found}


def test_a_run_of_which_nothing_is_finished_is_not_called_healthy(tales_run: Run, tmp_path: Any) -> None:
    assert diagnose_run(Run(tales_run.recipe, tmp_path)) is None


def test_no_two_checks_give_the_same_name(recorded: list[Any]) -> None:
    for one in recorded:
        found = names(one.case)
        assert len(found) == len(set(found)) <= len(DIAGNOSES)
