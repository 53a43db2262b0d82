"""Runs of the stage kind "mlm"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from tiny_recipe import START, run_quietly
from tokenizers import models, pre_tokenizers, processors

from tutelage.batching.loader import micro_batches
from tutelage.batching.masking import MASK, make_masking
from tutelage.config import SettingsError
from tutelage.engine.engine import Engine
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.hub import load_model, save_model
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.process import Stopped
from tutelage.recipe import load_recipe
from tutelage.records import Example
from tutelage.runner import Run
from tutelage.stages import run as stage_run
from tutelage.stages.mlm import both_ways
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train.loop import count, mean
from tutelage.train.losses import CROSS_ENTROPY

ENCODER = """
[stages.encoder]
kind = "mlm"
data = { world = 1 }
steps = 6
batch_tokens = 600
micro_tokens = 300
evaluate_every = 3
checkpoint_seconds = 0
"""


def recipe(folder: Path, stages: str) -> Path:
    path = folder / "mlm.toml"
    path.write_text(START + stages)
    return path


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "encoder" / "train.jsonl").read_text().splitlines()]


def test_a_run_learns_and_one_that_was_stopped_is_the_same_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe(tmp_path, ENCODER)
    run_quietly(Run(load_recipe(path), tmp_path / "whole"))
    lines = log(tmp_path / "whole")
    assert lines[-1]["held_out.world"] < lines[2]["held_out.world"]
    assert lines[-1]["trained_tokens"] == pytest.approx(0.15 * lines[-1]["tokens"], rel=0.1)
    model = load_model(tmp_path / "whole" / "encoder").model
    assert not model.config.causal
    with pytest.raises(ValueError, match="reads in both directions"):
        Engine(model)

    calls = iter(range(100))
    with monkeypatch.context() as patch:
        real = stage_run.CheckpointHook.__call__

        def stopping(self: Any, report: Any) -> None:
            real(self, report)
            if next(calls) == 3:
                raise Stopped("here")

        patch.setattr(stage_run.CheckpointHook, "__call__", stopping)
        with pytest.raises(Stopped):
            run_quietly(Run(load_recipe(path), tmp_path / "stopped"))
    run_quietly(Run(load_recipe(path), tmp_path / "stopped"))
    for file in ("model.safetensors", "train.jsonl"):
        assert (tmp_path / "stopped" / "encoder" / file).read_bytes() == (
            tmp_path / "whole" / "encoder" / file
        ).read_bytes()


def test_pain_2_eight_micro_batches_of_one_are_one_of_eight() -> None:
    """Also where rows have unequal numbers of labels."""
    tokenizer = train(["abcdefgh"], TokenizerSettings(kind="char")).extend((MASK,))
    config = msgspec.structs.replace(resolve(ModelSettings(depth=2, width=32), tokenizer.vocab_size), causal=False)
    random = np.random.default_rng(0)
    groups = [(Example(random.integers(0, 8, length).astype(np.int32)),) for length in (40, 3, 9, 40, 25, 2, 31, 17)]
    masked = make_masking(tokenizer, 0.15, seed=0).apply(groups, None)
    gradients = []
    for micro_tokens in (1000, 40):
        model = initialise(Transformer(config), seed=0).double()
        batches = micro_batches(masked, micro_tokens)
        *_, denominators = count(batches, CROSS_ENTROPY)
        for batch in batches:
            mean(CROSS_ENTROPY.function(model, batch)[0], denominators).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert len(batches) > 3
    for one, eight in zip(*gradients, strict=True):
        torch.testing.assert_close(one, eight, rtol=0, atol=1e-12)


def make_bert(folder: Path) -> None:
    """A BERT of random weights with a WordPiece tokenizer of single characters."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [chr(code) for code in range(33, 127)]
    vocab = {token: number for number, token in enumerate([*marks, *characters, *("##" + c for c in characters)])}
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(marks)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(vocab), max_position_embeddings=128, **sizes)
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    backend.save(str(folder / "tokenizer.json"))


def test_a_published_bert_is_trained_further_and_loads_in_transformers(tmp_path: Path) -> None:
    make_bert(tmp_path / "bert")
    further = ENCODER.replace('kind = "mlm"', 'kind = "mlm"\nfrom = "bert"')
    path = recipe(tmp_path, f'[stages.bert]\nkind = "model"\npath = "{tmp_path / "bert"}"\n{further}')
    run_quietly(Run(load_recipe(path), tmp_path / "run"))
    lines = log(tmp_path / "run")
    assert lines[-1]["held_out.world"] < lines[2]["held_out.world"]
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path / "run" / "encoder").eval()
    ours = load_model(tmp_path / "run" / "encoder")
    ids = torch.tensor([2, *ours.tokenizer.encode("some text"), 3])
    with torch.no_grad():
        hidden = ours.model.hidden(ids, torch.arange(len(ids)), ours.model.within_segments((len(ids),)))
        found, wanted = ours.model.logits(hidden), theirs(input_ids=ids[None]).logits[0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_causal_model_becomes_one_that_reads_both_ways(tmp_path: Path) -> None:
    tokenizer = train(["abcdefgh"], TokenizerSettings(kind="char")).extend((MASK,))
    model = initialise(Transformer(resolve(ModelSettings(depth=1, width=32), tokenizer.vocab_size)), seed=0)
    made = both_ways(Checkpoint(model, tokenizer, hub_config={"model_type": "llama"}))
    assert not made.model.config.causal and made.hub_config is None
    assert all(torch.equal(a, b) for a, b in zip(made.model.parameters(), model.parameters(), strict=True))
    save_model(tmp_path, made)
    assert load_model(tmp_path).model.config == made.model.config


def test_a_share_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = recipe(tmp_path, ENCODER + "mask_share = 1.0\n")
    with pytest.raises(SettingsError, match="mask_share is 1.0; it is a share of the tokens"):
        load_recipe(path)
