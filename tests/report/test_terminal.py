from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from rich.console import Console

from tutelage.ledger import Ledger
from tutelage.report.terminal import print_comparison, print_plan, print_summary
from tutelage.runner import flatten

STAGE = {"parameters": 1_234_567_890, "steps": 1_000_000, "tokens": 123_456_789_012, "trained_tokens": 98_765_432_109.0}
STAGE |= {"tokens_per_second": 54_321.5, "loss": 1.23456}
STAGES = {"base": {**STAGE, "seconds": 7261.0}, "chat": {**STAGE, "seconds": 5.0, "held_out.chat": 0.5}}
SUMMARY = {
    "name": "x",
    "seconds": 8000.0,
    "peak_rss_bytes": 3 * 2**30,
    **{f"stages.{stage}.{name}": value for stage, of in STAGES.items() for name, value in of.items()},
    "evaluate.chat.knowledge.held_out.rate": 0.9,
    "evaluate.chat.knowledge.held_out.low": 0.8,
    "evaluate.chat.knowledge.held_out.high": 1.0,
}
PLAN = {
    "name": "x",
    "unplanned": {"again": "best"},
    "stages": {
        name: {
            "done": name == "base",
            "parameters": 1_234_567_890,
            "tokens": 123_456_789_012,
            "steps": 1_000_000,
            "steps_done": 1_000_000 if name == "base" else 250_000,
            "flops": 9.1e20,
            "seconds": seconds,
            "state_bytes": 18 * 2**30,
            "activation_bytes": 2**20 // 2,
            "warning": "stage chat: 1 optimizer step in all" if name == "chat" else "",
        }
        for name, seconds in (("base", 7261.0), ("chat", 5.0))
    },
    "seconds": 5.0,
    "flops": 9.1e20,
    "peak_bytes": 2**30,
}


