from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tutelage.evaluate import choices
from tutelage.evaluate.choices import sequence_scores
from tutelage.evaluate.result_cache import ResultCache, cache_key
from tutelage.model.transformer import Transformer
from tutelage.records import Example

EXAMPLE = Example(np.array([1, 2, 3], np.int32), np.array([0, 0, 1], np.float32))


def test_values_survive_a_killed_run(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cache.jsonl"
    with ResultCache(path) as cache:
        cache.put("a", (-1.5, True))
    with path.open("ab") as file:
        file.write(b'["b",[-2.0,')
    with ResultCache(path) as cache:
        assert cache.values == {"a": [-1.5, True]}
        cache.put("c", "text")
    with ResultCache(path) as cache:
        assert cache.values == {"a": [-1.5, True], "c": "text"}


def test_a_key_holds_weights_ids_and_settings() -> None:
    ids = np.array([1, 2], np.int32)
    keys = {
        cache_key("w", ids),
        cache_key("v", ids),
        cache_key("w", ids[::-1]),
        cache_key("w", ids, 0.5),
        cache_key("w", np.array([1, 2, 0])),
    }
    assert len(keys) == 5
    assert cache_key("w", ids) == cache_key("w", ids.astype(np.int64))


def test_pain_e15_a_cache_never_gives_another_models_scores(
    small_model: Callable[[int], Transformer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ResultCache(tmp_path / "cache.jsonl") as cache:
        first = sequence_scores(small_model(0), [EXAMPLE], cache)
        second = sequence_scores(small_model(1), [EXAMPLE], cache)
        assert first != second
    assert second == sequence_scores(small_model(1), [EXAMPLE])
    monkeypatch.setattr(choices, "score_sequences", lambda *arguments: pytest.fail("scored again"))
    with ResultCache(tmp_path / "cache.jsonl") as cache:
        assert sequence_scores(small_model(0), [EXAMPLE] * 2, cache) == first * 2
