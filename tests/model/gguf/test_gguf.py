"""GGUF files: every family and tokenizer comes back as it was written, and llama.cpp computes the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from tutelage.chat import ChatConfig
from tutelage.find_model import find_model
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.families import read_config
from tutelage.model.gguf.layout import halved, interleaved
from tutelage.model.gguf.read import read_gguf
from tutelage.model.gguf.vocabulary import PRE_TOKENIZERS, _from_json, read_vocabulary, write_vocabulary
from tutelage.model.gguf.write import write_gguf
from tutelage.model.hub import load_model
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.tokenizer import Tokenizer, TokenizerSettings, train

pytest.importorskip("gguf", reason="the extra gguf is not installed")
TEXTS = ["Hello, world! It's 12345 o'clock.", " two\n\n  lines\tand é 漢字 🙂", "<|end|>user's x=3.14;", ""]
SIZES: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
GEMMA = {"query_pre_attn_scalar": 32, "sliding_window": 9, "hidden_activation": "gelu_pytorch_tanh"}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "tie_word_embeddings": True},
    "llama 3.1": {"model_type": "llama", "rope_scaling": LLAMA3, "rope_theta": 5e5, "tie_word_embeddings": False},
    "llama with biases": {"model_type": "llama", "attention_bias": True},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "qwen2": {"model_type": "qwen2", "rope_theta": 1e6, "head_dim": 16},
    "qwen3": {"model_type": "qwen3", "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "gemma2": {"model_type": "gemma2", "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, **GEMMA},
    "gemma3": {"model_type": "gemma3_text", "rope_theta": 1e6, "rope_local_base_freq": 10_000.0, **GEMMA},
}


def make_tokenizer(pre: str = "gpt-2", names: tuple[str, ...] = ("<|end|>", "<|user|>")) -> Tokenizer:
    """Byte-level BPE with llama.cpp's rules of this name, and special tokens."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = _from_json(PRE_TOKENIZERS[pre]), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=310, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(["Hello world, it's the o'clock of 12345 users: hello! hello world 123"] * 3, trainer)
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    backend.add_tokens([AddedToken("<tool>", normalized=False)])
    return Tokenizer(backend)


END = make_tokenizer().special("<|end|>")


def make(family: str, seed: int = 0) -> Checkpoint:
    """A tiny model with random weights that float16 holds, large enough that the next token is clear."""
    table = {**SIZES, **FAMILIES[family]}
    model = initialise(Transformer(read_config(table, "config.json")), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
            elif name != "embedding.weight":
                parameter.mul_(4)
            parameter.copy_(parameter.half().float() if parameter.ndim > 1 else parameter)
    config = {"bos_token": "<|user|>", "eos_token": "<|end|>"}
    chat = ChatConfig("{{ messages[0].content }}", config, {"eos_token_id": END})
    return Checkpoint(model, make_tokenizer(), chat, table)


def logits(model: Transformer, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        hidden = model.hidden(torch.tensor(ids), torch.arange(len(ids)), model.within_segments((len(ids),)))
        return model.logits(hidden)


IDS = np.random.default_rng(0).integers(0, END, 30).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_holds_the_whole_model(family: str, tmp_path: Path) -> None:
    checkpoint = make(family)
    write_gguf(tmp_path / "m.gguf", checkpoint, "f16", "tiny")
    back = read_gguf(tmp_path / "m.gguf")
    assert back.model.config == checkpoint.model.config
    # Gains of Gemma are stored as 1 + weight, which rounds.
    torch.testing.assert_close(logits(back.model, IDS), logits(checkpoint.model, IDS), atol=2e-5, rtol=1e-5)
    for text in TEXTS:
        assert back.tokenizer.encode(text).tolist() == checkpoint.tokenizer.encode(text).tolist()
    assert back.tokenizer.special_tokens == checkpoint.tokenizer.special_tokens
    assert back.chat_config.template == checkpoint.chat_config.template
    assert back.chat_config.generation_config == {"eos_token_id": END}


def test_8_bit_blocks_are_close_and_found_by_the_files_name(tmp_path: Path) -> None:
    checkpoint = make("llama")
    write_gguf(tmp_path / "m.gguf", checkpoint, "q8_0", "tiny")
    folder = find_model(tmp_path / "m.gguf")
    assert folder.name == "m-unpacked"
    back = load_model(folder)
    for name, weight in checkpoint.model.state_dict().items():
        found = back.model.state_dict()[name]
        assert (found - weight).abs().max() <= weight.abs().max() / 127 * 0.51
    made = (folder / "config.json").stat().st_mtime_ns
    assert find_model(tmp_path / "m.gguf") == folder
    assert (folder / "config.json").stat().st_mtime_ns == made  # not again
    write_gguf(tmp_path / "m.gguf", make("llama", seed=1), "q8_0", "tiny")
    assert not torch.equal(
        load_model(find_model(tmp_path / "m.gguf")).model.final_norm.weight, back.model.final_norm.weight
    )


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_a_vocabulary_comes_back(pre: str) -> None:
    tokenizer = make_tokenizer(pre)
    end, user = tokenizer.special("<|end|>"), tokenizer.special("<|user|>")
    chat = ChatConfig("t", {"bos_token": "<|user|>", "pad_token": "<|end|>"}, {"eos_token_id": [end, user]})
    entries = write_vocabulary(tokenizer, chat, 320)
    assert entries["ggml.pre"] == pre
    assert entries["ggml.tokens"][319] == "[PAD319]"
    assert [entries["ggml.eos_token_id"], entries["ggml.eot_token_id"]] == [end, user]
    assert entries["ggml.token_type"][end - 1 :] == [1, 3, 3, 4, *[5] * (320 - user - 2)]
    back, found = read_vocabulary(entries)
    for text in TEXTS:
        assert back.encode(text).tolist() == tokenizer.encode(text).tolist()
        assert back.decode(back.encode(text)) == text
    assert back.vocab_size == tokenizer.vocab_size
    assert back.special_tokens == tokenizer.special_tokens
    assert found.generation_config == {"eos_token_id": [end, user]}
    assert found.tokenizer_config == {"bos_token": "<|user|>", "eos_token": "<|end|>", "pad_token": "<|end|>"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mistral", "sliding_window": 16}, "GGUF's 'llama' has no place for window = 16"),
        ({"model_type": "gemma2", **GEMMA, "query_pre_attn_scalar": 99}, "no place for attention_scale"),
        ({"model_type": "olmo2"}, "models of type 'olmo2' cannot be exported to GGUF; supported: llama, mistral"),
        ({"model_type": "llama", "mlp_bias": True}, "no place for biases"),
        ({"model_type": "qwen2"}, "GGUF's 'qwen2' has no place for head_size = 32"),
    ],
    ids=str,
)
def test_what_a_file_cannot_say_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    table = {**SIZES, **changes}
    checkpoint = replace(make("llama"), model=Transformer(read_config(table, "")), hub_config=table)
    with pytest.raises(ValueError, match=message):
        write_gguf(tmp_path / "m.gguf", checkpoint, "f16", "tiny")
    assert not (tmp_path / "m.gguf").exists()


def test_a_tokenizer_that_llama_cpp_would_read_differently_is_refused() -> None:
    ours = train(["Once upon a time"], TokenizerSettings(vocab=270))
    with pytest.raises(ValueError, match="llama.cpp has no name for this tokenizer's rules"):
        write_vocabulary(ours, ChatConfig(), 300)
    with pytest.raises(ValueError, match="the model has 4 stop tokens, but GGUF has places for 3"):
        write_vocabulary(make_tokenizer(), ChatConfig(None, {}, {"eos_token_id": [1, 2, 3, 4]}), 320)


def test_a_model_that_fits_no_family_is_refused(tmp_path: Path) -> None:
    config = resolve(ModelSettings(depth=1, width=64, mlp="relu2"), 320)
    checkpoint = replace(make("llama"), model=Transformer(config), hub_config=None)
    with pytest.raises(ValueError, match="cannot be exported to GGUF"):
        write_gguf(tmp_path / "m.gguf", checkpoint, "f16", "tiny")


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match="not a complete GGUF file"):
        read_gguf(path)
    write_gguf(path, make("llama"), "f16", "tiny")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="not a complete GGUF file"):
        read_gguf(path)


