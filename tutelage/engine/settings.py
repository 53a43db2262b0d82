"""Settings of an engine."""

from __future__ import annotations

from typing import Literal

from tutelage.config import Settings


class EngineSettings(Settings, frozen=True, kw_only=True):
    """How much an engine holds and does at once.

    max_rows:     most requests that run at once.
    pages:        size of the key-value cache in pages of 16 tokens; None: enough for `max_rows` full contexts.
    chunk_tokens: most tokens that one step reads. Smaller values shorten the wait between two tokens of an answer
                  while prompts are read; larger ones read prompts faster.
    queue:        most requests that may wait; None: any number.
    prefix_cache: whose keys and values are kept for later requests with the same beginning: of prompts, of prompts and
                  answers, or none.
    min_prefix:   a shorter common beginning is computed again: copying and resuming would take longer.
    int8:         multiply with 8-bit weights (`model.quantization`): faster for one request, less exact.
    speculate:    most tokens that are guessed for a request in a step (`speculation`): from its own text, or by the
                  engine's draft model; 0: none. Guessing stops by itself where it does not pay.
    """

    max_rows: int = 256
    pages: int | None = None
    chunk_tokens: int = 2048
    queue: int | None = None
    prefix_cache: Literal["none", "prompts", "all"] = "all"
    min_prefix: int = 64
    int8: bool = False
    speculate: int = 0

    def __post_init__(self) -> None:
        for name in ("max_rows", "pages", "chunk_tokens", "queue"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if self.speculate < 0:
            raise ValueError(f"speculate is {self.speculate}; it must be at least 0")
