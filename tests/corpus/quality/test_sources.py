"""What is learned from files is learned once, and again when they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.corpus.quality.sources import learned, read_texts


def test_texts_of_any_file_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": " "}\n{"other": 1}\n', encoding="utf-8")
    (tmp_path / "b.txt").write_text("two", encoding="utf-8")
    assert read_texts([str(tmp_path / "a.jsonl"), str(tmp_path / "b.txt")], "positives") == ["one", "two"]
    (tmp_path / "c.jsonl").write_text('{"other": 1}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"positives: there is no text in .*c\.jsonl; 1 rows: "):
        read_texts([str(tmp_path / "c.jsonl")], "positives")


def test_it_is_learned_again_when_a_file_or_a_setting_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "source.txt"
    times = []

    def learn(path: Path) -> None:
        times.append(path)
        path.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")

    source.write_text("one", encoding="utf-8")
    first = learned("what", [str(source)], learn)
    assert learned("what", [str(source)], learn) == first
    assert len(times) == 1
    learned("another", [str(source)], learn)
    source.write_text("another text", encoding="utf-8")
    assert learned("what", [str(source)], learn).read_text(encoding="utf-8") == "another text"
    assert len(times) == 3
