"""A model folder in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.chat import ChatConfig
from tutelage.model.transformer import Transformer
from tutelage.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model with its tokenizer and chat settings.

    model:      an `HFModel`, which has the same interface, if the architecture is not built in.
    hub_config: the config.json of its family as it was loaded; None for a model trained from scratch.
    source:     the folder it was loaded from; the base's, for an adapter.
    """

    model: Transformer
    tokenizer: Tokenizer
    chat_config: ChatConfig = field(default_factory=ChatConfig)
    hub_config: Mapping[str, Any] | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        self.model.token_count = self.tokenizer.vocab_size
