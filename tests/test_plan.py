from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path

import msgspec
import pytest
import torch
from saved_bytes import saved_bytes
from tiny_recipe import run_quietly

from tutelage.batching.packing import collate
from tutelage.config import SettingsError, recipes_folder
from tutelage.files import read_json, write_json
from tutelage.model.hub import load_model
from tutelage.model.logprobs import CHUNK_LOGITS
from tutelage.model.memory import activation_bytes, training_bytes
from tutelage.model.sizes import ModelConfig, ModelSettings, resolve
from tutelage.model.transformer import Transformer
from tutelage.plan import plan
from tutelage.recipe import load_recipe
from tutelage.records import Example
from tutelage.runner import Run
from tutelage.stages.base import CHECKPOINT, STAGE
from tutelage.train.checkpoint import STATE_FILE
from tutelage.train.losses import CROSS_ENTROPY

OVERRIDES = ["stages.base.steps=20", "evaluate={}"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny recipe, run."""
    recipe = load_recipe(recipes_folder() / "tiny.toml", OVERRIDES)
    return run_quietly(Run(recipe, tmp_path_factory.mktemp("plan") / "run"))


def test_what_is_planned_is_what_the_run_then_does(run: Run, tmp_path: Path) -> None:
    before, after = plan(Run(run.recipe, tmp_path / "none"))["stages"], plan(run)["stages"]
    for name in run.recipe.stages:
        model = load_model(run.folder / name).model
        info = run.stage_done(name)
        assert info is not None
        assert not before[name]["done"]
        assert before[name]["parameters"] == sum(p.numel() for p in model.parameters())
        assert before[name]["tokens"] == pytest.approx(info["tokens"], rel=0.03)
        assert before[name]["steps"] == pytest.approx(info["steps"], abs=1)
        assert before[name]["state_bytes"] == training_bytes(model.config, muon=True)
        exact = {key: info[key] for key in ("tokens", "steps", "seconds", "parameters")}
        assert exact == {key: after[name][key] for key in exact}
        assert after[name]["done"]
    assert not (tmp_path / "none").exists()


def test_a_growing_batch_and_longer_contexts_are_planned(tmp_path: Path) -> None:
    """The run of this recipe read 20,272, 5,820 and 5,752 tokens. The planner stopped at the first longer context."""
    stages = plan(Run(load_recipe(recipes_folder() / "v4.toml"), tmp_path / "none"))["stages"]
    tokens = {"base": 20_272, "middle": 5_820, "long": 5_752}
    assert {name: stage["tokens"] for name, stage in stages.items()} == {
        name: pytest.approx(count, rel=0.03) for name, count in tokens.items()
    }


def test_what_is_done_costs_nothing_more(run: Run) -> None:
    done = plan(run)
    assert (done["seconds"], done["flops"], done["peak_bytes"]) == (0, 0, 0)
    changed = plan(Run(load_recipe(recipes_folder() / "tiny.toml", [*OVERRIDES, "stages.chat.seed=9"]), run.folder))
    assert [stage["done"] for stage in changed["stages"].values()] == [True, False]
    assert changed["flops"] == changed["stages"]["chat"]["flops"] > 0


def test_of_a_run_that_was_stopped_what_is_left_is_planned(run: Run, tmp_path: Path) -> None:
    stopped = Run(run.recipe, Path(shutil.copytree(run.folder, tmp_path / "stopped")))
    (stopped.folder / "base" / STAGE).unlink()
    path = stopped.folder / "base" / CHECKPOINT / STATE_FILE
    position = read_json(path)
    assert position["step"] == 20
    write_json(path, position | {"step": 15, "tokens": round(position["tokens"] * 0.75)})
    base = plan(stopped)["stages"]["base"]
    assert (base["done"], base["steps"], base["steps_done"]) == (False, 20, 15)
    assert base["flops_left"] == pytest.approx(base["flops"] / 4, rel=0.1)
    assert plan(stopped)["flops"] == base["flops_left"]  # the chat stage is done
    write_json(path, position | {"fingerprint": "another"})
    again = plan(stopped)["stages"]["base"]
    assert (again["steps_done"], again["flops_left"]) == (0, again["flops"])


def test_another_tokenizer_is_planned_with_and_not_the_one_that_is_there(run: Run) -> None:
    smaller = plan(Run(load_recipe(recipes_folder() / "tiny.toml", [*OVERRIDES, "tokenizer.vocab=500"]), run.folder))
    difference = plan(run)["stages"]["base"]["parameters"] - smaller["stages"]["base"]["parameters"]
    assert difference == (1024 - 500) * 64


def test_epochs_replay_and_shares_are_counted(run: Run) -> None:
    def tokens(*overrides: str) -> int:
        recipe = load_recipe(recipes_folder() / "tiny.toml", [*OVERRIDES, "stages.chat.seed=9", *overrides])  # not done
        return plan(Run(recipe, run.folder))["stages"]["chat"]["tokens"]

    bare = tokens("stages.chat.replay=0.0")
    assert tokens("stages.chat.replay=0.0", "stages.chat.epochs=3") == pytest.approx(3 * bare, abs=3)
    trained = tokens("stages.chat.replay=0.5") - bare  # as much again is replayed as is trained
    assert 0 < trained < bare
    assert tokens("stages.chat.replay=0.75") - bare == pytest.approx(3 * trained, abs=3)
    assert tokens("stages.chat.held_out=0.5", "stages.chat.replay=0.0") == pytest.approx(bare * 0.5 / 0.98, abs=2)


def kept_bytes(config: ModelConfig, segments: int, activation_checkpointing: bool = False) -> int:
    """The memory that autograd keeps of a forward pass beside the parameters, each piece counted once."""
    model = Transformer(config)
    model.activation_checkpointing = activation_checkpointing
    example = Example(torch.arange(config.context).int().numpy() % config.vocab)
    return saved_bytes(model, lambda: CROSS_ENTROPY.function(model, collate([(example,)] * segments)))


@pytest.mark.parametrize(
    ("norm", "mlp", "qk_norm", "kv_heads", "position"),
    product(["rms", "layer"], ["swiglu", "relu2"], [False, True], [None, 2], ["rotary", "learned"]),
)
def test_activations_are_what_autograd_keeps(norm, mlp, qk_norm, kv_heads, position) -> None:  # type: ignore[no-untyped-def]
    shape = ModelSettings(
        depth=3,
        width=64,
        heads=4,
        context=64,
        kv_heads=kv_heads,
        norm=norm,
        mlp=mlp,
        qk_norm=qk_norm,
        position=position,
    )
    segments = 4
    # So many words that logits are made in chunks and not kept, as they are for all but the smallest models.
    config = resolve(shape, vocab=CHUNK_LOGITS // (segments * 63) + 1)
    assert kept_bytes(config, segments) == pytest.approx(activation_bytes(config, segments * 64), rel=0.05)
    kept = activation_bytes(config, segments * 64, activation_checkpointing=True)
    again = activation_bytes(resolve(shape, config.vocab), segments * 64) // 3  # the block that is run again
    assert kept * 0.4 < kept_bytes(config, segments, activation_checkpointing=True) + again < kept * 1.2


def test_a_plan_refuses_what_the_run_would_refuse(run: Run, tmp_path: Path) -> None:
    """Field failure: the plan was content, and the run then stopped at a wrong LoRA target or a row too long."""
    path = tmp_path / "mine.toml"
    path.write_text(
        f"""name = "mine"
[data]
chat = {{ kind = "chat", path = "chats.jsonl" }}
[stages.base]
kind = "model"
path = "{run.folder / "base"}"
[stages.chat]
kind = "sft"
from = "base"
data = {{ chat = 1 }}
"""
    )
    rows = [
        {"prompt": f"Number {number}?", "completion": "Yes. " * (100 * (number == 3)) + "Yes."} for number in range(6)
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"conversation chats.jsonl:4 has \d+ tokens, but the context holds 128"):
        plan(Run(load_recipe(path), tmp_path / "run"))
    dropped = ["stages.chat.too_long=drop", "stages.chat.lora.rank=4"]
    assert plan(Run(load_recipe(path, dropped), tmp_path / "run"))["stages"]["chat"]["seconds"] > 0
    for target in ('stages.chat.lora.targets=["q_porj"]', "stages.chat.lora.rank=4000"):
        errors = []
        for attempt in (plan, Run.run):
            with pytest.raises(SettingsError) as error:
                attempt(Run(load_recipe(path, [*dropped, target]), tmp_path / "run"))
            errors.append(str(error.value))
        assert errors[0] == errors[1]


def test_sampling_is_planned_with_training(tmp_path: Path) -> None:
    """Tokens and steps follow from prompts, samples and uses of a rollout; sampling takes its share of the time."""
    settings = ["stages.reasoner.steps=6", "stages.reasoner.minibatches=2", "evaluate={}"]
    name = recipes_folder() / "grpo_arithmetic.toml"
    planned = plan(Run(load_recipe(name, settings), tmp_path / "run"))["stages"]["reasoner"]
    assert planned["steps"] == 6
    assert planned["tokens"] == pytest.approx(6 * 16 * 8 / 2 * (56 + 20), rel=0.2)
    assert 0 < planned["sampling_seconds"] < planned["seconds"]
    longer = plan(Run(load_recipe(name, [*settings, "stages.reasoner.steps=60"]), tmp_path / "run"))
    assert longer["stages"]["reasoner"]["tokens"] == 10 * planned["tokens"]
    stage = Run(load_recipe(name, settings), tmp_path / "run").trained_stage("reasoner")
    shape = msgspec.structs.replace(stage, steps=None, epochs=1).rollouts(100.0)
    assert shape is not None
    assert shape.rollouts * 2 == shape.steps == 14
    assert longer["stages"]["base"]["sampling_seconds"] == 0


def test_a_stage_on_rows_that_are_not_made_yet_is_named_and_left_out(tmp_path: Path) -> None:
    planned = plan(Run(load_recipe(recipes_folder() / "r1.toml"), tmp_path / "run"))
    assert planned["unplanned"] == {"tuned": "accepted"}
    assert list(planned["stages"]) == ["base", "cold", "reasoner", "final"]
