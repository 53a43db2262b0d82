from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Corpus
from tutelage.corpus.templated import BoilerplateSettings, boilerplate
from tutelage.records import Document

FORM = "Buy now: {}\nThis shop ships all over the world, and returns are free.\nOnly {} left!\n{}"


def page(site: str, text: str) -> Document:
    return Document(text, meta={"url": f"http://{site}/{len(text)}"})


def run(shards: list[list[Document]], settings: BoilerplateSettings, folder: Path) -> tuple[list[Document], list[str]]:
    step = boilerplate(settings)
    batches = [DocumentBatch(shard) for shard in shards]
    collected = [step.collect(batch) for batch in batches]
    columns = {name: [one[name] for one in collected] for name in ("line",)}
    step.decide(Corpus(columns, folder, 1 << 20))
    kept, dropped = [], []
    for number, batch in enumerate(batches):
        decisions = np.load(folder / f"boilerplate-{number:05d}.npy")
        batch.enter("boilerplate")
        assert len(decisions) == step.rows(batch)["boilerplate"]
        step.apply(batch, {"boilerplate": decisions})
        kept += batch.documents
        dropped += [gone.reason for gone in batch.dropped]
    return kept, dropped


def test_pages_of_one_form_go_and_an_article_of_the_same_site_stays(tmp_path: Path) -> None:
    goods = [
        page("shop.org", FORM.format(name, number, "")) for number, name in enumerate(["fox", "owl", "hen", "cow"])
    ]
    article = page("shop.org", FORM.format("dog", 9, "A long article about dogs, which nobody else has. " * 9))
    elsewhere = page("other.org", FORM.format("fox", 7, ""))
    nowhere = Document(FORM.format("fox", 7, ""))
    kept, dropped = run(
        [[*goods[:2], article], [elsewhere, nowhere, *goods[2:]]], BoilerplateSettings(pages=4, share=0.6), tmp_path
    )
    assert kept[0].text == article.text
    assert 0 < float(kept[0].facts["boilerplate"]) < 0.5
    assert [(document.text, document.facts) for document in kept[1:]] == [
        (elsewhere.text, {"boilerplate": 0.0}),
        (nowhere.text, {"boilerplate": 0.0}),
    ]
    assert dropped == ["boilerplate page"] * 4


def test_a_line_that_one_page_repeats_is_no_form(tmp_path: Path) -> None:
    kept, dropped = run([[page("a.org", "again\n" * 9)]], BoilerplateSettings(pages=2), tmp_path)
    assert (len(kept), dropped) == (1, [])


def test_settings_that_cannot_be_used_are_a_sentence() -> None:
    with pytest.raises(SettingsError, match="pages must be at least 2"):
        BoilerplateSettings(pages=1)
