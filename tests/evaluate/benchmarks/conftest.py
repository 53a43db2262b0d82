from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.model.hub import Checkpoint
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings, train

TEXTS = ["Question: Where was Nora born?\nAnswer: in Berlin. 0123456789", "A. B. C. D. The answer is 7."] * 8


def make_checkpoint(seed: int = 0, context: int = 2048, chats: bool = True) -> Checkpoint:
    """A random model that reads any text; its weights are large, so that the next token depends on those before it."""
    tokenizer = train(TEXTS, TokenizerSettings(vocab=300), (END_OF_TEXT,))
    tokenizer = tokenizer.extend(TEMPLATE_TOKENS) if chats else tokenizer
    shape = ModelSettings(depth=2, width=32, heads=4, context=context)
    model = initialise(Transformer(resolve(shape, tokenizer.vocab_size)), seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return Checkpoint(model, tokenizer)


@pytest.fixture(scope="session")
def chat_model() -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(scope="session")
def base_model() -> Checkpoint:
    return make_checkpoint(chats=False)


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[[str, Sequence[Mapping[str, Any]]], Path]:
    """Writes JSON lines into the test's data folder; returns the folder."""

    def write(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / "data"

    return write
