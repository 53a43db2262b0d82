"""Runs with LoRA, from the command to what is chatted with, exported and trained further."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from tiny_recipe import run_quietly

from tutelage import progress
from tutelage.cli import main
from tutelage.config import SettingsError, recipes_folder
from tutelage.files import read_json
from tutelage.find_model import find_model
from tutelage.model.adapter import ADAPTER_WEIGHTS
from tutelage.model.hub import load_model, load_tensors
from tutelage.model.lora import LoraSettings
from tutelage.model.verify_adapter import probe_logits
from tutelage.process import Stopped
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.sft_recipe import sft_recipe
from tutelage.stages.fine_tune import LORA_LR_FACTOR
from tutelage.stages.sft import Sft
from tutelage.train.checkpoint import OPTIMIZER_FILE


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `tutelage sft --lora`, on the base stage of another run."""
    folder = tmp_path_factory.mktemp("runs")
    overrides = ["stages.base.steps=2", "model.norm=rms", "model.mlp=swiglu"]
    run_quietly(Run(load_recipe(recipes_folder() / "tiny.toml", overrides), folder / "tiny"), "base")
    rows = [{"prompt": f"Number {i}?", "completion": "Yes."} for i in range(6)]
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    verb("sft", "--model", folder / "tiny", "--data", folder / "mine.jsonl", "--out", folder / "tuned", "--lora", 4,
         "--epochs", 2)  # fmt: skip
    return folder / "tuned"


def verb(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input="hello\n")
    progress.set_mode("auto")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_run_with_lora_is_chatted_with_looked_at_and_exported(tuned: Path, tmp_path: Path) -> None:
    stage = find_model(tuned)
    info = read_json(stage / "stage.json")
    assert info["settings"]["lora"]["rank"] == 4
    assert info["trained_parameters"] < info["parameters"] / 5
    assert not (stage / "model.safetensors").exists()
    assert verb("chat", tuned)
    assert "<|assistant|>" in verb("look", tuned)
    assert json.loads(verb("look", tuned, "--ask", "Number 3?", "--json"))
    assert json.loads(verb("evaluate", tuned, "--json"))["evaluate.sft.forgetting.before"] > 0
    out = json.loads(verb("export", tuned, "--merge", "--json"))["out"]
    assert Path(out) == tuned.with_name("tuned-merged")
    merged, whole = probe_logits(load_model(Path(out))), probe_logits(load_model(stage, merged=False))
    torch.testing.assert_close(merged, whole, rtol=0, atol=1e-4)
    assert verb("export", tuned, "--out", tmp_path / "adapter").startswith("adapter for peft: ")
    assert torch.equal(probe_logits(load_model(tmp_path / "adapter")), probe_logits(load_model(stage)))


def test_the_runs_own_folder_is_loaded_as_its_stage(tuned: Path) -> None:
    """By the name that the run was given, as other programs do."""
    assert torch.equal(probe_logits(load_model(tuned)), probe_logits(load_model(find_model(tuned))))


def test_a_run_starts_from_a_run_with_lora(tuned: Path, tmp_path: Path) -> None:
    data = tuned.parent / "mine.jsonl"
    verb("sft", "--model", tuned, "--data", data, "--out", tmp_path / "more", "--epochs", 1, "--replay", 0)
    assert (tmp_path / "more" / "sft" / "model.safetensors").exists()


def test_an_adapter_without_a_tokenizer_of_its_own_is_a_model_for_every_command(tuned: Path, tmp_path: Path) -> None:
    peft = tmp_path / "peft"
    peft.mkdir()
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": f"Number {i}?", "completion": "Yes."}) for i in range(3)))
    # On the merged model, whose tokenizer has the chat tokens: PEFT saves no tokenizer with an adapter.
    verb("export", tuned, "--merge", "--out", tmp_path / "merged")
    verb("sft", "--model", tmp_path / "merged", "--data", data, "--out", tmp_path / "next", "--lora", 2, "--epochs", 1,
         "--no-eval")  # fmt: skip
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(tmp_path / "next" / name, peft / name)
    assert "3 of 3 conversations" in verb("look", data, "--model", peft, "--rows", 3)
    assert verb("audit", data, "--model", peft)
    assert verb("chat", peft, "--max-tokens", 2)
    verb("export", peft, "--merge", "--out", tmp_path / "whole")
    verb("sft", "--model", peft, "--data", data, "--out", tmp_path / "again", "--epochs", 1, "--no-eval")
    assert (tmp_path / "again" / "model.safetensors").exists()