def shown(show: Callable[[Mapping[str, Any], Console], None], what: Mapping[str, Any], width: int = 80) -> str:
    """What stands on a terminal without colour, with the spaces of a table taken out."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(what, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return "\n".join(" ".join(line.replace("│", " ").split()) for line in text.splitlines())


def test_every_stage_has_its_own_figures_whole_in_eighty_columns() -> None:
    text = shown(print_summary, SUMMARY)
    assert "…" not in text
    assert "parameters 1,234,567,890 1,234,567,890" in text
    assert "trained tokens 98,765,432,109 98,765,432,109" in text
    assert "time 2 h 01 min 5.0 s" in text
    assert "held-out loss 0.500" in text
    assert "took 2 h 13 min, at most 3.00 GiB of memory" in text


def test_only_what_was_measured_is_shown_with_its_interval() -> None:
    text = shown(print_summary, SUMMARY)
    assert "90.0% (80.0% to 100.0%)" in text
    assert text.count("%)") == 1
    assert "forgets" not in text
    without = {name: value for name, value in SUMMARY.items() if not name.startswith("evaluate")}
    assert "what the models can do" not in shown(print_summary, without)


def test_rates_are_in_display_order_and_those_of_own_prompt_sets_last() -> None:
    figures = {"rate": 0.5, "low": 0.4, "high": 0.6, "count": 90}
    names = ("format.prompts.in_verse", "format.prompts.seen", "format.compliant")
    summary = {f"evaluate.chat.{name}.{key}": value for name in names for key, value in figures.items()}
    text = shown(print_summary, SUMMARY | summary, width=120)
    places = [
        text.index(said)
        for said in ("keeps the chat format", "format, prompts it was trained on", "format: prompts, in verse")
    ]
    assert places == sorted(places)


def test_the_step_of_the_selected_weights_is_shown() -> None:
    assert "weights of step 1,000,000 600" in shown(print_summary, SUMMARY | {"stages.chat.selected.step": 600})


def test_forgetting_alarms() -> None:
    figures = {"before": 2.0, "after": 2.4, "increase": 0.2, "low": 0.15, "high": 0.25, "alarm": True}
    forgetting = {f"evaluate.chat.forgetting.{name}": value for name, value in figures.items()}
    text = shown(print_summary, SUMMARY | forgetting, width=200)
    assert "2.000 -> 2.400 bits per byte, +20.0% (95%: +15.0% to +25.0%) alarm: more than a tenth" in text
    calm = forgetting | {"evaluate.chat.forgetting.alarm": False}
    assert "alarm" not in shown(print_summary, SUMMARY | calm)


def test_a_run_with_nothing_finished() -> None:
    text = shown(print_summary, {"seconds": 1.0, "peak_rss_bytes": 2**29})
    assert "took 1.0 s, at most 0.50 GiB of memory" in text


def test_a_plan_is_whole_in_eighty_columns() -> None:
    text = shown(print_plan, PLAN)
    assert "…" not in text
    assert "done stopped" in text
    assert "steps done 1,000,000 250,000" in text
    assert "tokens 123,456,789,012 123,456,789,012" in text
    assert "FLOPs 9.1e+20 9.1e+20" in text
    assert "weights, gradients, optimizer state 18,432.0 MiB 18,432.0 MiB" in text
    assert "activations 0.5 MiB 0.5 MiB" in text
    assert "to do: about 5.0 s of training on this machine, without evaluations" in text
    assert "not planned: again, whose rows 'best' makes" in text
    assert text.count("warning: stage chat: 1 optimizer step in all") == 1


@pytest.mark.parametrize("width", [60, 80, 200])
def test_figures_of_many_stages_stand_whole_in_as_many_tables_as_it_takes(width: int) -> None:
    many = [f"stage_{number}" for number in range(9)]
    plan = PLAN | {"stages": dict.fromkeys(many, PLAN["stages"]["chat"])}
    text = shown(print_plan, plan, width)
    assert "…" not in text
    assert text.count("123,456,789,012") == text.count("18,432.0 MiB") == 9
    assert [text.count(name) for name in many] == [1] * 9
    summary = {key.replace(".chat.", f".{name}."): value for name in many for key, value in SUMMARY.items()}
    assert shown(print_summary, SUMMARY | summary, width).count("90.0% (80.0% to 100.0%)") == 10


def test_a_comparison_cuts_nothing_off_in_eighty_columns() -> None:
    path = "/somewhere/in/a/folder/with/a/name/that/is/longer/than/any/column/of/a/table/rows.jsonl"
    paired = {"difference": -0.123, "low": -0.231, "high": -0.012, "verdict": "no difference shown", "holm": 0.5}
    rates = {"knowledge.held_out": {"first": {"rate": 1.0}, "second": {"rate": 0.877}, "paired": paired}}
    comparison = {
        "first": "runs/one",
        "second": "runs/two",
        "stages": {"chat": {"rates": rates, "row_losses": {}, "losses": {}, "figures": {}, "costs": {}}},
        "settings": {"data.chat.path": {"first": path, "second": None}},
    }
    text = shown(print_comparison, comparison)
    assert "…" not in text
    assert "100.0% 87.7% −12.3 (−23.1 to −1.2)" in text
    assert path in "".join(text.partition("settings that differ")[2].split()).replace("notset", "")


def test_the_data_ledger_is_shown() -> None:
    ledger = Ledger("chat: conversations to tokens, train")
    ledger.read(1250)
    ledger.keep(1200)
    ledger.hold_out(30)
    ledger.drop("longer than the context of 128 tokens", 20, where="row 7")
    account = flatten({"stages": {"chat": {"ledgers": {"chat": ledger.to_dict(), "replay.world": ledger.to_dict()}}}})
    text = " ".join(shown(print_summary, SUMMARY | account).split())
    for source in ("chat", "replay.world"):
        parts = "1,200 kept + 30 held out + 20 longer than the context of 128 tokens"
        assert f"{source} -> chat: 1,250 rows = {parts}" in text


def test_the_reason_why_weights_were_selected_is_shown() -> None:
    selected = {"stages.chat.selected.step": 20, "stages.chat.selected.last": 100, "stages.chat.selected.score": 0.912}

    def said(by: str) -> str:
        return shown(print_summary, SUMMARY | selected | {"stages.chat.selected.by": by}, width=120)

    assert "chat: the weights of step 20 of 100 were selected: there its dev eval was best (score 91.2%)\n" in said(
        "best_eval"
    )
    assert "chat: the weights of step 20 of 100 were selected: there its held-out loss was lowest\n" in said(
        "lowest_loss"
    )
    assert "were selected" not in said("last")
