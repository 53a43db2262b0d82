"""What a model's folder holds, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tutelage.chat.render.config import ChatConfig
from tutelage.model.transformer import Transformer
from tutelage.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model together with the tokenizer it reads and writes with, and what its folder says of chats.

    model:      where its architecture is none of ours, a `ForeignModel`, which answers to the same calls.
    hub_config: the config.json of its family as it was read; None for a model made here.
    """

    model: Transformer
    tokenizer: Tokenizer
    source: ChatConfig = field(default_factory=ChatConfig)
    hub_config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self.model.tokens = self.tokenizer.vocab_size
