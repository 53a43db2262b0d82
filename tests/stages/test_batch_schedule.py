from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.killed_run import run
from tutelage.config import SettingsError, convert, to_plain
from tutelage.model.hub import load_model
from tutelage.model.sizes import ModelSettings
from tutelage.runner import LATER_MODEL_SETTINGS
from tutelage.stages.pretrain import Pretrain
from tutelage.stages.sft import Sft
from tutelage.stages.train_stage import without_later

RECIPE = """
name      = "growing"
model     = { depth = 1, width = 32, context = 64 }
tokenizer = { kind = "char" }

[data]
world = { kind = "world", people = 20, versions = 1 }

[stages.base]
kind           = "pretrain"
data           = { world = 1 }
steps          = 9
batch_tokens   = 256
batch_schedule = [[800, 512], [1800, 1024]]
schedule       = { kind = "constant", warmup = 0.0, batch_lr = "sqrt" }
checkpoint_seconds = 0
"""


@pytest.mark.slow
def test_a_run_killed_beside_a_change_of_the_batch_resumes_bit_for_bit(tmp_path: Path) -> None:
    recipe = tmp_path / "growing.toml"
    recipe.write_text(RECIPE)
    whole = run(recipe, tmp_path / "whole", part="base/checkpoint")
    assert whole.returncode == 0, whole.stderr
    lines = [json.loads(line) for line in (tmp_path / "whole/base/train.jsonl").read_text().splitlines()]
    sizes = [line["tokens"] - before for line, before in zip(lines, [0, *(x["tokens"] for x in lines)], strict=False)]
    assert max(sizes[:3]) <= 256 < max(sizes[3:6]) <= 512 < max(sizes)
    assert [round(line["lr"] / lines[-1]["lr"], 4) for line in (lines[0], lines[4])] == [0.5, 0.7071]
    middle = int(whole.stdout.split()[-1]) // 2
    killed = run(recipe, tmp_path / "killed", signal.SIGKILL, middle, "base/checkpoint")
    assert killed.returncode == -signal.SIGKILL
    resumed = run(recipe, tmp_path / "killed", part="base/checkpoint")
    assert resumed.returncode == 0, resumed.stderr
    models = [load_model(tmp_path / name / "base").model for name in ("whole", "killed")]
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert (tmp_path / "killed/base/train.jsonl").read_text() == (tmp_path / "whole/base/train.jsonl").read_text()


def stage(**settings: Any) -> Pretrain:
    return convert({"data": {"world": 1.0}, "steps": 1, **settings}, Pretrain, "here")


def test_the_batch_follows_the_trained_tokens() -> None:
    plan = stage(batch_tokens=100, batch_schedule=[[50, 200], [500, 400]]).batch_plan(0, 1)
    assert callable(plan)
    assert [plan(trained) for trained in (0, 49.5, 50, 499, 500, 1e9)] == [100, 100, 200, 200, 400, 400]
    assert stage(batch_tokens=100).batch_plan(0, 1) == 100


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_schedule": [[5, 10], [3, 20]]}, "batch_schedule needs pairs of trained tokens, rising"),
        ({"batch_schedule": [[5, 0]]}, "batch_schedule needs pairs of trained tokens, rising"),
        ({"batch_schedule": [[5, 10]], "batch_rows": 3}, "batch_schedule and batch_rows both say how large a step is"),
        ({"rope": "yarn"}, 'rope = "yarn" scales positions for a longer context; set context'),
    ],
)
def test_wrong_settings_are_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        stage(**settings)
    assert sentence in str(error.value)


def test_new_settings_at_their_defaults_keep_fingerprints() -> None:
    """Stages that finished before the settings existed are not run again."""
    (_, _, table) = stage().content()
    assert isinstance(table, dict)
    assert not {"router", "batch_schedule", "rope", "mtp_weight", "mtp_decay_weight"} & table.keys()
    assert not {"end", "warmup_steps", "batch_lr"} & table["schedule"].keys()
    assert not {"update_rms", "base_width", "state_bits"} & table["optimizer"].keys()
    assert not LATER_MODEL_SETTINGS.keys() & without_later(to_plain(ModelSettings()), LATER_MODEL_SETTINGS).keys()
    assert without_later(to_plain(ModelSettings(mtp=1)), LATER_MODEL_SETTINGS)["mtp"] == 1
    (_, _, tuned) = convert({"from": "a", "data": {"b": 1.0}, "steps": 1, "lora": {}}, Sft, "here").content()
    assert "dora" not in tuned["lora"]  # type: ignore[index]
    (_, _, other) = stage(schedule={"end": "sqrt"}, optimizer={"base_width": 64}).content()
    assert other["schedule"]["end"] == "sqrt"  # type: ignore[index]
    assert other["optimizer"]["base_width"] == 64  # type: ignore[index]
