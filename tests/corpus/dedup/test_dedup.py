from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Corpus, GlobalStep
from tutelage.corpus.dedup.lines import LinesSettings, dedup_lines
from tutelage.corpus.dedup.ngrams import NgramSettings, dedup_ngrams
from tutelage.corpus.dedup.substring import SubstringSettings, dedup_substring
from tutelage.corpus.dedup.whole import ExactSettings, UrlSettings, dedup_exact, dedup_url
from tutelage.records import Document


def run(step: GlobalStep, shards: list[list[Document]], folder: Path) -> tuple[list[DocumentBatch], dict]:
    """A step over a corpus, as the pipeline runs it."""
    batches = [DocumentBatch(shard) for shard in shards]
    collected = [step.collect(batch) for batch in batches]
    columns = {name: [found[name] for found in collected] for name in collected[0]}
    figures = step.decide(Corpus(columns, folder, 1 << 20))
    for number, batch in enumerate(batches):
        batch.enter("dedup")
        rows = {name: np.load(folder / f"{name}-{number:05d}.npy") for name in step.rows(batch)}
        assert {name: len(row) for name, row in rows.items()} == step.rows(batch)
        step.apply(batch, rows)
    return batches, figures


def texts(*groups: str) -> list[list[Document]]:
    """Shards of documents, which "/" stands between."""
    return [
        [Document(text, f"{shard}.{number}") for number, text in enumerate(group.split("/"))]
        for shard, group in enumerate(groups)
    ]


@pytest.mark.parametrize(("keep", "left"), [("first", [["a", "b", ""], ["c", ""]]), ("none", [["b", ""], ["c", ""]])])
def test_exact_duplicates_over_shards(keep: str, left: list[list[str]], tmp_path: Path) -> None:
    batches, figures = run(dedup_exact(ExactSettings(keep=keep)), texts("a/b/a/", "c/a/"), tmp_path)
    assert [batch.texts for batch in batches] == left
    assert batches[1].dropped[0].detail == "cluster 0"
    assert figures["cluster_sizes"] == {"3": 1}
    assert figures["clusters"] == [{"size": 3, "documents": [0, 2, 5]}]
    assert figures["documents_in_clusters"] == 3 and figures["cluster_count"] == 1
    if keep == "first":
        assert [dict(document.facts) for document in batches[0].documents] == [{"copies": 3}, {}, {}]


def test_exact_duplicates_by_their_words(tmp_path: Path) -> None:
    batches, _ = run(
        dedup_exact(ExactSettings(text="words")), texts("One, two_three!/one two  Three/one two"), tmp_path
    )
    assert batches[0].texts == ["One, two_three!", "one two"]


def test_one_document_of_an_address_and_all_without_one(tmp_path: Path) -> None:
    rows = [Document("a", "1", {"url": "http://x.org/"}), Document("b", "2", {"url": "https://www.x.org"})]
    batches, _ = run(dedup_url(UrlSettings()), [[*rows, Document("c", "3"), Document("d", "4")]], tmp_path)
    assert [document.id for document in batches[0].documents] == ["1", "3", "4"]


LINED = texts("Menu 1\nfirst\n\nmenu 2!/second\nMENU 3", "Menu 4/third\n")


@pytest.mark.parametrize("method", ["exact", "bloom"])
def test_repeated_lines_are_cut_and_empty_documents_dropped(method: str, tmp_path: Path) -> None:
    batches, figures = run(dedup_lines(LinesSettings(method=method, compare="normalized")), LINED, tmp_path)
    assert [batch.texts for batch in batches] == [["Menu 1\nfirst\n", "second"], ["third\n"]]
    assert [(drop.document.text, drop.reason) for drop in batches[1].dropped] == [
        ("Menu 4", "nothing but repeated lines")
    ]
    assert batches[0].modified["repeated lines cut"].documents == 2
    assert figures["lines_cut"] == 3
    if method == "exact":
        assert figures["clusters"] == [{"size": 4, "documents": [0, 0, 1]}]


def test_lines_that_stand_twice_are_cut_everywhere_where_none_is_to_stay(tmp_path: Path) -> None:
    batches, _ = run(dedup_lines(LinesSettings(keep="none", compare="normalized")), LINED, tmp_path)
    assert [batch.texts for batch in batches] == [["first\n", "second"], ["third\n"]]


