"""Files of published models: dtypes, shards, old names, more tokens, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from family_models import SIZES, TOKENIZER, VOCAB, assert_close, make, packed_logits, padded_logits, texts
from safetensors.torch import load_file, save_file

from tutelage.model import weights
from tutelage.model.families import read_config
from tutelage.model.hub import extend_vocabulary, load_model, save_model
from tutelage.tokenizer import TokenizerSettings, train


@pytest.mark.parametrize("room", [True, False], ids=["in-spare-rows", "grown"])
@pytest.mark.parametrize("kind", ["llama", "llama3", "qwen2", "gpt2", "gpt2-untied", "gemma2", "phi3", "olmo2"])
def test_pain_13_an_extended_vocabulary_loads_in_transformers(kind: str, room: bool, tmp_path: Path) -> None:
    theirs, rows = make(tmp_path, kind), texts([30])
    full = train([chr(97 + i) for i in range(VOCAB - 1)], TokenizerSettings(kind="char"))
    (TOKENIZER if room else full).save(tmp_path)
    rows = [row % load_model(tmp_path).tokenizer.vocab_size for row in rows]
    extended = extend_vocabulary(load_model(tmp_path), ("<|user|>", "<|end|>"), seed=1)
    size = VOCAB if room else VOCAB + 2
    assert extended.model.config.vocab == size
    save_model(tmp_path / "more", extended)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "more").eval()
    assert again.config.vocab_size == size
    [found], [before], [ours] = (
        padded_logits(again, rows),
        padded_logits(theirs, rows),
        packed_logits(extended.model, rows),
    )
    known = VOCAB if not room else TOKENIZER.vocab_size
    torch.testing.assert_close(found[:, :known], before[:, :known], rtol=1e-5, atol=1e-5)
    assert_close(found, ours)
    assert again.config.tie_word_embeddings == theirs.config.tie_word_embeddings
    new = extended.model.embedding.weight[extended.tokenizer.special("<|user|>")]
    assert (new - extended.model.embedding.weight[:known].mean(dim=0)).abs().max() < 0.2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_weights_are_loaded_as_float32_or_as_asked(dtype: torch.dtype, tmp_path: Path) -> None:
    make(tmp_path, "qwen2").to(dtype).save_pretrained(tmp_path)
    wide, narrow = load_model(tmp_path), load_model(tmp_path, dtype=dtype)
    assert {p.dtype for p in wide.model.parameters()} == {torch.float32}
    assert {p.dtype for p in narrow.model.parameters()} == {dtype}
    assert narrow.model.rotations.dtype == torch.float32
    for a, b in zip(wide.model.parameters(), narrow.model.parameters(), strict=True):
        assert torch.equal(a, b.float())
    save_model(tmp_path / "wide", wide)
    save_model(tmp_path / "narrow", narrow)
    for name in ("wide", "narrow"):  # in the dtype of the checkpoint, whatever it was trained in
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert again.dtype == dtype


def test_shards_are_loaded_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, rows = make(tmp_path / "one", "qwen3"), texts([12])
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    TOKENIZER.save(tmp_path / "many")
    checkpoint = load_model(tmp_path / "many")
    assert torch.equal(*(packed_logits(load_model(tmp_path / name).model, rows)[0] for name in ("one", "many")))
    monkeypatch.setattr(weights, "SHARD_BYTES", 30_000)
    save_model(tmp_path / "ours", checkpoint)
    assert len(list((tmp_path / "ours").glob("model-*-of-*.safetensors"))) > 2
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), theirs.parameters(), strict=True))
    assert torch.equal(*(packed_logits(load_model(tmp_path / name).model, rows)[0] for name in ("one", "ours")))
    monkeypatch.undo()
    save_model(tmp_path / "ours", checkpoint)  # over the shards, which must not stay
    assert [path.name for path in (tmp_path / "ours").glob("model*")] == ["model.safetensors"]
    save_model(tmp_path / "ours", load_model(tmp_path / "ours"))


@pytest.mark.parametrize("kind", ["llama3", "gpt2"])
def test_old_files_without_the_name_prefix_and_with_tables_are_loaded(kind: str, tmp_path: Path) -> None:
    make(tmp_path, kind)
    [before] = packed_logits(load_model(tmp_path).model, texts([20]))
    tensors = {name.partition(".")[2]: t for name, t in load_file(tmp_path / "model.safetensors").items()}
    tensors |= {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}
    save_file(tensors, tmp_path / "model.safetensors")  # and without the metadata that transformers asks for
    assert torch.equal(packed_logits(load_model(tmp_path).model, texts([20]))[0], before)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "mamba"}, "models of type 'mamba' are not supported; supported: llama, mistral, *"),
        ({"hidden_size": "32"}, "hidden_size must be a whole number, and '32' is not; drop the quotes: 32"),
        ({"hidden_size": None}, "* needs 'hidden_size', and it is not set"),
        ({"intermediate_size": None}, "'intermediate_size' is not set"),
        ({"num_hidden_layers": 0}, "every size must be at least 1"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of 3 key-value heads"),
        ({"hidden_act": "relu"}, "its activation 'relu' is not supported; supported: silu, *"),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "its rope_type 'dynamic' is not supported; supported: linear, llama3, yarn, longrope",
        ),
        ({"rope_scaling": {"type": "linear"}}, "its rope of type 'linear' lacks factor"),
        ({"partial_rotary_factor": 0.5}, "it rotates only a part of each head (partial_rotary_factor), *"),
        ({"rope_parameters": {"full_attention": {}}}, "its rope_parameters differ by layer, which is not supported"),
        ({"quantization_config": {"bits": 4}}, "its weights are quantised; use the original checkpoint"),
        (
            {"model_type": "smollm3", "no_rope_layers": [1]},
            "no_rope_layers lists 1 layers, but num_hidden_layers is 3",
        ),
        (
            {"model_type": "gemma2", "layer_types": ["chunked_attention"] * 3, "hidden_act": "gelu_pytorch_tanh"},
            "it has layers of type 'chunked_attention', which is not supported",
        ),
        (
            {"model_type": "gemma3_text", "use_bidirectional_attention": True},
            "its attention is bidirectional; only causal models are supported",
        ),
    ],
)
def test_an_unsupported_config_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match="here") as error:
        read_config({"model_type": "llama", **SIZES, **changes}, "here/config.json")
    start, _, end = sentence.partition("*")
    assert start in str(error.value)
    assert str(error.value).startswith("here/config.json")
    assert str(error.value).endswith(end)
    assert "\n" not in str(error.value)
