"""Models that only transformers holds, behind the interface of the one transformer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tutelage.batching.packing import collate
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hf_model import HFModel
from tutelage.model.hub import extend_vocabulary, load_config, load_model, save_model, with_context
from tutelage.model.sizes import parameter_count
from tutelage.records import Example
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train.checkpoint import TrainState, load_checkpoint, save_checkpoint
from tutelage.train.losses import cross_entropy
from tutelage.train.optimizers import Optimizer, OptimizerSettings

VOCAB = 30
TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
# Parallel blocks and a turned part of each head; scales of its own on logits, a tied head.
KINDS: dict[str, dict[str, Any]] = {
    "gpt_neox": {**SIZES, "rotary_pct": 0.5},
    "granite": {**SIZES, "logits_scaling": 3.0, "residual_multiplier": 0.5, "tie_word_embeddings": True},
}


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(request.param, **KINDS[request.param])
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    model.save_pretrained(tmp_path / "model")
    TOKENIZER.save(tmp_path / "model")
    return tmp_path / "model", model


def rows(lengths: list[int]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, VOCAB, length).astype(np.int32) for length in lengths]


def test_loss_and_gradients_are_those_of_each_text_alone(made: tuple[Path, Any]) -> None:
    folder, theirs = made
    ours = load_model(folder).model
    loss = cross_entropy(ours, collate([(Example(row),) for row in rows([20, 3, 17])]))[0]["loss"]
    loss.backward()
    expected = torch.zeros(())
    for row in rows([20, 3, 17]):
        ids = torch.from_numpy(row).long()
        logits = theirs(ids[None]).logits[0, :-1]
        expected = expected + torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum")
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    grads = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, grads[name.removeprefix("inner.")].grad, rtol=1e-3, atol=1e-4)


def test_decoding_is_that_of_each_prompt_alone(made: tuple[Path, Any]) -> None:
    """Prompts of several lengths, some of which end early and leave the batch."""
    folder, theirs = made
    model, prompts, settings = load_model(folder).model, rows([9, 2, 14, 5]), SamplingSettings(max_tokens=12)
    whole = generate(model, prompts, frozenset(), settings)
    stop = frozenset({whole[0].tokens[3], whole[1].tokens[5]})
    found = generate(model, prompts, stop, settings)
    assert found[0].finish_reason == found[1].finish_reason == "stop"
    for one, prompt in zip(found, prompts, strict=True):
        tokens = prompt.tolist()
        for token, logprob in zip(one.content, one.logprobs[: len(one.content)], strict=True):
            with torch.no_grad():
                scores = theirs(torch.tensor([tokens])).logits[0, -1].log_softmax(dim=-1)
            assert int(scores[: TOKENIZER.vocab_size].argmax()) == token
            assert logprob == pytest.approx(float(scores[token]), abs=1e-4)
            tokens.append(token)


def test_saved_weights_are_the_loaded_ones_with_and_without_new_tokens(made: tuple[Path, Any], tmp_path: Path) -> None:
    folder, theirs = made
    assert parameter_count(load_config(folder)) == theirs.num_parameters()
    save_model(tmp_path / "again", load_model(folder))
    before, after = (load_file(where / "model.safetensors") for where in (folder, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    names = tuple(f"<|{number}|>" for number in range(VOCAB))  # more than there are spare rows
    extended = extend_vocabulary(load_model(folder), names, seed=1)
    known = TOKENIZER.vocab_size
    assert extended.model.config.vocab == known + VOCAB
    save_model(tmp_path / "more", extended)
    more = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "more").eval()
    ids = torch.arange(20)[None] % known
    with torch.no_grad():
        kept, old = more(ids).logits[..., :known], theirs(ids).logits[..., :known]
    torch.testing.assert_close(kept, old, rtol=1e-5, atol=1e-5)
    again = load_model(tmp_path / "more")
    assert isinstance(again.model, HFModel)
    assert again.model.config == extended.model.config
    assert parameter_count(again.model.config) == more.num_parameters()


def test_training_resumes_with_tied_matrices(made: tuple[Path, Any], tmp_path: Path) -> None:
    model = load_model(made[0]).model
    optimizer = Optimizer(model, OptimizerSettings(), lr=0.01)
    loss = cross_entropy(model, collate([(Example(row),) for row in rows([9, 4])]))[0]["loss"]
    loss.backward()
    optimizer.step(1.0, optimizer.gradient_norm())
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, TrainState(1, None, "this"))
    again = load_model(made[0]).model
    assert load_checkpoint(tmp_path / "checkpoint", again, Optimizer(again, OptimizerSettings(), lr=0.01), "this")
    trained, found = dict(model.named_parameters()), dict(again.named_parameters())
    assert trained.keys() == found.keys()
    assert all(torch.equal(trained[name], found[name]) for name in trained)


def test_errors_are_one_sentence(made: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = made
    with pytest.raises(
        ValueError, match="^a context of 65 is more than the 64 tokens of the model's transformers-backed positions$"
    ):
        with_context(load_model(folder), 65)
    tensors = load_file(folder / "model.safetensors")
    norm = next(name for name in tensors if "norm" in name)
    broken = tensors | {norm: torch.full_like(tensors[norm], float("nan"))}
    save_file(broken, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"model: .*norm.* contains NaN or infinity, so the model is unusable"):
        load_model(folder)
    del tensors[norm]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"model lacks .*norm.*; its weights do not match its config.json$"):
        load_model(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="the weights are in pytorch_model.bin, a pickle"):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "nothing-like-it"}))
    with pytest.raises(
        ValueError, match="transformers has no causal language model of type 'nothing-like-it' either"
    ) as error:
        load_config(folder)
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"built in: llama, .* pip install 'tutelage\[hub\]'$"):
        load_config(folder)
