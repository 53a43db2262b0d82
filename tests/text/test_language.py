"""Scripts and languages: identified right, with py3langid's own probabilities."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from tutelage.text.language import identifier, languages, script_of

ENGLISH_TEXT = "The house by the river was sold last week, and nobody in the village knows who bought it. "
GERMAN = "Das Haus am Fluss wurde letzte Woche verkauft, und niemand im Dorf weiß, wer es gekauft hat. "
JAPANESE_TEXT = "川のそばの家は先週売られたが、誰が買ったのか村の誰も知らない。"

ENGLISH, RUSSIAN = "Where does the ferry go in the morning?", "Паром утром уходит на остров у моря."
CHINESE, JAPANESE = "这艘渡轮每天早上八点都会离开港口去岛上。", "この船は毎朝八時に港を出て島へ行きます。"

# Pairs and triples that people tell apart by a few words, and models of sentences often do not.
NEAR_TWINS = {"bs", "hr", "sr", "nb", "nn", "da", "id", "ms", "xh", "zu"}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (ENGLISH, "Latin"),
        ("Größe, Straße, déjà vu: auch das sind Wörter", "Latin"),
        (RUSSIAN, "Cyrillic"),
        (CHINESE, "Han"),
        (JAPANESE, "Kana"),
        ("이 배는 매일 아침 여덟 시에 항구를 떠나 섬으로 갑니다.", "Hangul"),
        (f"“{ENGLISH}” – so they ask… ", "Latin"),
        ("42", ""),
        ("🙂🙂🙂🙂", ""),
    ],
)
def test_scripts(text: str, script: str) -> None:
    assert script_of(text) == script


def test_probabilities_are_those_of_py3langid() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    texts = [ENGLISH_TEXT, GERMAN * 30, JAPANESE_TEXT, "ALL IN CAPITALS", "cafe\u0301", "Добрый\nдень", "\ud800 broken"]
    found = identifier()[0](texts)
    expected = [model.classify(text) for text in texts]
    assert found.languages == [code for code, _ in expected]
    np.testing.assert_allclose(found.confidences, [sure for _, sure in expected], atol=1e-5)


def test_the_shares_of_languages() -> None:
    shares, detected_by = languages([ENGLISH_TEXT, GERMAN, GERMAN, "short"])
    assert (shares, detected_by) == ({"de": 0.5, "en": 0.25, "too short to tell": 0.25}, "py3langid")
    assert languages([]) == ({}, "py3langid")


def sentences(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The sentences of each language of the test data of lingua."""
    with pyarrow.input_stream(str(path), compression="zstd") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                lines = file.read().decode("utf-8").splitlines()
                yield member.name.split("/")[-3], [line.strip() for line in lines if line.strip()]


def test_sentences_of_70_languages_are_told(data: Callable[[str], Path]) -> None:
    path = data("langid_lingua/sentences_75lang.tar.zst")
    identify, known = identifier()
    right = count = 0
    for code, lines in sentences(path):
        if code in known and code not in NEAR_TWINS:
            right += sum(found == code for found in identify(lines[:300]).languages)
            count += len(lines[:300])
    assert count > 15_000
    assert right / count >= 0.97
