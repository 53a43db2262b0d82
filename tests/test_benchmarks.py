"""The interface of all benchmarks; none is run here."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
BENCHMARKS = [path for path in sorted(FOLDER.glob("*.py")) if path.name != "common.py"]

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="benchmarks are not part of the source distribution")


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "common", raising=False)
    return __import__("common")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_ratio_above_one_means_that_we_are_better(common: object, capsys: pytest.CaptureFixture[str]) -> None:
    common.print_result("speed", 20.0, 10.0, "tokens/s", quick=False)
    common.print_result("memory", 20.0, 10.0, "MB", quick=True, lower_is_better=True)
    speed, memory = lines(capsys)
    assert speed == {"name": "speed", "ours": 20.0, "peer": 10.0, "ratio": 2.0, "unit": "tokens/s"}
    assert (memory["ratio"], memory["quick"]) == (0.5, True)


def test_medians_are_compared_and_the_main_peer_comes_last(common: object, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"ours": [1.0, 8.0, 9.0], "main": [4.0, 4.0, 5.0], "other": [2.0, 2.0, 2.0]}
    measured = {role: [{"value": value} for value in rounds] for role, rounds in values.items()}
    common.print_comparison(measured, argparse.Namespace(quick=False), name="x", unit="/s", main_peer="main")
    other, main = lines(capsys)
    assert (other["against"], other["ratio"]) == ("other", 4.0)
    assert (main["against"], main["ratio"]) == ("main", 2.0)


@pytest.mark.parametrize(("package", "extra"), [("trl", "peers"), ("resiliparse", "corpus")])
def test_a_missing_package_is_one_sentence_with_its_extra(common: object, package: str, extra: str) -> None:
    with (
        pytest.raises(SystemExit, match=rf"^{package} is not installed; .* pip install -e '\.\[{extra}\]'$"),
        common.exit_if_package_missing(),
    ):
        raise ModuleNotFoundError(name=package)


@pytest.fixture
def serve(common: object, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delitem(sys.modules, "serve", raising=False)
    return __import__("serve")


def test_s27_goodput_needs_both_limits_and_tokens_are_those_of_the_server(serve: Any) -> None:
    record = serve.Record(200, first=2.0, end=5.0, tokens=4)  # however many chunks they came in
    assert record.per_token == 1.0
    records = [record, serve.Record(200, 1.0, 9.0, 2), serve.Record(200, 3.0, 3.0, 1), serve.Record(429)]
    found = serve.figures(records, seconds=10.0, ttft=2.0, tpot=1.0)
    assert (found["requests"], found["answered"], found["goodput"]) == (4, 3, 0.1)
    assert (found["ttft_p50"], found["tokens_per_second"]) == (2.0, 0.7)
    assert found["ttft_p50_low"] <= 2.0 <= found["ttft_p50_high"]


def test_the_load_is_the_built_in_world_where_the_chats_are_absent(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path))
    bodies = serve.workload(len)
    assert len(bodies) > 100
    assert all(body["messages"][-1]["role"] == "user" and body["messages"][-1]["content"] for body in bodies)


@pytest.mark.slow
@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_benchmark_has_a_quick_form(path: Path) -> None:
    shown = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, check=True).stdout
    assert "--quick" in shown


@pytest.fixture
def rl_seeds(common: object, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delitem(sys.modules, "rl_seeds", raising=False)
    return __import__("rl_seeds")


def test_forgetting_is_compared_where_both_runs_reach_a_reward(rl_seeds: Any) -> None:
    """A curve that rises further, or falls back, is read where it first had the reward."""
    plain = np.array([0.0, 1.0, 2.0, 1.0]), np.array([3.0, 3.5, 4.0, 9.0])
    replay = np.array([0.0, 0.5, 1.0]), np.array([3.0, 3.0, 3.0])
    assert rl_seeds.gap_at_equal_reward(plain, replay) == pytest.approx(0.25)
    assert np.isnan(rl_seeds.gap_at_equal_reward(plain, (replay[0] + 5, replay[1])))
    interval = rl_seeds.over_seeds([1.0, 2.0, 3.0])
    assert interval["low"] == pytest.approx(2 - 4.303 / 3**0.5)
    assert rl_seeds.over_seeds([float("nan")]) == {}


def test_the_gpu_script_runs_every_part_at_a_tiny_size(common: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gpu", raising=False)
    gpu: Any = __import__("gpu")
    compiled: list[object] = []
    monkeypatch.setitem(gpu.KERNELS, "compile", compiled.append)
    found = {name: measure(gpu.DRY, gpu.PARTS["h100"]) for name, measure in gpu.MEASURES.items()}
    assert list(found)[:6] == ["pretrain", "sft", "decode", "serve", "dpo", "grpo"]
    refused = {name: figures.pop("refused") for name, figures in found.items() if "refused" in figures}
    assert list(refused) == ["pretrain+float8+compile", "sft+varlen", "sft+varlen+compile"]
    assert all("needs a CUDA GPU" in sentence for sentence in refused.values())
    assert len(compiled) == 2
    assert all(value > 0 for figures in found.values() for value in figures.values())
    assert found["pretrain"]["mfu"] < 0.01  # a CPU beside the peak of an H100
    wait = gpu.WHOLE.seconds * len(found)
    assert wait <= gpu.LIMIT / 2  # the other half is for imports, weights and warm-up


def test_a_gpu_is_found_in_the_table_by_its_name(common: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gpu", raising=False)
    gpu: Any = __import__("gpu")
    assert gpu.find_part() is None
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    for name, key in (("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H100 PCIe", "h100-pcie"), ("NVIDIA H200", "h200")):
        monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda name=name: name)
        assert gpu.find_part() is gpu.PARTS[key]
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda: "NVIDIA GeForce RTX 4090")
    assert gpu.find_part() is None
