"""Named heads: they change no other number, are saved with the model, and train in every mode."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from tutelage.batching.packing import collate
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.hub import (
    add_head,
    extend_vocabulary,
    load_config,
    load_model,
    save_model,
    with_context,
    with_lora,
)
from tutelage.model.lora import LoraSettings
from tutelage.model.sizes import ModelSettings, parameter_count, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.model.verify_adapter import export_merged, probe_logits, publish_adapter
from tutelage.model.weights import trained_state
from tutelage.records import Batch, Example
from tutelage.tokenizer import TokenizerSettings, train

TOKENIZER = train(["abcdefghijkl "], TokenizerSettings(kind="char"))
SHAPES = {
    "llama": ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=64, tied=False),
    "gpt2": ModelSettings(depth=2, width=32, context=64, position="learned", bias=True, norm="layer", mlp="gelu"),
    None: ModelSettings(depth=2, width=32, context=64, mlp="relu2", qk_norm=True),
}
HEADS = {"value": 1, "category": 3}


def make(kind: str | None = "llama") -> Checkpoint:
    return Checkpoint(initialise(Transformer(resolve(SHAPES[kind], TOKENIZER.vocab_size)), seed=0), TOKENIZER)


def with_heads(checkpoint: Checkpoint) -> Checkpoint:
    for seed, (name, outputs) in enumerate(HEADS.items()):
        checkpoint = add_head(checkpoint, name, outputs, seed)
    return checkpoint


def batch() -> Batch:
    random = np.random.default_rng(1)
    lengths = (20, 7, 33)
    return collate(
        [
            (Example(random.integers(0, 12, n).astype(np.int32), random.choice([0.0, 1.0], n).astype(np.float32)),)
            for n in lengths
        ]
    )


def head_loss(model: Transformer) -> torch.Tensor:
    outputs = model.outputs(batch())
    return outputs.logprobs.sum() + sum((head.square().sum() for head in outputs.heads.values()), torch.zeros(()))


@pytest.mark.parametrize("autocast", [False, True])
def test_heads_have_one_output_per_position_and_change_no_other_number(autocast: bool) -> None:
    plain, headed = make().model, with_heads(make()).model
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected, unread, outputs = plain(batch()), headed(batch()), headed.outputs(batch())
        assert plain.outputs(batch()).heads == {}
    assert torch.equal(unread, expected)
    assert torch.equal(outputs.logprobs, expected)
    positions = len(batch().tokens_N)
    assert {name: tuple(head.shape) for name, head in outputs.heads.items()} == {
        "value": (positions,),
        "category": (positions, 3),
    }
    assert all(head.dtype == torch.float32 for head in outputs.heads.values())


def test_heads_are_linear_in_the_last_hidden_states() -> None:
    model, b = with_heads(make()).model, batch()
    hidden = model.hidden(b.tokens_N, b.positions_N, model.within_segments(b.lengths))
    for name, head in model.outputs(b).heads.items():
        expected = hidden @ model.get_parameter(f"heads.{name}.weight").T
        torch.testing.assert_close(head, expected.squeeze(1))


def test_a_batch_without_trained_positions_has_heads() -> None:
    """A reward model trains no token."""
    model = with_heads(make()).model
    outputs = model.outputs(collate([(Example(np.arange(9, dtype=np.int32), np.zeros(9, np.float32)),)]))
    assert outputs.logprobs.shape == (0,)
    outputs.heads["value"][-1].backward()
    assert model.embedding.weight.grad is not None


@pytest.mark.parametrize("mode", ["plain", "activation checkpointing", "lora"])
def test_gradients_reach_heads_and_what_is_trained_below_them(mode: str) -> None:
    checkpoint = with_heads(make())
    if mode == "lora":
        checkpoint = with_lora(checkpoint, LoraSettings(rank=2), (), seed=1)
        assert {"heads.value.weight", "heads.category.weight"} < set(trained_state(checkpoint.model))
    model = checkpoint.model
    model.activation_checkpointing = mode == "activation checkpointing"
    head_loss(model).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(grad is not None for grad in gradients.values())
    assert all(gradients[f"heads.{name}.weight"].abs().max() > 0 for name in HEADS)
    if mode == "activation checkpointing":
        plain = with_heads(make()).model
        head_loss(plain).backward()
        assert all(torch.equal(p.grad, gradients[name]) for name, p in plain.named_parameters())


@pytest.mark.parametrize("kind", SHAPES)
def test_heads_are_saved_with_the_model_and_transformers_loads_the_rest(kind: str | None, tmp_path: Path) -> None:
    saved = with_heads(make(kind))
    save_model(tmp_path, saved)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config.get("model_type"), config["output_heads"]) == (kind, HEADS)
    assert {"heads.value.weight", "heads.category.weight"} < load_file(tmp_path / "model.safetensors").keys()
    loaded = load_model(tmp_path)
    assert loaded.model.config == saved.model.config == load_config(tmp_path)
    assert torch.equal(probe_logits(loaded), probe_logits(saved))
    assert parameter_count(loaded.model.config) == sum(p.numel() for p in loaded.model.parameters())
    if kind:
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        tokens = torch.arange(12)
        with torch.no_grad():
            ours = loaded.model.logits(loaded.model.hidden(tokens, tokens, loaded.model.within_segments((12,))))
            torch.testing.assert_close(theirs(input_ids=tokens[None]).logits[0], ours, rtol=0, atol=1e-5)


def test_a_model_without_heads_has_no_entry_for_them(tmp_path: Path) -> None:
    save_model(tmp_path, make())
    assert "output_heads" not in json.loads((tmp_path / "config.json").read_text())
    assert not any(name.startswith("heads.") for name in make().model.state_dict())


def test_a_head_is_added_to_a_loaded_model_and_outlives_changes_of_its_sizes(tmp_path: Path) -> None:
    save_model(tmp_path / "base", make())
    checkpoint = with_heads(load_model(tmp_path / "base"))
    value = checkpoint.model.outputs(batch()).heads["value"]
    larger = with_context(extend_vocabulary(checkpoint, ("<|new|>",), seed=1), 96)
    assert torch.equal(larger.model.outputs(batch()).heads["value"], value)
    save_model(tmp_path / "larger", larger)
    assert torch.equal(load_model(tmp_path / "larger").model.outputs(batch()).heads["value"], value)


@pytest.mark.parametrize("head_in_base", [False, True])
def test_an_adapter_carries_its_heads(head_in_base: bool, tmp_path: Path) -> None:
    save_model(tmp_path / "base", with_heads(make()) if head_in_base else make())
    base = load_model(tmp_path / "base")
    trained = with_lora(base if head_in_base else with_heads(base), LoraSettings(rank=2), (), seed=1)
    with torch.no_grad():
        for tensor in trained_state(trained.model).values():
            tensor += 0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2))
    publish_adapter(tmp_path / "tuned", trained, tmp_path / "base", LoraSettings(rank=2))
    assert torch.equal(probe_logits(load_model(tmp_path / "tuned", merged=False)), probe_logits(trained))
    export_merged(tmp_path / "tuned", tmp_path / "merged")
    merged = load_model(tmp_path / "merged")
    torch.testing.assert_close(probe_logits(merged), probe_logits(trained), rtol=0, atol=1e-4)
    assert merged.model.config.output_heads == HEADS


@pytest.mark.filterwarnings("ignore")  # peft warns of the head, which it does not know
def test_peft_loads_an_adapter_with_heads(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed; the extra dev has it")
    save_model(tmp_path / "base", make())
    trained = with_lora(with_heads(load_model(tmp_path / "base")), LoraSettings(rank=2), (), seed=1)
    with torch.no_grad():
        for tensor in trained_state(trained.model).values():
            tensor += 0.1
    publish_adapter(tmp_path / "tuned", trained, tmp_path / "base", LoraSettings(rank=2))
    (tmp_path / "tuned" / "config.json").unlink()
    theirs = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "tuned").eval()
    model, tokens = trained.model, torch.arange(12)
    with torch.no_grad():
        ours = model.logits(model.hidden(tokens, tokens, model.within_segments((12,))))
        torch.testing.assert_close(theirs(input_ids=tokens[None]).logits[0], ours, rtol=0, atol=1e-4)


def test_the_same_seed_gives_the_same_head() -> None:
    one, same, other = (
        add_head(make(), "value", 1, seed).model.get_parameter("heads.value.weight") for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "outputs", "sentence"),
    [
        ("value", 1, "the model has a head 'value' already; choose another name"),
        ("my.head", 1, "'my.head' cannot name a head; use letters, digits and underscores"),
        ("reward", 0, "head 'reward' has 0 outputs; it needs at least 1"),
    ],
)
def test_impossible_heads_are_one_sentence(name: str, outputs: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        add_head(with_heads(make()), name, outputs, seed=0)
