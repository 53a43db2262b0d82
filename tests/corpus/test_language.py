"""Languages: told right, with py3langid's own probabilities, in shares of the text, and by another model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.language import LanguageSettings, chunks, language, language_shares
from tutelage.records import Document
from tutelage.text.language import UNKNOWN, identifier

ENGLISH = "The house by the river was sold last week, and nobody in the village knows who bought it. "
GERMAN = "Das Haus am Fluss wurde letzte Woche verkauft, und niemand im Dorf weiß, wer es gekauft hat. "
JAPANESE = "川のそばの家は先週売られたが、誰が買ったのか村の誰も知らない。"


def run(settings: LanguageSettings, *texts: str) -> DocumentBatch:
    batch = DocumentBatch([Document(text, id=str(place)) for place, text in enumerate(texts)])
    language(settings)(batch)
    assert len(batch) + len(batch.dropped) == len(texts)
    return batch


def test_documents_are_described_and_dropped_by_reason() -> None:
    batch = run(LanguageSettings(keep=("en", "de")), ENGLISH, GERMAN, JAPANESE, "12 34", "")
    assert [document.facts["language"] for document in batch.documents] == ["en", "de"]
    assert all(float(document.facts["language_confidence"]) > 0.65 for document in batch.documents)
    assert [(one.document.id, one.reason, one.detail) for one in batch.dropped] == [
        ("2", "other language", "ja"),
        ("3", "other language", UNKNOWN),
        ("4", "other language", UNKNOWN),
    ]


def test_what_is_not_sure_is_dropped_with_its_probability() -> None:
    batch = run(LanguageSettings(confidence=0.9), "abc", ENGLISH)
    assert batch.texts == [ENGLISH]
    assert [one.reason for one in batch.dropped] == ["low language confidence"]
    assert 0 < float(batch.dropped[0].detail) < 0.9


def test_below_the_threshold_a_language_is_unknown() -> None:
    batch = run(LanguageSettings(confidence=0), ENGLISH, "abc", "12 34")
    assert [document.facts["language"] for document in batch.documents] == ["en", UNKNOWN, UNKNOWN]
    batch = run(LanguageSettings(confidence=0, unknown=0), "abc", "12 34")
    assert batch.documents[0].facts["language"] != UNKNOWN
    assert batch.documents[1].facts["language"] == UNKNOWN  # no feature of any language
    batch = run(LanguageSettings(keep=(UNKNOWN,), confidence=0), ENGLISH, "abc")
    assert batch.texts == ["abc"]
    with pytest.raises(SettingsError, match="unknown is 2; it must be from 0 to 1"):
        LanguageSettings(unknown=2)


def test_shares_are_of_characters_in_the_documents_language() -> None:
    mixed = "\n".join([ENGLISH * 6, GERMAN * 4])
    identify, _ = identifier()
    assert identify([mixed]).languages == ["en"]
    share = language_shares([mixed, ENGLISH, ""], ["en", "en", "en"], identify)
    assert share[0] == pytest.approx(len(ENGLISH) * 6 / (len(mixed) - 1))
    assert share[1:].tolist() == [1, 0]
    batch = run(LanguageSettings(share=0.9, confidence=0), mixed, ENGLISH)
    assert [one.reason for one in batch.dropped] == ["mixed languages"]
    assert batch.documents[0].facts["language_share"] == 1


def test_chunks_are_whole_lines_of_about_300_characters() -> None:
    text = "\n\n".join(["a" * 100] * 4 + ["b" * 500, "c"])
    assert [len(piece) for piece in chunks(text)] == [302, 100, 500, 1]
    assert chunks(" \n") == []


def test_a_fasttext_model_can_be_named(tmp_path: Path) -> None:
    import fasttext

    lines = tmp_path / "lines.txt"
    rows = [f"__label__en {ENGLISH}", f"__label__de {GERMAN}"] * 50
    lines.write_text("\n".join(rows), encoding="utf-8")
    # With fewer than 11 threads fastText leaves a part of its first weights unset.
    fasttext.train_supervised(str(lines), epoch=5, thread=11, verbose=0, dim=8).save_model(str(tmp_path / "model.bin"))
    batch = run(LanguageSettings(keep=("de",), confidence=0.5, model=str(tmp_path / "model.bin")), GERMAN, ENGLISH)
    assert [document.facts["language"] for document in batch.documents] == ["de"]
    assert [one.detail for one in batch.dropped] == ["en"]


def test_mistakes_are_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="confidence is 65"):
        LanguageSettings(confidence=65)
    with pytest.raises(ValueError, match="keep: the language model does not know 'english'"):
        language(LanguageSettings(keep=("english",)))
    with pytest.raises(ValueError, match=r"model: there is no file .*no\.bin"):
        language(LanguageSettings(model=str(tmp_path / "no.bin")))
    (tmp_path / "bad.bin").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.bin is not a fastText model"):
        language(LanguageSettings(model=str(tmp_path / "bad.bin")))


def test_each_language_has_its_least_confidence() -> None:
    texts = ["The keeper of the light rose early on each day of the year.", "Der Wärter stand an jedem Tag früh auf."]
    for confidences, kept in (({"en": 1.0}, 1), ({"de": 1.0}, 1), ({"en": 1.0, "de": 1.0}, 0), ({}, 2)):
        batch = DocumentBatch([Document(text) for text in texts])
        language(LanguageSettings(confidence=0.1, confidences=confidences))(batch)
        assert len(batch) <= kept if confidences else len(batch) == kept
    with pytest.raises(ValueError, match=r"confidences: the language model does not know 'german'"):
        language(LanguageSettings(confidences={"german": 0.9}))
    with pytest.raises(SettingsError, match=r"confidences.de is 9"):
        LanguageSettings(confidences={"de": 9})
