from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tutelage.report.read import column, dotted, names_under, read_run, read_stage
from tutelage.runner import Run

MakeRun = Callable[..., Run]


def test_a_stage_is_read_with_all_its_results(make_run: MakeRun) -> None:
    stages = read_run(make_run())
    assert list(stages) == ["base", "chat"]
    base, chat = stages.values()
    assert (base.is_fine_tuned, chat.is_fine_tuned) == (False, True)
    assert base.rates == {}
    assert set(chat.rates) == {
        "format.compliant",
        "format.stops",
        "format.prompts.near",
        "format.verbatim",
        "knowledge.held_out",
        "knowledge.held_out.reversal",
        "knowledge.unknown.hallucinated",
    }
    assert chat.rates["knowledge.held_out"].rate == 0.7
    assert chat.forgetting["world"].increase == pytest.approx(0.2)
    assert len(chat.bits["world"]) == 12
    assert set(chat.outcomes) == {
        "format.compliant",
        "knowledge.held_out",
        "knowledge.held_out.reversal",
        "knowledge.unknown.hallucinated",
    }
    assert [eval_step.step for eval_step in chat.evals] == [10, 20]
    assert (chat.evals[0].score, chat.evals[0].dev_eval["format"].rate) == (0.5, 0.5)
    assert chat.info.ledgers["world"].dropped["longer than the context of 128 tokens"].examples == ["rows.jsonl:7"]


def test_only_finished_stages_are_read(make_run: MakeRun) -> None:
    run = make_run(stages=("base",))
    assert list(read_run(run)) == ["base"]
    stale = run.folder / "chat" / "stage.json"
    stale.parent.mkdir()
    stale.write_text(json.dumps({"fingerprint": "of other settings"}))
    assert list(read_run(run)) == ["base"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("stage.json", "{"),
        ("stage.json", '{"name": "chat"}'),
        ("stage.json", "[]"),
        ("train.jsonl", '{"step": 1, "loss": 2}\n{"step": 2, "lo'),
        ("train.jsonl", "[1]"),
        ("train.jsonl", '{"step": 1, "dev_eval": {"format": 1}}'),
        ("evaluate/format.json", "[]"),
        ("evaluate/format.json", '{"results": 1}'),
        ("evaluate/format.json", '{"results": {"samples": [{"set": "near"}]}}'),
        ("evaluate/format.json", '{"results": {"outcomes": {"compliant": [1]}}}'),
        ("evaluate/knowledge.json", '{"results": {"rates": {"held_out": 1}}}'),
        ("evaluate/forgetting.json", '{"results": {"figures": {}}}'),
        ("evaluate/forgetting.json", '{"results": {"figures": {"by_data": {"world": {"before": 1}}}}}'),
    ],
)
def test_a_broken_file_gives_one_message_that_names_it(make_run: MakeRun, file: str, content: str) -> None:
    path = make_run().folder / "chat" / file
    path.write_text(content)
    with pytest.raises(ValueError, match="again$") as error:
        read_stage(path.parent if "/" not in file else path.parents[1])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_log_is_an_error(make_run: MakeRun) -> None:
    folder = make_run().folder / "chat"
    (folder / "train.jsonl").unlink()
    with pytest.raises(OSError, match=r"cannot read .*train\.jsonl"):
        read_stage(folder)


def test_a_loss_that_is_not_a_number_is_a_gap(make_run: MakeRun) -> None:
    folder: Path = make_run().folder / "base"
    (folder / "train.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": NaN}\n{"step": 3}\n')
    steps, losses = column(read_stage(folder).log, "loss")
    assert steps.tolist() == [1, 2]
    np.testing.assert_array_equal(losses, [2.5, np.nan])


def test_figures_of_the_log_are_found_by_their_prefix() -> None:
    log = [{"step": 1, "loss.chat": 1.0}, {"step": 2, "loss": 2.0, "loss.replay.world": 1.0, "loss.chat": 1.0}]
    assert names_under(log, "loss.") == ["chat", "replay.world"]


def test_settings_become_dotted_names() -> None:
    tree = {"a": {"b": [1, 2], "c": None, "d": {"e": 0}}, "f": ""}
    assert dotted(tree) == {"a.b": [1, 2], "a.d.e": 0, "f": ""}