def test_paragraphs_and_short_lines(tmp_path: Path) -> None:
    shards = texts("One line\nof two.\n\nOther/One line\nelse\n\nOther\n\none line\nOF TWO")
    batches, _ = run(dedup_lines(LinesSettings(unit="paragraph", characters=6)), shards, tmp_path)
    assert batches[0].texts == ["One line\nof two.\n\nOther", "One line\nelse\n\nOther"]


def test_repeated_passages_are_cut_wherever_they_begin(tmp_path: Path) -> None:
    passage = "the licence  of this\ntext is long"
    shards = texts(f"First {passage} end./{passage}", f"Other  {passage}\n and {passage}/nothing else here")
    batches, figures = run(dedup_substring(SubstringSettings(length=6)), shards, tmp_path)
    assert [batch.texts for batch in batches] == [[f"First {passage} end."], ["Other  and ", "nothing else here"]]
    assert [(drop.document.text, drop.reason) for drop in batches[0].dropped] == [
        (passage, "nothing but repeated passages")
    ]
    assert figures["clusters"][0]["size"] == 4 and figures["clusters"][0]["documents"] == [0, 1, 2]


def test_repeated_runs_of_sentences_are_cut(tmp_path: Path) -> None:
    three = "One is here! Two costs 3.50 euros.\nThree"
    shards = texts(f"Zero. {three}\nFour.", f"A. {three.upper()}\nB.", "One is here! Two costs 3.50 euros. B.")
    batches, figures = run(dedup_substring(SubstringSettings(unit="sentence", length=3)), shards, tmp_path)
    assert [batch.texts for batch in batches] == [
        [f"Zero. {three}\nFour."],
        ["A. B."],
        ["One is here! Two costs 3.50 euros. B."],
    ]
    assert figures["passages"] == 3 + 3 + 1 and figures["passages_cut"] == 1


OLD = "one two three four five six seven eight"
NEW = "this is a line that nobody else has written"


@pytest.mark.parametrize("method", ["exact", "bloom"])
@pytest.mark.parametrize(
    ("of", "left"),
    [
        ("both", [[OLD], [NEW, f"{NEW[::-1]} !"]]),
        ("paragraphs", [[OLD], [NEW, f"{NEW[::-1]} !", "x y"]]),
        ("documents", [[OLD], [f"{NEW}\n{OLD}", f"{NEW[::-1]} !"]]),
    ],
)
def test_what_mostly_stood_before_goes(of: str, left: list[list[str]], method: str, tmp_path: Path) -> None:
    shards = texts(OLD, f"{NEW}\n{OLD}/{NEW[::-1]} !/x y\n{OLD} nine\n{OLD.upper()}")
    settings = NgramSettings(width=3, share=0.8, of=of, method=method, false_positives=1e-9)
    batches, figures = run(dedup_ngrams(settings), shards, tmp_path)
    assert [batch.texts for batch in batches] == left
    # 6 of 7 and 6 of 6 n-grams of the last document stood before; its short line does not count.
    assert [drop.detail for drop in batches[1].dropped] == (
        [] if of == "paragraphs" else ["92% of its n-grams occurred before"]
    )
    assert figures["ngrams"] == 6 + 7 + 6 + 8 + 1 + 7 + 6


TABLES = texts(
    "1999\n2000\n2001\nThe years of the storms./Year Ships\n2003 12,500\n2004 13,400\n2003 12,500\nEnd of it.",
    "1. e4 e5\n2. e3 e6\nThe game was lost.",
    "| fox | 3 |\n| 2 | 2 |\n| 2 | 2 |\n| dog | 4 |\nMenu 1/Menu 1\nOf 3 ships.\nof 4 ships!",
)


@pytest.mark.parametrize("method", ["exact", "bloom"])
def test_line_digits_tell_lines_apart_unless_asked_for(method: str, tmp_path: Path) -> None:
    batches, _ = run(dedup_lines(LinesSettings(method=method)), TABLES, tmp_path)
    kept = [text for batch in batches for text in batch.texts]
    given = [document.text for shard in TABLES for document in shard]
    assert kept == [*given[:4], "Of 3 ships.\nof 4 ships!"]
    assert batches[2].modified["repeated lines cut"].examples == ["Menu 1"]


def test_line_digits_as_ccnet_reads_them(tmp_path: Path) -> None:
    batches, _ = run(dedup_lines(LinesSettings(compare="normalized")), TABLES, tmp_path)
    assert batches[0].texts[0] == "1999\nThe years of the storms."
