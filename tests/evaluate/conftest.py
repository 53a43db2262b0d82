from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from memorised_model import Planted, plant

from tutelage.batching.datasets import SplitLedgers, document_groups
from tutelage.batching.store import Store, write_store
from tutelage.model.hub import Checkpoint, save_model
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import ROLE_STREAM, Document
from tutelage.tokenizer import Tokenizer, TokenizerSettings, train

TEXTS = ["Grüße aus Köln", "a", "ein langer Satz mit vielen Worten darin", "日本"]


@pytest.fixture(scope="session")
def texts() -> Sequence[str]:
    return TEXTS


@pytest.fixture(scope="session")
def small_tokenizer() -> Tokenizer:
    """A tokenizer of those texts."""
    return train(TEXTS, TokenizerSettings(kind="bpe", vocab=290))


@pytest.fixture(scope="session")
def small_model(small_tokenizer: Tokenizer) -> Callable[[int], Transformer]:
    """Makes a model of random weights, by its seed."""

    def make(seed: int) -> Transformer:
        config = resolve(ModelSettings(depth=1, width=16, context=24), small_tokenizer.vocab_size)
        return initialise(Transformer(config), seed)

    return make


@pytest.fixture
def text_store(small_tokenizer: Tokenizer, tmp_path: Path) -> Store:
    """A store of those texts."""
    ledgers = SplitLedgers.of("documents")
    rows = [Document(text, str(number)) for number, text in enumerate(TEXTS)]
    groups = (group for _, group in document_groups(rows, small_tokenizer, 24, 0.0, ledgers))
    return write_store(tmp_path / "store", groups, ledgers.train, ROLE_STREAM)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a base model of random weights that reads any text."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train(TEXTS, TokenizerSettings(kind="bpe", vocab=290))
    config = resolve(ModelSettings(depth=1, width=16, context=512), tokenizer.vocab_size)
    save_model(folder, Checkpoint(initialise(Transformer(config), 0), tokenizer))
    return folder


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """A model that was trained on planted canaries and questions; see memorised_model.py."""
    return plant(tmp_path_factory.mktemp("canaries"))
