"""What `--speculate` accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
from served import tiny_checkpoint

from tutelage.engine.draft_model import ModelDrafter
from tutelage.engine.engine import EngineSettings
from tutelage.engine.ngram_drafts import NgramDrafter
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.hub import save_model
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.serve.speculate import MOST_TOKENS, make_engine
from tutelage.tokenizer import TokenizerSettings, train


def test_n_grams_a_smaller_model_or_nothing(tmp_path: Path) -> None:
    checkpoint, settings = tiny_checkpoint(), EngineSettings(max_rows=3)
    assert make_engine(checkpoint, settings, None).speculation is None
    lookup = make_engine(checkpoint, settings, "ngram")
    assert lookup.speculation is not None
    assert isinstance(lookup.speculation.drafter, NgramDrafter)
    assert (lookup.settings.speculate, lookup.settings.max_rows) == (MOST_TOKENS, 3)
    save_model(tmp_path / "draft", checkpoint)
    drafted = make_engine(checkpoint, settings, str(tmp_path / "draft"))
    assert drafted.speculation is not None
    assert isinstance(drafted.speculation.drafter, ModelDrafter)


def test_a_draft_model_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    tokenizer = train(["Once upon a time"], TokenizerSettings(vocab=270))
    model = initialise(Transformer(resolve(ModelSettings(depth=1, width=64), tokenizer.vocab_size)), seed=0)
    save_model(tmp_path / "other", Checkpoint(model, tokenizer))
    with pytest.raises(ValueError, match="has another tokenizer than the model; a draft model needs the same one"):
        make_engine(tiny_checkpoint(), EngineSettings(), str(tmp_path / "other"))
