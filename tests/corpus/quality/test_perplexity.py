"""Perplexity: text like what was learned surprises less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.quality.perplexity import (
    PerplexitySettings,
    learn_perplexity,
    normal_lines,
    perplexities,
    perplexity,
)
from tutelage.records import Document
from tutelage.tokenizer import load

TEXT = "The river rises in the hills and flows through the old town to the sea.\nIt has a mill, a church and 3 inns.\n"


def test_text_like_what_was_learned_surprises_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "wanted.txt").write_text(TEXT * 20, encoding="utf-8")
    settings = PerplexitySettings(positives=(str(tmp_path / "wanted.txt"),), vocabulary=400)
    batch = DocumentBatch([Document(text) for text in (TEXT, TEXT.upper(), "qx zzk 99 $$ %%\n" * 3, "", "\ud800")])
    perplexity(settings)(batch)
    found = [document.facts.get("perplexity") for document in batch.documents]
    assert isinstance(found[0], float) and found[0] == found[1]  # cases are all one
    assert isinstance(found[2], float) and found[2] > 50 * found[0]
    assert found[3] is None
    limited = PerplexitySettings(positives=settings.positives, vocabulary=400, at_most=2 * found[0])
    perplexity(limited)(batch)
    assert {one.reason for one in batch.dropped} == {"perplexity too high"}
    assert [document.text for document in batch.documents] == [TEXT, TEXT.upper(), ""]
    assert len(list((tmp_path / "cache" / "models").iterdir())) == 1


def test_every_line_has_one_end(tmp_path: Path) -> None:
    from tutelage.corpus.quality.ngrams import load_ngrams

    learn_perplexity([TEXT * 5], tmp_path / "model", 300)
    tokenizer, model = load(tmp_path / "model"), load_ngrams(tmp_path / "model" / "ngrams.safetensors")
    one, other = normal_lines(TEXT)
    logs = model.log_probabilities(tokenizer.encode_batch([one, other]))
    assert len(logs) == sum(map(len, tokenizer.encode_batch([one, other]))) + 2
    np.testing.assert_allclose(perplexities([TEXT], tokenizer, model), [np.exp(-logs.mean())])


def test_lines_are_read_in_small_letters_without_digits() -> None:
    assert normal_lines("  In 1984:\n\n A\ud800 ") == ["in 0000:", "a?"]


def test_mistakes_are_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="or positives to train one"):
        PerplexitySettings()
    with pytest.raises(SettingsError, match="order is 0"):
        PerplexitySettings(model="m", order=0)
    with pytest.raises(ValueError, match="nowhere"):
        perplexity(PerplexitySettings(model=str(tmp_path / "nowhere")))
