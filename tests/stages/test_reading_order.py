from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from tutelage.config import SettingsError
from tutelage.records import Document
from tutelage.stages.data_world import WorldText
from tutelage.stages.stores import Stores, sorted_by_subject
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.world import World, WorldSettings

DOCUMENTS = list(World(WorldSettings(people=20, versions=3)).documents())


def subjects(documents: list[Document]) -> list[str]:
    return [document.meta["subject"] for document in documents if "subject" in document.meta]


def test_documents_of_one_subject_follow_each_other_and_others_stay() -> None:
    ordered = sorted_by_subject(DOCUMENTS, "world")
    runs = [(name, len(list(group))) for name, group in groupby(subjects(ordered))]
    assert len(runs) == len(set(subjects(DOCUMENTS))) and {length for _, length in runs} == {3}
    assert len(list(groupby(subjects(DOCUMENTS)))) > 2 * len(runs)
    assert sorted(document.id for document in ordered) == sorted(document.id for document in DOCUMENTS)
    for before, after in zip(DOCUMENTS, ordered, strict=True):
        assert before is after or {"subject"} <= before.meta.keys() & after.meta.keys()


def test_the_store_holds_them_in_that_order(tmp_path: Path) -> None:
    tokenizer = train((document.text for document in DOCUMENTS), TokenizerSettings(kind="bpe", vocab=400))
    stores = Stores(tmp_path, {"world": WorldText(people=20, versions=3)}, 0.0)
    plain, grouped = (stores.text("world", tokenizer, 512, by_subject).train for by_subject in (False, True))
    assert len(plain) == len(grouped) and plain.folder != grouped.folder
    texts = [tokenizer.decode(np.asarray(grouped.group(place)[0].tokens)) for place in range(9)]
    expected = [document.text for document in sorted_by_subject(DOCUMENTS, "world")[:9]]
    assert all(other in text for text, other in zip(texts, expected, strict=True)), (texts[0], expected[0])


def test_documents_without_subjects_have_no_such_order() -> None:
    with pytest.raises(SettingsError, match="data 'web' has none"):
        sorted_by_subject([Document("a"), Document("b")], "web")
