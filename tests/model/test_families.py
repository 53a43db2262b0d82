"""Every family against transformers, on small models of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import transformers
from family_models import KINDS, LENGTHS, VOCAB, assert_close, make, packed_logits, padded_logits, texts
from safetensors.torch import load_file

from tutelage.batching.packing import collate
from tutelage.engine.requests import Chunk, Generation, Request, StepPlan
from tutelage.engine.rows import Rows
from tutelage.engine.sampling import DrawStream, SamplingSettings
from tutelage.model import logprobs
from tutelage.model.families import FAMILIES
from tutelage.model.hub import load_model, save_model
from tutelage.model.sizes import (
    parameter_count,
)
from tutelage.model.tensor_map import split_tensor
from tutelage.model.transformer import Transformer
from tutelage.records import Example
from tutelage.train.losses import cross_entropy


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Transformer]:
    """A family's folder, the model in it as transformers has it, and as we have it."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = make(folder, request.param)
    return folder, theirs, load_model(folder).model


def test_logits_are_those_of_transformers(made: tuple[Path, Any, Transformer]) -> None:
    """Packed at once against padded; the differences between tokens are large beside what is allowed."""
    _, theirs, ours = made
    rows = texts(LENGTHS)
    for found, expected in zip(packed_logits(ours, rows), padded_logits(theirs, rows), strict=True):
        assert_close(found, expected)
    assert found.std() > 0.1


def test_logits_over_the_cache_are_those_of_transformers(made: tuple[Path, Any, Transformer]) -> None:
    """Prompts in chunks of 5 and the rest, then token by token; the rows reach their ends at different steps."""
    _, theirs, ours = made
    rows, steps = texts([20, 3, 17, 9]), 12
    whole = padded_logits(theirs, rows)
    cache = Rows(ours, len(rows))
    requests = []
    for number, row in enumerate(rows):
        prompt = row[: max(1, len(row) - steps)].tolist()
        draws = DrawStream(0, number, 0)
        requests.append(
            Request(
                number,
                len(prompt),
                prompt,
                SamplingSettings(max_tokens=steps),
                frozenset(),
                draws,
                Generation(),
                "running",
            )
        )
        cache.admit(requests[-1], len(rows))
    while requests:
        decodes = [request for request in requests if request.decodes]
        fills = [request for request in requests if not request.decodes]
        chunks = [Chunk(request, min(5, len(request.ids) - request.computed)) for request in fills]
        plan = StepPlan(decodes, chunks)
        with torch.inference_mode():
            logits = iter(cache.forward(plan))
        for request, count in [(r, 1) for r in decodes] + [(chunk.request, chunk.count) for chunk in chunks]:
            request.computed += count
            if request.computed < len(request.ids):
                continue
            row = rows[request.number]
            assert_close(next(logits), whole[request.number][request.computed - 1])
            if request.computed < len(row):
                request.ids.append(int(row[request.computed]))
            else:
                cache.remove(request)
                requests.remove(request)


def test_saved_weights_are_the_loaded_ones_bit_for_bit(made: tuple[Path, Any, Transformer], tmp_path: Path) -> None:
    folder, theirs, ours = made
    checkpoint = load_model(folder)
    save_model(tmp_path, checkpoint)
    before, after = (load_file(where / "model.safetensors") for where in (folder, tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads((folder / "config.json").read_text())
    again = load_model(tmp_path)
    assert again.model.config == ours.config
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), ours.parameters(), strict=True))
    reread = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(reread.parameters(), theirs.parameters(), strict=True))


def test_parameters_are_counted_exactly(made: tuple[Path, Any, Transformer]) -> None:
    _, theirs, ours = made
    assert parameter_count(ours.config) == sum(p.numel() for p in ours.parameters()) == theirs.num_parameters()


@pytest.mark.parametrize(
    ("kind", "setting", "other"),
    [
        ("llama3", "rope_scaling", None),
        ("qwen2-yarn", "rope_scaling", None),
        ("phi3-longrope", "rope_scaling", None),
        ("mistral", "window", 7),
        ("gemma3", "window_rope_theta", None),
        ("gemma2", "attention_softcap", None),
        ("gemma2", "logit_softcap", None),
        ("gemma2", "attention_scale", None),
        ("gemma2", "embedding_scale", 1.0),
        ("smollm3", "unrotated", ()),
        ("deepseek_v3", "rope_scaling", None),
        ("deepseek_v3", "attention_scale", 20**-0.5),
        ("gpt_oss", "window", 7),
        ("gpt2", "mlp", "gelu"),
    ],
)
def test_every_setting_changes_the_logits(kind: str, setting: str, other: object, tmp_path: Path) -> None:
    """Otherwise the tests above would not test it."""
    make(tmp_path, kind)
    model, rows = load_model(tmp_path).model, texts([40])
    changed = Transformer(msgspec.structs.replace(model.config, **{setting: other}))
    changed.load_state_dict(model.state_dict())
    [found], [without] = packed_logits(model, rows), packed_logits(changed, rows)
    assert (found - without).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gemma3", "gpt2", "olmo2"])
def test_gradients_are_those_of_transformers(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the summed loss of texts packed at once, against each alone; logits under a cap are made in chunks."""
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 5 * VOCAB)
    monkeypatch.setattr(logprobs, "MIN_CHUNK_POSITIONS", 5)
    theirs, ours, rows = make(tmp_path, kind), load_model(tmp_path).model, texts([20, 9, 17])
    loss = cross_entropy(ours, collate([(Example(row.int().numpy()),) for row in rows]))[0]["loss"]
    loss.backward()
    expected = torch.zeros(())
    for row in rows:
        logits = theirs(input_ids=row[None]).logits[0]
        expected = expected + torch.nn.functional.cross_entropy(logits[:-1], row[1:], reduction="sum")
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        for called, grad in split_tensor(FAMILIES[KINDS[kind][0]].modules, ours.config, name, parameter.grad).items():
            assert (grad - wanted[called].grad).abs().max() < 1e-4 * wanted[called].grad.abs().max() + 1e-5
