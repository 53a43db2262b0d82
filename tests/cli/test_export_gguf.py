from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.model.checkpoint import Checkpoint
from tutelage.model.hub import save_model
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.tokenizer import TokenizerSettings, train

pytest.importorskip("gguf", reason="the extra gguf is not installed")


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    tokenizer = train(["Once upon a time"], TokenizerSettings(vocab=270))
    model = initialise(Transformer(resolve(ModelSettings(depth=1, width=64), tokenizer.vocab_size)), seed=0)
    save_model(tmp_path / "m", Checkpoint(model, tokenizer))

    def told(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["export", str(tmp_path / "m"), *arguments])
        assert result.exit_code
        return result.output

    assert "leave out --merge, --dtype and --push" in told("--gguf", "f16", "--merge")
    assert "llama.cpp has no name for this tokenizer's rules" in told("--gguf", "f16")
    (tmp_path / "m-q8_0.gguf").write_text("")
    assert "m-q8_0.gguf exists already; give another file: --out FILE.gguf" in told("--gguf", "q8_0")
