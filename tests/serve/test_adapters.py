"""LoRA adapters over a served base: `serve BASE --adapter NAME=PATH`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from served import CHAT, HELLO, TEXT, Served, run_server, tiny_checkpoint

from tutelage.model.hub import find_module_names, load_model, save_adapter, save_model, with_lora
from tutelage.model.lora import LoraSettings, lora_pairs
from tutelage.serve.server import ServeSettings
from tutelage.serve.start import load_models


def make_adapter(folder: Path, base: Path, seed: int) -> None:
    """An adapter that changes what its base answers."""
    settings = LoraSettings(rank=4)
    checkpoint = with_lora(load_model(base), settings, (), seed)
    with torch.no_grad():
        for _, linear, part in lora_pairs(checkpoint.model, find_module_names(checkpoint)):
            linear.lora_B[part].normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
    save_adapter(folder, checkpoint, base, settings)


def test_adapters_answer_as_models_of_their_own_and_share_the_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    save_model(base, tiny_checkpoint())
    for name, seed in (("a", 1), ("b", 2)):
        make_adapter(tmp_path / name, base, seed)
    adapters = [f"{name}={tmp_path / name}" for name in ("a", "b")]
    together = load_models([str(base)], ServeSettings(), adapters)
    apart = load_models([str(base), str(tmp_path / "a"), str(tmp_path / "b")], ServeSettings())
    assert {id(model.worker) for model in together.values()} == {id(together["base"].worker)}
    answers: dict[str, dict[str, str]] = {}
    for kind, models in (("together", together), ("apart", apart)):
        with run_server(models, ServeSettings()) as served:
            answers[kind] = {name: answer(served, name) for name in ("base", "a", "b")}
            if kind == "together":
                refused = served.post(TEXT, {"model": "a", "prompt": "Good", "echo": True, "logprobs": 1})
                assert (refused.status_code, refused.json()["error"]["param"]) == (400, "echo")
    assert answers["together"] == answers["apart"]
    assert len(set(answers["apart"].values())) == 3


def answer(served: Served, model: str) -> str:
    body = {**HELLO, "model": model, "temperature": 0, "max_tokens": 12}
    first = served.post(CHAT, body).json()["choices"][0]["message"]["content"]
    assert served.post(CHAT, body).json()["choices"][0]["message"]["content"] == first  # from the prefix cache
    return first


def test_adapters_without_their_base_or_a_name_are_refused(tmp_path: Path) -> None:
    for name, seed in (("base", 0), ("other", 1)):
        save_model(tmp_path / name, tiny_checkpoint(seed))
    make_adapter(tmp_path / "a", tmp_path / "base", 1)
    with pytest.raises(ValueError, match="was trained on .*base, which is not served; add it to the models"):
        load_models([str(tmp_path / "other")], ServeSettings(), [f"a={tmp_path / 'a'}"])
    with pytest.raises(ValueError, match="two models are named 'base'; give one another name: NAME=PATH"):
        load_models([str(tmp_path / "base")], ServeSettings(), [f"base={tmp_path / 'a'}"])
    with pytest.raises(ValueError, match="holds no LoRA adapter; serve it as a model"):
        load_models([str(tmp_path / "base")], ServeSettings(), [f"a={tmp_path / 'other'}"])
