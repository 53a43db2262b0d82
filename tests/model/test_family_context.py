"""Longer contexts of published families."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from family_models import SIZES, TOKENIZER, assert_close, make, packed_logits, padded_logits, texts

from tutelage.model.hub import Checkpoint, load_model, save_model, with_context
from tutelage.model.sizes import (
    ModelSettings,
    resolve,
)
from tutelage.model.transformer import Transformer, initialise


def test_a_longer_context_keeps_the_original_context_of_rope_scaling(tmp_path: Path) -> None:
    """A missing original context means the present one."""
    settings = {**SIZES, "rope_scaling": {"rope_type": "yarn", "factor": 2.0}}
    config = transformers.AutoConfig.for_model("qwen2", **settings)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    TOKENIZER.save(tmp_path)
    table = json.loads((tmp_path / "config.json").read_text())
    table["rope_parameters"].pop("original_max_position_embeddings")
    (tmp_path / "config.json").write_text(json.dumps(table))
    longer = with_context(load_model(tmp_path), 256)
    save_model(tmp_path / "longer", longer)
    again = load_model(tmp_path / "longer").model
    assert again.config == longer.model.config
    assert again.config.context == 256
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "longer")
    rows = texts([200])
    assert_close(packed_logits(again, rows)[0], padded_logits(theirs, rows)[0])


@pytest.mark.parametrize("kind", ["gpt2", "phi3-longrope"])
def test_positions_that_cannot_be_extended_are_one_sentence(kind: str, tmp_path: Path) -> None:
    make(tmp_path, kind)
    name = "learned" if kind == "gpt2" else "LongRoPE"
    with pytest.raises(
        ValueError, match=f"^a context of 65 is more than the 64 tokens of the model's {name} positions$"
    ):
        with_context(load_model(tmp_path), 65)


@pytest.mark.parametrize("kind", ["llama", "qwen3-yarn", "deepseek_v3", "gpt_oss"])
def test_pain_17_a_context_extended_by_yarn_is_that_of_transformers(kind: str, tmp_path: Path) -> None:
    """Two steps give the frequencies of one. The saved model has the same table, and its original context."""
    make(tmp_path, kind)
    before = load_model(tmp_path)
    steps = with_context(with_context(before, 128, "yarn"), 256, "yarn")
    once = with_context(before, 256, "yarn")
    assert steps.model.config == once.model.config
    assert not torch.equal(steps.model.rotations[:, :64], before.model.rotations)
    save_model(tmp_path / "longer", steps)
    again = load_model(tmp_path / "longer").model
    assert again.config == steps.model.config
    assert torch.equal(again.rotations, steps.model.rotations)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "longer")
    row = texts([200])
    assert_close(packed_logits(again, row)[0], padded_logits(theirs, row)[0])


def test_a_model_trained_here_keeps_yarn(tmp_path: Path) -> None:
    model = initialise(
        Transformer(resolve(ModelSettings(depth=1, width=32, heads=2, context=32), TOKENIZER.vocab_size)), 0
    )
    longer = with_context(Checkpoint(model, TOKENIZER), 64, "yarn")
    save_model(tmp_path, longer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    row = [torch.arange(60) % TOKENIZER.vocab_size]
    assert_close(packed_logits(longer.model, row)[0], padded_logits(theirs, row)[0])


def test_positions_scaled_in_another_way_are_not_extended_by_yarn(tmp_path: Path) -> None:
    make(tmp_path, "llama3")
    with pytest.raises(
        ValueError, match='^rope = "yarn" extends plain rotary positions or those of YaRN, and the model'
    ):
        with_context(load_model(tmp_path), 128, "yarn")
