"""What families save for the backward pass, and the FLOPs of their windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from family_models import MIXTURES, make
from saved_bytes import saved_bytes

from tutelage.batching.packing import collate
from tutelage.model import logprobs
from tutelage.model.hub import load_model
from tutelage.model.memory import activation_bytes
from tutelage.model.sizes import (
    flops_per_token,
)
from tutelage.model.transformer import Transformer
from tutelage.records import Example
from tutelage.train.losses import cross_entropy


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2-window", "gemma2", "gemma3", "olmo2", *MIXTURES])
def test_activation_bytes_are_what_autograd_saves(kind: str, tmp_path: Path) -> None:
    make(tmp_path, kind)
    config = load_model(tmp_path).model.config
    changed: dict[str, Any] = {"vocab": logprobs.CHUNK_LOGITS // (4 * 63) + 1}  # logits made in chunks
    if kind not in MIXTURES:  # wide enough that what is kept once a token, and once a window, is little
        changed |= {"width": 64, "head_size": 16, "mlp_width": 192}
    config = msgspec.structs.replace(config, **changed)
    model = Transformer(config)
    example = Example(np.arange(64, dtype=np.int32))
    found = saved_bytes(model, lambda: cross_entropy(model, collate([(example,)] * 4)))
    assert found == pytest.approx(activation_bytes(config, 4 * 64), rel=0.05)


def test_flops_of_sliding_window_layers_count_attended_tokens(tmp_path: Path) -> None:
    make(tmp_path, "gemma3")
    config = load_model(tmp_path).model.config
    whole = msgspec.structs.replace(config, window=None, windowed=())
    for segment in (4, 40):
        pairs = [sum(min(i + 1, window) for i in range(segment)) for window in (segment, 6)]
        saved = 12 * config.heads * config.head_size * len(config.windowed) * (pairs[0] - pairs[1]) / segment
        found = flops_per_token(whole, segment) - flops_per_token(config, segment)
        # Half a token of each row apart: a token sees itself, which half its segment in the mean leaves out.
        assert found == pytest.approx(saved, abs=12 * config.heads * config.head_size * len(config.windowed))
        assert (found > 0) == (segment > 6)
