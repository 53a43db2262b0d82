from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from tutelage.config import convert
from tutelage.corpus.curation import Curation
from tutelage.corpus.funnel_page import corpus_page, dataset_card, sample_dropped, write_pages
from tutelage.corpus.pipeline import curate
from tutelage.corpus.shards import corpus_result


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curated")
    texts = ["<b>short</b>", "A page that is long enough to stay.", "A page that is long enough to stay."]
    rows = [msgspec.json.encode({"text": text}) for text in texts]
    (folder / "in.jsonl").write_bytes(b"\n".join([*rows, b"broken"]))
    steps = {"length": {"kind": "length", "shortest": 20}, "exact": {"kind": "dedup_exact"}}
    table = {"name": "small <corpus>", "input": str(folder / "in.jsonl"), "steps": steps, "workers": 1}
    curate(convert(table, Curation, "recipe"), folder / "out")
    write_pages(folder / "out")
    return folder / "out"


def test_the_page_shows_the_funnel_and_what_was_dropped(corpus: Path) -> None:
    page = (corpus / "index.html").read_text()
    assert "Kept 1 of 3 documents (33.3%), 8 of 17 words." in page
    assert "&lt;b&gt;short&lt;/b&gt;" in page and "<b>short" not in page
    assert "small &lt;corpus&gt;" in page
    for word in (
        "too short",
        "duplicate text",
        "copies (1 documents)",
        "2 copies",
        "1 records not read",
    ):
        assert word in page, word


def test_samples_are_the_first_of_each_reason(corpus: Path) -> None:
    samples = sample_dropped(corpus, 5)
    assert [(row["step"], row["reason"]) for row in samples] == [("exact", "duplicate text"), ("length", "too short")]
    assert sample_dropped(corpus, 0) == []
    assert corpus_page(corpus_result(corpus), []).count("duplicate text") == 1  # in the table alone


def test_the_card_holds_the_recipe_that_made_the_corpus(corpus: Path) -> None:
    card = dataset_card(corpus_result(corpus))
    assert "| exact | dedup_exact | 1 | 8 | duplicate text: 1 |" in card
    recipe = tomllib.loads(card.partition("```toml\n")[2].partition("```")[0])
    assert convert(recipe, Curation, "card") == convert(corpus_result(corpus)["recipe"], Curation, "result")


def test_the_card_says_why_the_texts_may_be_used(corpus: Path) -> None:
    result = corpus_result(corpus)
    assert "None was stated in the recipe" in dataset_card(result)
    result["recipe"]["grounds"] = {"news": "licence of 2024 with the publisher"}
    card = dataset_card(result)
    assert "## Legal ground\n\n- news: licence of 2024 with the publisher\n" in card
    recipe = tomllib.loads(card.partition("```toml\n")[2].partition("```")[0])
    assert convert(recipe, Curation, "card").grounds == result["recipe"]["grounds"]
