"""Layouts of several processes over gloo against one process, in float64; and on fake ranks."""

from __future__ import annotations

import importlib.util
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

import tutelage
from tutelage.batching.packing import collate
from tutelage.config import SettingsError
from tutelage.cost.layout import Layout
from tutelage.model.hub import load_tensors
from tutelage.model.lora import LoraSettings, add_lora
from tutelage.model.settings import Experts
from tutelage.model.sizes import ModelConfig, ModelSettings, resolve
from tutelage.model.tensor_map import LLAMA
from tutelage.model.transformer import Transformer, initialise
from tutelage.recipe import load_recipe
from tutelage.records import Example
from tutelage.train.distributed import shard
from tutelage.train.layout import LayoutSettings, check_model, resolve_layout, use_layout
from tutelage.train.losses import cross_entropy
from tutelage.train.row_orders import in_model_order, in_stored_order, row_order

SCRIPT = Path(__file__).with_name("layouts.py")
CHECKOUT = Path(tutelage.__file__).parents[1]


@pytest.fixture(scope="module")
def alone() -> ModuleType:
    """The script, for this one process."""
    spec = importlib.util.spec_from_file_location("layouts", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def together(count: int, *arguments: object) -> None:
    """The script run by `count` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, arguments)],
            env={**os.environ, **place, "PYTHONPATH": str(CHECKOUT), "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    errors = [process.communicate(timeout=1200)[1] for process in started]
    assert [process.returncode for process in started] == [0] * count, errors


def assert_equals_one_process(alone: ModuleType, folder: Path, names: Sequence[str]) -> None:
    """Gradients, norm and figures, and the weights after three steps of which some were clipped."""
    for name in names:
        one, two = alone.work_out(name), load_tensors(folder / f"{name}.safetensors")
        assert one.keys() == two.keys()
        assert float(one["figure/norm"]) > 2 * alone.CLIPPED.clip
        for key, wanted in one.items():
            scale = 1.0 if key.startswith("weight/") else float(wanted.abs().max())
            assert scale > 0, key
            within = 1e-3 if key.startswith("weight/") and "muon" in name else 1e-9  # Muon works in bfloat16
            assert float((two[key] - wanted).abs().max()) <= within * scale, f"{folder.name}, {name}: {key}"


def assert_resumed(
    alone: ModuleType, out: Path, taker: str, saver: str, kind: str, wanted: Path, name: str = "qwen3"
) -> None:
    """A checkpoint that one layout saved, and another went on with, is what a run never stopped is."""
    alone.resumed(kind, wanted / kind, True, name)
    one = alone.resumed(kind, wanted / kind, False, name)
    found = load_tensors(out / taker / f"{kind} of {saver}.safetensors")
    assert one.keys() == found.keys()
    for key, tensor in one.items():
        within = 1e-3 if kind == "muon" else 1e-9
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=within, msg=f"{saver} to {taker}: {key}")


def test_pain_5_and_7_two_processes_that_share_matrices_or_tokens_are_one(alone: ModuleType, tmp_path: Path) -> None:
    """Also that norms of heads do not drift, that the norm counts each parameter once, and that one layout resumes the
    checkpoint of another."""
    together(2, "few", tmp_path / "out", "tp=2", "cp=2")
    for layout in ("tp=2", "cp=2"):
        assert_equals_one_process(alone, tmp_path / "out" / layout, alone.FEW)
    assert_resumed(alone, tmp_path / "out", "cp=2", "tp=2", "adamw", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("count", "layouts"),
    [(2, ("dp=2", "tp=2", "cp=2")), (4, ("tp=2,dp=2", "tp=2,cp=2", "cp=2,dp=2"))],
    ids=["two", "four"],
)
def test_every_layout_is_one_process(count: int, layouts: tuple[str, ...], alone: ModuleType, tmp_path: Path) -> None:
    """Every loss and family; and each layout resumes the checkpoints of those before it, as one process does."""
    together(count, "all", tmp_path, *layouts)
    for number, layout in enumerate(layouts):
        assert_equals_one_process(alone, tmp_path / layout, (*alone.CASES, *alone.FAMILIES))
        for kind in ("adamw", "muon"):
            alone.resumed(kind, tmp_path / "one" / kind, save=True)
            for saver in layouts[:number]:
                assert_resumed(alone, tmp_path, layout, saver, kind, tmp_path / "one")
            wanted, found = (
                alone.resumed(kind, folder / kind, save=False) for folder in (tmp_path / "one", tmp_path / layout)
            )
            for name, tensor in wanted.items():
                torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-3 if kind == "muon" else 1e-9)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("count", "layouts"), [(2, ("dp=2", "ep=2,dp=2")), (4, ("ep=2,dp=4", "ep=4,dp=4"))], ids=["two", "four"]
)
def test_pain_3_and_13_processes_that_share_experts_are_one(
    count: int, layouts: tuple[str, ...], alone: ModuleType, tmp_path: Path
) -> None:
    """Also where the experts of a process get no token; and checkpoints go both ways."""
    together(count, "experts", tmp_path, *layouts)
    for layout in layouts:
        assert_equals_one_process(alone, tmp_path / layout, alone.MIXTURES)
    empty = load_tensors(tmp_path / layouts[-1] / "empty experts.safetensors")["gradient/blocks.0.experts.up.weight"]
    assert empty[:2].any() and not empty[2:].any()
    for kind in ("adamw", "muon"):
        assert_resumed(alone, tmp_path, layouts[1], layouts[0], kind, tmp_path / "one", "experts")
        wanted = alone.resumed(kind, tmp_path / "one" / kind, False, "experts")
        found = alone.resumed(kind, tmp_path / layouts[1] / kind, False, "experts")
        for name, tensor in wanted.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-3 if kind == "muon" else 1e-9)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "layouts"),
    [
        ("qwen3", {2: ("dp=2", "tp=2", "cp=2"), 4: ("dp=4", "tp=2,dp=2", "tp=2,cp=2", "cp=2,dp=2")}),
        ("experts", {2: ("dp=2", "ep=2,dp=2"), 4: ("dp=4", "ep=2,dp=4", "ep=4,dp=4")}),
    ],
)
def test_pain_24_a_checkpoint_of_any_layout_resumes_on_any_other(
    name: str, layouts: dict[int, tuple[str, ...]], alone: ModuleType, tmp_path: Path
) -> None:
    """One process too, on both sides: weights and optimizer state after one more step."""
    alone.resumed("adamw", tmp_path / "one" / "adamw", True, name)
    for job in ("save", "resume"):
        for count, those in layouts.items():
            together(count, job, tmp_path, name, *those)
    wanted = alone.resumed("adamw", tmp_path / "one" / "adamw", False, name)
    every = ["one", *layouts[2], *layouts[4]]
    for saver in every:
        found = {"one": alone.resumed("adamw", tmp_path / saver / "adamw", False, name)}
        found |= {taker: load_tensors(tmp_path / taker / f"{saver}.safetensors") for taker in every[1:]}
        for taker, tensors in found.items():
            assert tensors.keys() == wanted.keys()
            for key, tensor in wanted.items():
                torch.testing.assert_close(tensors[key], tensor, rtol=0, atol=1e-9, msg=f"{saver} to {taker}: {key}")


SMALL = resolve(ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=64, mlp_width=48), vocab=33)
MODELS = {
    "llama": SMALL,
    "qwen3, untied": msgspec.structs.replace(SMALL, qk_norm=True, tied=False),
    "olmo2": msgspec.structs.replace(SMALL, qk_norm=True, qk_norm_over="projection", norm_place="after"),
    "gpt2": msgspec.structs.replace(SMALL, kv_heads=4, position="learned", norm="layer", mlp="gelu", bias=True),
    "one key-value head": msgspec.structs.replace(SMALL, kv_heads=1),
    "odd mlp": msgspec.structs.replace(SMALL, mlp_width=33),
    "experts": msgspec.structs.replace(SMALL, experts=Experts(count=4, used=2, width=16)),
    "sinks": msgspec.structs.replace(SMALL, sinks=True),
    "windows": msgspec.structs.replace(SMALL, window=5, windowed=(0,)),
}


@pytest.mark.parametrize(
    ("model", "layout", "sentence"),
    [
        ("llama", Layout(tp=3), "tp 3 does not divide the 4 query heads; choose a divisor"),
        ("llama", Layout(tp=4), "tp 4 does not divide the 2 key-value heads; choose a divisor"),
        ("one key-value head", Layout(tp=2), "tp 2 does not divide the 1 key-value heads; choose a divisor"),
        ("odd mlp", Layout(tp=2), "gate and up of the MLP have 33 rows; choose a divisor"),
        ("experts", Layout(tp=2), "tp 2 cannot share this model: it has experts; use layout.dp"),
        ("sinks", Layout(tp=2), "tp 2 cannot share this model: it has attention sinks; use layout.dp"),
        ("experts", Layout(cp=2), "cp 2 cannot share this model: its routers count all of a batch; use layout.dp"),
        ("llama", Layout(dp=2, ep=2), "ep is 2, but the model has no experts; leave it at 1"),
        ("experts", Layout(dp=3, ep=3), "ep 3 does not divide the 4 experts; choose a divisor"),
        ("olmo2", Layout(tp=2), "normalises queries over all heads at once; use layout.dp"),
    ],
)
def test_pain_6_and_20_what_cannot_be_shared_is_refused_in_a_sentence(
    model: str, layout: Layout, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_model(layout, MODELS[model])


def test_a_layout_that_is_not_the_number_of_processes_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert resolve_layout(LayoutSettings(tp=2), 8) == Layout(tp=2, dp=4)
    with pytest.raises(ValueError, match=r"^layout.ep 2 does not divide layout.dp 3; choose a divisor$"):
        resolve_layout(LayoutSettings(ep=2), 3)
    with pytest.raises(ValueError, match=r"^layout.tp 2 x layout.cp 1 x layout.dp 2 = 4, but there are 2 processes; "):
        resolve_layout(LayoutSettings(tp=2, dp=2), 2)
    with (
        pytest.raises(ValueError, match="layout.dp 1 = 2, but there are 1 processes"),
        use_layout(LayoutSettings(tp=2)),
    ):
        pass
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[data]\n[stages]\n')
    with pytest.raises(SettingsError, match="layout.tp is 0; it must be at least 1"):
        load_recipe(recipe, ["layout.tp=0"])
    with pytest.raises(SettingsError, match="layout has no setting 'pp'; choose one of dp, cp, tp, ep$"):
        load_recipe(recipe, ["layout.pp=2"])  # pipeline parallel


def test_rows_of_a_fused_matrix_go_to_processes_by_heads_and_come_back() -> None:
    order = row_order(SMALL, "blocks.0.qkv.weight", 2)  # heads of 8 rows: q 0-31, k 32-47, v 48-63
    first, second = order.chunk(2)
    assert first.tolist() == [*range(16), *range(32, 40), *range(48, 56)]
    assert second.tolist() == [*range(16, 32), *range(40, 48), *range(56, 64)]
    weight = torch.randn(64, 3)
    assert torch.equal(in_model_order(in_stored_order(weight, order), order), weight)
    assert row_order(MODELS["gpt2"], "blocks.0.mlp_up.weight", 2).tolist() == list(range(48))


@pytest.fixture
def fake_ranks() -> Iterator[None]:
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def outcome(model: str, settings: LayoutSettings, count: int, rank: int, lora: bool) -> str:
    """A forward and backward pass on a fake rank: "" where it ran, else the sentence it was refused with."""
    if dist.is_initialized():
        dist.destroy_process_group()
    os.environ.update({"WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": "0"})
    os.environ.update({"MASTER_ADDR": "x", "MASTER_PORT": "0"})
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=count)
    config: ModelConfig = MODELS[model]
    made = initialise(Transformer(config), seed=0)
    if lora:
        add_lora(made, LLAMA, LoraSettings(rank=2), (), seed=0)
    try:
        with use_layout(settings):
            shard(made)
    except ValueError as error:
        return str(error)
    if settings.ep > 1:
        return ""  # a fake exchange leaves the counts of rows unwritten
    batch = collate([(Example(torch.arange(length).int().numpy()),) for length in (9, 3, 14)])
    with use_layout(settings):
        cross_entropy(made, batch)[0]["loss"].backward()
    assert any(parameter.grad is not None for parameter in made.parameters())
    return ""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_random_layouts_run_on_fake_ranks_or_are_refused_in_a_sentence(
    fake_ranks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    source, found, run = random.Random(0), [], cache(outcome)
    for _ in range(10_000):
        count = source.choice([2, 3, 4, 6, 8])
        settings = LayoutSettings(
            tp=source.choice([1, 1, 2, 3, 4]),
            ep=source.choice([1, 1, 1, 2, 4]),
            cp=source.choice([1, 1, 2, 3]),
            dp=source.choice([None, None, 1, 2, 3]),
        )
        model = source.choice([*MODELS])
        found.append(run(model, settings, count, count - 1, model == "llama" and source.random() < 0.5))
    sentences = {text for text in found if text}
    assert 0.1 < sum(not text for text in found) / len(found) < 0.9
    assert all("\n" not in text and ";" in text and len(text) < 200 for text in sentences), sentences
