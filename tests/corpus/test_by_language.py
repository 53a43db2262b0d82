from __future__ import annotations

import pytest

from tutelage.config import SettingsError, convert
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.by_language import ByLanguageSettings, by_language
from tutelage.records import Document

TEXTS = {"en": "The boat is on the sea and it is late.", "de": "Das Boot ist auf dem Meer und es ist spät."}


def batch(*codes: str) -> DocumentBatch:
    documents = [Document(TEXTS.get(code, "x"), f"{n}", facts={"language": code}) for n, code in enumerate(codes)]
    found = DocumentBatch(documents)
    found.enter("rule")
    return found


def made(**languages: object) -> ByLanguageSettings:
    return convert({"kind": "by_language", "languages": languages}, ByLanguageSettings, "x")


def test_each_language_has_its_thresholds() -> None:
    german = {"kind": "gopher_quality", "min_words": 5, "stop_words": ["der", "und", "das"], "min_stop_words": 2}
    step = by_language(made(de={**german, "stop_words": ["und", "dem"]}, en={"kind": "length", "shortest": 100}))
    documents = batch("de", "en", "fr", "de")
    step(documents)
    assert [document.id for document in documents.documents] == ["0", "2", "3"]
    assert [(drop.reason, drop.detail, drop.origin) for drop in documents.dropped] == [("too short", "38", 1)]
    step = by_language(made(de={**german, "stop_words": ["le", "la"]}))
    documents = batch("de", "en")
    step(documents)
    assert [document.id for document in documents.documents] == ["1"]
    assert documents.dropped[0].reason == "too few stop words"


def test_a_rule_that_rewrites_does_so_for_its_language_only() -> None:
    documents = DocumentBatch(
        [Document(f"One line is whole here.\nno end\n{TEXTS['en']}\nA third is here.", facts={"language": code})
         for code in ("en", "de")]
    )  # fmt: skip
    documents.enter("rule")
    by_language(made(en={"kind": "c4_paper", "sentences": 1}))(documents)
    assert ["no end" in text for text in documents.texts] == [False, True]
    assert list(documents.modified)


def test_other_languages_are_kept_or_dropped() -> None:
    rule = {"kind": "length", "shortest": 1}
    settings = convert({"kind": "by_language", "languages": {"en": rule}, "others": "drop"}, ByLanguageSettings, "x")
    documents = batch("de", "en", "")
    by_language(settings)(documents)
    assert [document.id for document in documents.documents] == ["1"]
    assert [drop.detail for drop in documents.dropped] == ["de", "no language"]
    with pytest.raises(SettingsError, match="at least one language"):
        made()
