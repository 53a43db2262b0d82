"""4-bit bases: the same tensors in transformers and `peft` give the same logits, and published adapters stay exact."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from tutelage.batching.packing import collate
from tutelage.config import SettingsError
from tutelage.model.four_bit import FourBitWeight
from tutelage.model.hub import Checkpoint, load_model, with_lora
from tutelage.model.lora import LoraSettings, check_alike, lora_pairs
from tutelage.model.tensor_map import LLAMA
from tutelage.model.verify_adapter import export_merged, probe_logits, publish_adapter
from tutelage.model.weights import trained_state
from tutelage.records import Example
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train import distributed
from tutelage.train.losses import cross_entropy

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed; the extra bitsandbytes has it")
TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
SIZES = {
    "vocab_size": TOKENIZER.vocab_size, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
KINDS = {"qwen2": SIZES, "gpt_neox": {name: value for name, value in SIZES.items() if "key_value" not in name}}
TOKENS = np.arange(40, dtype=np.int32) * 7 % TOKENIZER.vocab_size


def make_base(folder: Path, kind: str) -> Path:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **KINDS[kind]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1).copy_(parameter.bfloat16())
    model.save_pretrained(folder)
    TOKENIZER.save(folder)
    return folder


def tuned(base: Path, settings: LoraSettings, dtype: torch.dtype) -> Checkpoint:
    checkpoint = with_lora(load_model(base, dtype=dtype), settings, (), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in trained_state(checkpoint.model).values():
            tensor += torch.randn(tensor.shape, generator=generator) * 0.1
    return checkpoint


def test_products_and_gradients_are_those_of_the_dense_matrix_and_nothing_dense_is_saved() -> None:
    weight_OI, x_NI = torch.randn(128, 64), torch.randn(5, 64, requires_grad=True)
    packed = FourBitWeight(weight_OI)
    assert packed.packed.nbytes == weight_OI.numel() // 2
    dense_OI = packed.dense()
    assert 0.01 < (dense_OI - weight_OI).abs().mean() < 0.1
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        y_NO = packed.linear(x_NI, None)
    assert sum(tensor.nbytes for tensor in saved) < weight_OI.nbytes // 4
    torch.testing.assert_close(y_NO, x_NI @ dense_OI.T)
    (grad_NI,) = torch.autograd.grad(y_NO.square().sum(), x_NI)
    torch.testing.assert_close(grad_NI, 2 * y_NO @ dense_OI)


@pytest.mark.filterwarnings("ignore")  # what peft and transformers warn each other of is theirs
def test_logits_are_those_of_peft_on_a_base_that_transformers_loads_in_4_bits(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed; the extra dev has it")
    base = make_base(tmp_path / "base", "qwen2")
    ours = tuned(base, LoraSettings(rank=3, alpha=6.0, base_dtype="nf4"), torch.float32)
    four_bit = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    theirs = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(
            base, quantization_config=four_bit, dtype=torch.float32, device_map="cpu"
        ),
        peft.LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM"),
    ).train()  # in evaluation bitsandbytes computes in bfloat16 on some CPUs; nothing is dropped
    wanted = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, linear, part in lora_pairs(ours.model, LLAMA):
            for letter, tensor in (("A", linear.lora_A[part]), ("B", linear.lora_B[part])):
                wanted[f"base_model.model.{name}.lora_{letter}.default.weight"].copy_(tensor)
        ids = torch.from_numpy(TOKENS).long()
        expected = theirs(input_ids=ids[None]).logits[0]
        hidden = ours.model.hidden(ids, torch.arange(len(ids)), ours.model.within_segments((len(ids),)))
        found = ours.model.logits(hidden)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    unrounded = tuned(base, LoraSettings(rank=3, alpha=6.0), torch.float32).model
    with torch.no_grad():
        hidden = unrounded.hidden(ids, torch.arange(len(ids)), unrounded.within_segments((len(ids),)))
        assert (unrounded.logits(hidden) - expected).abs().max() > 0.05


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_published_adapter_is_exact_and_merges_into_the_base_it_was_trained_on(
    kind: str, dora: bool, tmp_path: Path
) -> None:
    """Also an architecture that transformers runs. The base that training saw is the rounded one."""
    base = make_base(tmp_path / "base", kind)
    settings = LoraSettings(rank=3, base_dtype="nf4", dora=dora)
    live = tuned(base, settings, torch.bfloat16)
    loss = cross_entropy(live.model, collate([(Example(TOKENS),)]))[0]["loss"]
    loss.backward()
    assert all(p.grad is not None for p in live.model.parameters() if p.requires_grad)
    publish_adapter(tmp_path / "tuned", live, base, settings)
    again = load_model(tmp_path / "tuned", dtype=torch.bfloat16, merged=False)
    assert torch.equal(probe_logits(again), probe_logits(live))
    export_merged(tmp_path / "tuned", tmp_path / "merged")
    merged = probe_logits(load_model(tmp_path / "merged"))
    torch.testing.assert_close(merged, probe_logits(load_model(tmp_path / "tuned")), rtol=0, atol=1e-3)
    assert (merged - probe_logits(live)).abs().mean() < 0.05 * merged.std()


def test_what_cannot_be_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r'^lora.base_dtype is "nf4"; both must be alike: set it to "bfloat16"$'):
        check_alike(LoraSettings(base_dtype="nf4"), "both must be alike")
    model = with_lora(
        load_model(make_base(tmp_path, "qwen2")), LoraSettings(rank=2, base_dtype="nf4"), (), seed=0
    ).model
    assert copy.deepcopy(model).blocks[0].qkv.packed is not None
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ValueError, match="^a base in 4 bits is trained by one process only; set lora.base_dtype = "):
        distributed.shard(model)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=r"run: pip install 'tutelage\[bitsandbytes\]'$"):
        FourBitWeight(torch.zeros(64, 64))