def test_adapters_of_steps_that_are_kept_are_models(tuned: Path, tmp_path: Path) -> None:
    data, out = tuned.parent / "mine.jsonl", tmp_path / "kept"
    settings = ["stages.sft.steps=3", "stages.sft.save_every=1", "stages.sft.keep_checkpoints=2"]
    verb("sft", "--model", tuned.parent / "tiny", "--data", data, "--out", out, "--lora", 4, *settings)
    assert sorted(path.name for path in out.glob("sft@*")) == ["sft@2", "sft@3"]
    second, third = (probe_logits(load_model(out / f"sft@{step}")) for step in (2, 3))
    assert not torch.equal(second, third)
    assert torch.equal(third, probe_logits(load_model(find_model(out))))


def test_the_defaults_of_lora(tuned: Path) -> None:
    data, base = tuned.parent / "mine.jsonl", tuned.parent / "tiny"
    stages = [sft_recipe(base, data, overrides=given).stages["sft"] for given in ([], ["stages.sft.lora.rank=8"])]
    whole, lora = (stage for stage in stages if isinstance(stage, Sft))
    assert whole.lora is None
    assert lora.lora == LoraSettings(rank=8, alpha=32.0)
    assert lora.lr == pytest.approx(whole.lr * LORA_LR_FACTOR)
    assert (whole.optimizer.kind, lora.optimizer.kind) == ("muon", "adamw")
    with pytest.raises(SettingsError, match="lora is trained with AdamW"):
        Sft(parent="base", data={"chat": 1.0}, steps=1, lora=LoraSettings(), optimizer=whole.optimizer)


def test_pain_12_a_stopped_run_with_lora_resumes_bit_for_bit(tuned: Path, tmp_path: Path) -> None:
    settings = ["lora.rank=3", "replay=0.0", "epochs=3", "checkpoint_seconds=0", "batch_tokens=60"]
    overrides = [f"stages.sft.{setting}" for setting in settings]
    recipe = sft_recipe(tuned.parent / "tiny", tuned.parent / "mine.jsonl", overrides=[*overrides, "evaluate.sft=[]"])
    saved = 0

    def stop_after_two(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal saved
        if event == "os.rename" and str(arguments[1]) == str(tmp_path / "stopped" / "sft" / "checkpoint"):
            saved += 1
            if saved == 2:
                signal.raise_signal(signal.SIGINT)

    Run(recipe, tmp_path / "whole").run()
    sys.addaudithook(stop_after_two)
    with pytest.raises(Stopped, match="stopped after step [23] of"):
        Run(recipe, tmp_path / "stopped").run()
    Run(recipe, tmp_path / "stopped").run()
    for name in (ADAPTER_WEIGHTS, "train.jsonl", "checkpoint/model.safetensors"):
        one, other = ((tmp_path / run / "sft" / name).read_bytes() for run in ("whole", "stopped"))
        assert one == other, name
    states = [load_tensors(tmp_path / run / "sft" / "checkpoint" / OPTIMIZER_FILE) for run in ("whole", "stopped")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_adapter_of_a_local_base_is_pushed_whole_or_not_at_all(tuned: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["export", str(tuned), "--push", "me/mine", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "is a folder of this machine, which others do not have; add --merge" in result.output
    assert not (tmp_path / "out").exists()
    verb("export", tuned, "--out", tmp_path / "adapter")
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "AutoPeftModelForCausalLM" in card
    assert "were trained (LoRA)" in card
    assert "| LoRA rank, alpha | 4, 32 |" in card
    assert "base_model" not in card  # it has no name on the hub
