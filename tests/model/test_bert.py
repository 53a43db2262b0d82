"""BERT against transformers, on small models of random weights."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tutelage.batching.packing import collate
from tutelage.engine.engine import Engine
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.families import FAMILIES
from tutelage.model.hub import extend_vocabulary, load_model, save_model
from tutelage.model.sizes import ModelSettings, parameter_count, resolve
from tutelage.model.tensor_map import split_tensor
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import TOKEN_TYPES, Batch, Example
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train.losses import cross_entropy

VOCAB = 61
TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
LENGTHS = [40, 3, 17, 33, 17, 1]


def make(folder: Path, kind: type = transformers.BertForMaskedLM, **changed: object) -> transformers.PreTrainedModel:
    torch.manual_seed(5)
    model = kind(transformers.BertConfig(**{**SIZES, **changed}))
    with torch.no_grad():
        for parameter in model.parameters():  # gains and biases too, which would be ones and zeros
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    model.eval().save_pretrained(folder)
    TOKENIZER.save(folder)
    return model


def examples() -> list[Example]:
    """Texts with token types; about a sixth of the tokens has a label. None has token 0, which in transformers is
    padding and has no gradient."""
    random = np.random.default_rng(1)
    return [
        Example(
            tokens=random.integers(1, VOCAB, length).astype(np.int32),
            targets=random.integers(0, VOCAB, length).astype(np.int32),
            weights=(random.random(length) < (1 if length == 1 else 0.15)).astype(np.float32),
            streams={TOKEN_TYPES: (np.arange(length) > length // 2).astype(np.uint8)},
        )
        for length in LENGTHS
    ]


def our_logits(model: Transformer, batch: Batch) -> list[torch.Tensor]:
    types_N = batch.streams[TOKEN_TYPES]
    hidden_ND = model.hidden(batch.tokens_N, batch.positions_N, model.within_segments(batch.lengths), types_N)
    return list(model.logits(hidden_ND).split(batch.lengths))


def their_logits(model: transformers.PreTrainedModel, example: Example) -> torch.Tensor:
    types = torch.from_numpy(example.streams[TOKEN_TYPES]).long()
    return model(input_ids=torch.from_numpy(example.tokens).long()[None], token_type_ids=types[None]).logits[0]


@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
def test_logits_and_gradients_are_those_of_transformers(act: str, tmp_path: Path) -> None:
    """Packed at once, against each text alone."""
    theirs, ours = make(tmp_path, hidden_act=act), load_model(tmp_path).model
    rows = examples()
    batch = collate([(row,) for row in rows], share=True)
    logits = [their_logits(theirs, row) for row in rows]
    for found, wanted in zip(our_logits(ours, batch), logits, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert logits[0].std() > 0.1
    loss = cross_entropy(ours, batch)[0]["loss"]
    loss.backward()
    expected = torch.zeros(())
    for row, logits_TV in zip(rows, logits, strict=True):
        trained = torch.from_numpy(row.weights > 0)
        targets = torch.from_numpy(row.targets).long()
        expected = expected + torch.nn.functional.cross_entropy(logits_TV[trained], targets[trained], reduction="sum")
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    wanted_grads = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        for called, grad in split_tensor(FAMILIES["bert"].modules, ours.config, name, parameter.grad).items():
            wanted_grad = wanted_grads[called]
            assert (grad - wanted_grad).abs().max() < 1e-4 * wanted_grad.abs().max() + 1e-5, name


def test_saved_weights_are_the_loaded_ones_bit_for_bit(tmp_path: Path) -> None:
    theirs, checkpoint = make(tmp_path / "in"), load_model(tmp_path / "in")
    save_model(tmp_path / "out", checkpoint)
    before, after = (load_file(tmp_path / where / "model.safetensors") for where in ("in", "out"))
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == json.loads(
        (tmp_path / "in" / "config.json").read_text()
    )
    assert load_model(tmp_path / "out").model.config == checkpoint.model.config
    again = transformers.BertForMaskedLM.from_pretrained(tmp_path / "out")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), theirs.parameters(), strict=True))
    assert parameter_count(checkpoint.model.config) == theirs.num_parameters()


def test_a_pre_training_checkpoint_with_the_first_names_loads(tmp_path: Path) -> None:
    """Those of 2018 have a pooler, a next-sentence head, and gamma and beta in place of weight and bias."""
    theirs = make(tmp_path, transformers.BertForPreTraining)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
    }
    assert any(name.startswith("bert.pooler") for name in old) and any("gamma" in name for name in old)
    save_file(old, tmp_path / "model.safetensors", {"format": "pt"})
    row = examples()[0]
    types = torch.from_numpy(row.streams[TOKEN_TYPES]).long()[None]
    wanted = theirs(input_ids=torch.from_numpy(row.tokens).long()[None], token_type_ids=types).prediction_logits[0]
    found = our_logits(load_model(tmp_path).model, collate([(row,)]))[0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"is_decoder": True}, "reads from left to right"),
        ({"position_embedding_type": "relative_key"}, "positions are of type 'relative_key'"),
        ({"tie_word_embeddings": False}, "is not tied"),
    ],
)
def test_what_is_not_supported_is_refused_in_a_sentence(
    changed: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    make(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(ValueError, match=sentence):
        load_model(tmp_path)


def test_a_model_that_reads_both_ways_neither_writes_nor_grows(tmp_path: Path) -> None:
    make(tmp_path)
    checkpoint = load_model(tmp_path)
    with pytest.raises(ValueError, match="reads in both directions, so it cannot write"):
        Engine(checkpoint.model)
    full = Checkpoint(checkpoint.model, train([chr(97 + i) for i in range(VOCAB - 1)], TokenizerSettings(kind="char")))
    with pytest.raises(ValueError, match=r"lacks <\|mask\|>"):
        extend_vocabulary(full, ("<|mask|>",), seed=0)


def test_every_token_sees_every_other_of_its_segment_alone() -> None:
    """Also of a model of our own sizes; equal beginnings are not shared, as what follows them differs."""
    settings = ModelSettings(depth=1, width=32, heads=4, kv_heads=2, context=32)
    model = initialise(Transformer(msgspec.structs.replace(resolve(settings, VOCAB), causal=False)), seed=0)
    tokens = np.arange(12, dtype=np.int32)
    changed = tokens.copy()
    changed[-1] = 50
    targets = np.zeros(12, np.int32)
    with torch.no_grad():
        pair = collate([(Example(tokens, targets=targets),), (Example(changed, targets=targets),)], share=True)
        first, second = model(pair).split(12)
        alone = model(collate([(Example(tokens, targets=targets),)]))
    assert bool((first - second).abs().min() > 0)
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-6)
