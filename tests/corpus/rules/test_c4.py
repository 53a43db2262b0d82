"""C4's rules: which lines are cut, which pages are dropped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.rules.c4 import C4FineWebSettings, C4PaperSettings, C4Settings, c4
from tutelage.records import Document

GOOD = "This line has six good words."


def run(settings: C4Settings, *texts: str) -> DocumentBatch:
    batch = DocumentBatch([Document(text, id=str(place)) for place, text in enumerate(texts)])
    c4(settings)(batch)
    assert len(batch) + len(batch.dropped) == len(texts)
    return batch


def page(*lines: str) -> str:
    return "\n".join([GOOD, *lines, GOOD, GOOD])


@pytest.mark.parametrize(
    "line",
    [
        "No mark at the end of this",
        "Too few words here.",
        "This one breaks off before it ends...",
        "Please switch on JavaScript to read this page.",
        "By reading on you agree to our Terms of Use.",
        f"A word of {'x' * 1001} is no word at all.",
        "   ",
    ],
)
def test_lines_that_are_cut(line: str) -> None:
    batch = run(C4PaperSettings(), page(line))
    assert batch.texts == [page()]


@pytest.mark.parametrize("line", [GOOD, 'He said that it was "good."', "Is this a line to keep?", "x " * 4 + "y!"])
def test_lines_that_are_kept(line: str) -> None:
    assert run(C4PaperSettings(), page(f"  {line} ")).texts == [page(line)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (page("And here is Lorem Ipsum and more."), "lorem ipsum"),
        (page("if (a) { b(); } is a line."), "curly bracket"),
        (f"{GOOD}\n{GOOD}", "too few sentences"),
        ("", "too few sentences"),
        (page(("word " * 40_000) + "end."), "too long"),
    ],
)
def test_pages_that_are_dropped(text: str, reason: str) -> None:
    batch = run(C4PaperSettings(), text, page())
    assert [(one.document.text, one.reason) for one in batch.dropped] == [(text, reason)]
    assert batch.texts == [page()]


def test_what_a_line_that_is_cut_says_drops_nothing() -> None:
    assert run(C4PaperSettings(), page("lorem ipsum", "if (a) {", "javascript {")).texts == [page()]


def test_citation_marks_are_deleted_before_lines_are_judged() -> None:
    assert run(C4PaperSettings(), page("It was so in those days.[12][citation needed]")).texts == [
        page("It was so in those days.")
    ]


def test_fineweb_takes_any_line_end_and_swaps_the_numbers() -> None:
    lines = ["three words here", "two words", "It was. It is. It will be. And so on."]
    batch = run(C4FineWebSettings(), "\n".join(lines), f"{GOOD}\n" * 4)
    assert batch.texts == ["\n".join([lines[0], lines[2]])]
    assert [one.reason for one in batch.dropped] == ["too few sentences"]


def test_what_was_cut_is_noted_for_documents_that_are_kept() -> None:
    batch = run(C4PaperSettings(), page("Too few.", "no end to this line here"), page("{ and } make it code."))
    noted = {what: note.documents for what, note in batch.modified.items()}
    assert noted == {"short lines cut": 1, "lines without a sentence end cut": 1, "lines cut": 1}


def test_bad_words_are_whole_words_and_phrases(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("darn\nbig oaf\n", encoding="utf-8")
    texts = [page("He said Darn to all of them."), page("He darned all of the socks."), page("He is a big, bad oaf.")]
    batch = run(C4PaperSettings(bad_words=str(path)), *texts, page("He is such a BIG  OAF today."))
    assert [one.document.id for one in batch.dropped] == ["0", "3"]
    assert {one.reason for one in batch.dropped} == {"bad word"}


@pytest.mark.parametrize("content", [None, "", "\n\n"])
def test_a_list_of_bad_words_must_be_there(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad_words: .*bad\.txt"):
        c4(C4PaperSettings(bad_words=str(path)))


@given(st.lists(st.lists(st.sampled_from([GOOD, "{", "a b", "", " Lorem ipsum x y z.", "[1] j!"])).map("\n".join)))
@settings(max_examples=60, deadline=None)
def test_every_document_is_kept_or_dropped_and_a_second_time_changes_nothing(texts: list[str]) -> None:
    for chosen in (C4PaperSettings(), C4FineWebSettings()):
        once = run(chosen, *texts)
        twice = run(chosen, *once.texts)
        assert twice.texts == once.texts
