"""DoRA: the same tensors in `peft` give the same outputs and gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from tutelage.batching.packing import collate
from tutelage.engine.adapters import request_adapter
from tutelage.model.adapter import read_adapter
from tutelage.model.hub import load_model, with_lora
from tutelage.model.inference_copy import int8_copy, packed_copy
from tutelage.model.lora import LoraSettings, lora_pairs, merge_lora
from tutelage.model.tensor_map import LLAMA
from tutelage.model.transformer import Transformer
from tutelage.model.verify_adapter import publish_adapter
from tutelage.model.weights import trained_state
from tutelage.records import Example
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train.losses import cross_entropy
from tutelage.train.optimizers import Optimizer, OptimizerSettings

TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
SETTINGS = LoraSettings(rank=3, alpha=6.0, dora=True)
SIZES = {
    "vocab_size": TOKENIZER.vocab_size, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
TOKENS = np.arange(40, dtype=np.int32) * 7 % TOKENIZER.vocab_size


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen2, which has biases, of random weights."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model("qwen2", **SIZES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(folder)
    TOKENIZER.save(folder)
    return folder


def tuned(base: Path, *, trained: bool = True) -> Transformer:
    model = with_lora(load_model(base), SETTINGS, (), seed=1).model
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in trained_state(model).values() if trained else ():
            tensor += torch.randn(tensor.shape, generator=generator) * 0.2
    return model


@torch.no_grad()
def logits(model: Transformer) -> torch.Tensor:
    tokens = torch.from_numpy(TOKENS).long()
    positions = torch.arange(len(tokens))
    return model.logits(model.hidden(tokens, positions, model.within_segments((len(tokens),))))


@pytest.mark.filterwarnings("ignore")  # what peft and transformers warn each other of is theirs
def test_outputs_and_gradients_are_those_of_peft(base: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed; the extra dev has it")
    ours = tuned(base)
    theirs = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(base),
        peft.LoraConfig(r=3, lora_alpha=6, use_dora=True, target_modules="all-linear", task_type="CAUSAL_LM"),
    ).eval()
    wanted = dict(theirs.named_parameters())
    pairs = []
    for name, linear, part in lora_pairs(ours, LLAMA):
        for own, suffix in (
            (linear.lora_A[part], "lora_A.default.weight"),
            (linear.lora_B[part], "lora_B.default.weight"),
            (linear.magnitude[part], "lora_magnitude_vector.default.weight"),
        ):
            pairs.append((own, wanted[f"base_model.model.{name}.{suffix}"]))
    assert len(pairs) == 3 * 2 * 7
    with torch.no_grad():
        for own, other in pairs:
            other.copy_(own)
    ids = torch.from_numpy(TOKENS).long()[None]
    theirs_logits = theirs(input_ids=ids).logits[0]
    torch.testing.assert_close(logits(ours), theirs_logits.detach(), rtol=1e-5, atol=1e-5)
    assert (logits(ours) - logits(load_model(base).model)).abs().max() > 0.1
    cross_entropy(ours, collate([(Example(TOKENS),)]))[0]["loss"].backward()
    torch.nn.functional.cross_entropy(theirs_logits[:-1], ids[0, 1:], reduction="sum").backward()
    for own, other in pairs:
        assert own.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_a_fresh_adapter_changes_nothing_and_its_first_step_moves_all_its_tensors(base: Path) -> None:
    model = tuned(base, trained=False)
    torch.testing.assert_close(logits(model), logits(load_model(base).model), rtol=0, atol=1e-5)
    for _, linear, part in lora_pairs(model, LLAMA):
        with torch.no_grad():
            assert torch.equal(linear.magnitude[part], linear.row_norms(part))
    before = {name: tensor.clone() for name, tensor in trained_state(model).items()}
    optimizer = Optimizer(model, OptimizerSettings(), lr=0.01)
    for _ in range(2):  # B is zero, so A has no gradient at first
        cross_entropy(model, collate([(Example(TOKENS),)]))[0]["loss"].backward()
        optimizer.step(1.0, optimizer.gradient_norm())
        optimizer.zero_grad()
    after = trained_state(model)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert sum(".magnitude." in name for name in after) == 14


def test_copies_for_inference_and_the_merged_model_give_its_outputs(base: Path) -> None:
    model = tuned(base)
    expected = logits(model)
    torch.testing.assert_close(logits(packed_copy(model)), expected, rtol=0, atol=1e-5)
    assert not model.blocks[0].qkv.factors  # they belong to the copy: the model goes on training
    with pytest.raises(ValueError, match="has LoRA pairs; merge them first"):
        int8_copy(model)
    merge_lora(model)
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-4)


def test_a_request_cannot_bring_an_adapter_that_scales_the_base(base: Path, tmp_path: Path) -> None:
    checkpoint = with_lora(load_model(base), SETTINGS, (), seed=1)
    publish_adapter(tmp_path / "tuned", checkpoint, base, SETTINGS)
    with pytest.raises(ValueError, match="uses DoRA, which also scales the base; serve it as a model of its own$"):
        request_adapter(load_model(base).model, LLAMA, read_adapter(tmp_path / "tuned"))
