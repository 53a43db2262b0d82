"""What `tutelage serve` loads: models by name, adapters with their base, 8-bit weights."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from served import CHAT, HELLO, Served, run_server, serving, tiny_checkpoint

from tutelage.engine.engine import EngineSettings
from tutelage.model.hub import load_model, save_model, with_lora
from tutelage.model.lora import LoraSettings
from tutelage.model.verify_adapter import publish_adapter
from tutelage.model.weights import trained_state
from tutelage.serve.server import ServeSettings
from tutelage.serve.start import load_models

LORA = LoraSettings(rank=3)
SETTINGS = ServeSettings(engine=EngineSettings(max_rows=4, chunk_tokens=64, min_prefix=16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, and its adapters `one` and `two`."""
    parent = tmp_path_factory.mktemp("models")
    save_model(parent / "base", tiny_checkpoint())
    for number, name in enumerate(("one", "two"), 1):
        tuned = with_lora(load_model(parent / "base"), LORA, (), seed=number)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for tensor in trained_state(tuned.model).values():
                tensor += torch.randn(tensor.shape, generator=generator)
        publish_adapter(parent / name, tuned, parent / "base", LORA)
    return parent


def answer(served: Served, model: str) -> str:
    body = {**HELLO, "model": model, "temperature": 0, "max_tokens": 24, "ignore_eos": True}
    text: str = served.post(CHAT, body).json()["choices"][0]["message"]["content"]
    return text


def test_s1_adapters_never_share_keys_and_values(folder: Path) -> None:
    """One prompt to a base and two adapters, alone and together with full caches: three texts, always the same."""
    names = ("base", "one", "two")
    alone = {}
    for name in names:
        with serving({name: load_model(folder / name)}, SETTINGS) as served:
            alone[name] = answer(served, name)
    assert len(set(alone.values())) == 3
    models = load_models([str(folder / "base")], SETTINGS, [str(folder / "one"), f"two={folder / 'two'}"])
    with run_server(models, SETTINGS) as served:
        texts: list[tuple[str, str]] = []
        threads = [
            threading.Thread(target=lambda name=name: texts.append((name, answer(served, name))))  # type: ignore[misc]
            for name in names * 3
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        served.settle()
    assert set(texts) == set(alone.items())
    assert len(texts) == 9


def test_what_cannot_be_loaded_together_is_one_sentence(folder: Path) -> None:
    base, one = str(folder / "base"), str(folder / "one")
    for adapters, sentence in (([f"x={base}"], "holds no LoRA adapter"), ([one, one], "two models are named 'one'")):
        with pytest.raises(ValueError, match=sentence):
            load_models([base], SETTINGS, adapters)
    with pytest.raises(ValueError, match="which is not served"):
        load_models([one], SETTINGS, [str(folder / "two")])


def test_with_8_bit_weights_their_loss_is_said(folder: Path) -> None:
    notes: list[str] = []
    settings = ServeSettings(engine=EngineSettings(max_rows=4, int8=True))
    (model,) = load_models([f"tiny={folder / 'base'}"], settings, note=notes.append).values()
    model.close()
    assert notes[0].startswith("tiny: 8-bit weights: perplexity")