def test_pairs_become_neighbours_and_come_back() -> None:
    rows = torch.arange(12)[:, None]  # 2 heads of size 6
    assert interleaved(rows, 2)[:, 0].tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert torch.equal(halved(interleaved(rows, 2), 2), rows)


LLAMA_CPP = """
import json, sys
from llama_cpp import Llama
path, ids, texts = json.loads(sys.stdin.read())
model = Llama(path, n_ctx=128, n_threads=1, n_threads_batch=1, verbose=False)
tokens = []
for token in model.generate(ids, temp=0.0, top_k=1):
    tokens.append(token)
    if len(tokens) == 24:
        break
encoded = [model.tokenize(text.encode(), add_bos=False, special=False) for text in texts]
print(json.dumps([tokens, encoded, model.metadata["tokenizer.chat_template"]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_writes_the_same_tokens(family: str, tmp_path: Path) -> None:
    """TUTELAGE_LLAMA_CPP names a Python that has llama-cpp-python, whose requirements conflict with ours."""
    python = os.environ.get("TUTELAGE_LLAMA_CPP")
    if python is None:
        pytest.skip("set TUTELAGE_LLAMA_CPP to a Python with llama-cpp-python")
    checkpoint = make(family)
    write_gguf(tmp_path / "m.gguf", checkpoint, "f16", "tiny")
    question = json.dumps([str(tmp_path / "m.gguf"), IDS, TEXTS[:3]])
    process = subprocess.run([python, "-c", LLAMA_CPP], input=question, capture_output=True, text=True, check=True)
    tokens, encoded, template = json.loads(process.stdout.splitlines()[-1])
    ids = list(IDS)
    for token in tokens:
        scores = logits(checkpoint.model, ids)[-1].log_softmax(-1)
        assert scores.max() - scores[token] < 0.05
        ids.append(token)
    assert encoded == [checkpoint.tokenizer.encode(text).tolist() for text in TEXTS[:3]]
    assert template == checkpoint.chat_config.template


@pytest.mark.slow
def test_llama_cpp_writes_the_same_tokens_from_a_real_model() -> None:
    """20 chat prompts; where they differ, the two tokens are nearly equally likely. TUTELAGE_REAL_MODEL names the
    folder of a published chat model."""
    script = Path(__file__).parents[3] / "benchmarks" / "peers" / "llama_cpp_parity.py"
    for variable in ("TUTELAGE_LLAMA_CPP", "TUTELAGE_REAL_MODEL"):
        if variable not in os.environ:
            pytest.skip(f"set {variable}: see benchmarks/peers/llama_cpp_parity.py")
    command = [sys.executable, str(script), os.environ["TUTELAGE_REAL_MODEL"]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["prompts"] == 20
    assert result["equal"] >= 10
