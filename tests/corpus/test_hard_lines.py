"""Lines of PDF and of wrapped texts become paragraphs; what is a line of its own stays one."""

from __future__ import annotations

import textwrap

import pytest

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.funnel import StepStats, run_step, step_warnings
from tutelage.corpus.hard_lines import join_lines, join_pages, without_running_lines
from tutelage.corpus.join_lines import JoinLinesSettings, join_wrapped_lines
from tutelage.corpus.rules.c4 import C4PaperSettings, c4
from tutelage.records import Document

FIRST = (
    "The keeper of the light rose early on each day of the year and looked at the sea while he worked on the lamp, "
    "which had to be lit before the ships came in from the north and the wind rose over the village and its harbour."
)
SECOND = FIRST.replace("light", "tower").replace("early", "late")


@pytest.mark.parametrize("width", [40, 70, 100])
def test_pdf_lines_of_paragraphs_are_joined(width: int) -> None:
    wrapped = "\n".join(textwrap.fill(text, width) for text in (FIRST, SECOND))
    assert join_lines(wrapped) == f"{FIRST}\n{SECOND}"
    gaps = "\n\n".join(textwrap.fill(text, width) for text in (FIRST, SECOND))
    assert join_lines(gaps) == f"{FIRST}\n\n{SECOND}"


def test_pdf_lines_with_hyphens() -> None:
    assert join_lines("She saw the light-\nhouse of the harbour.") == "She saw the lighthouse of the harbour."
    assert join_lines("A well-known man, a well-\nknown place.") == "A well-known man, a well-known place."
    assert join_lines("no sea taki\xad\nmata at all") == "no sea takimata at all"


def test_pdf_lines_of_scripts_without_spaces() -> None:
    text = (
        "これは灯台の守り手についての長い文章です彼は毎朝早く起きて海を見ながら仕事をしました船のために光を続けました。"
    )
    assert join_lines(f"{text[:28]}\n{text[28:]}") == text


@pytest.mark.parametrize(
    "text",
    [
        f"1 Introduction\n{FIRST}",
        f"{FIRST}\n• the first of the items\n• the second of the items\n1. a number",
        "Introduction . . . . . . . . . . . . 3\nThe Keeper of the Light . . . . . . 12",
        "Roses are red\nViolets are blue\nSugar is sweet",
        "| Name | Size |\n| fox | 3 |",
        "def f(x):\n    return x",
        "Name\nCheck\nSubmit",
        "",
    ],
)
def test_lines_of_their_own_stay(text: str) -> None:
    assert join_lines(text) == text


def test_pdf_lines_without_running_titles_and_page_numbers() -> None:
    pages = [f"Journal of Lights, no. {n // 3}\nText of {word} page\nPage {n} of 6" for n, word in enumerate("abcdef")]
    assert without_running_lines(pages) == [f"Text of {word} page" for word in "abcdef"]
    even = [f"{'The Lamp' if n % 2 else 'A. Keeper'}\nText {word}\n- {n} -" for n, word in enumerate("abcdef")]
    assert without_running_lines(even) == [f"Text {word}" for word in "abcdef"]
    assert without_running_lines(["Text a\n1", "Text b\n2"]) == ["Text a", "Text b"]
    assert without_running_lines(["Picture", "Picture", "Picture"]) == ["Picture"] * 3
    assert without_running_lines(["One\nx", "Two\ny"]) == ["One\nx", "Two\ny"]


def test_pdf_lines_go_on_over_a_page() -> None:
    lines = textwrap.wrap(FIRST, 60)
    assert join_pages(["\n".join(lines[:2]), "\n".join(lines[2:])]) == FIRST
    assert join_pages([FIRST, SECOND]) == f"{FIRST}\n\n{SECOND}"


def test_pdf_lines_of_a_plain_text_keep_their_sentences() -> None:
    book = "\n\n".join(textwrap.fill(text, 70) for text in (FIRST, SECOND, FIRST))
    batch = DocumentBatch([Document(book), Document(book, meta={"path": "a.py", "language": "Python"})])
    batch.enter("join")
    join_wrapped_lines(JoinLinesSettings())(batch)
    assert batch.texts == [f"{FIRST}\n\n{SECOND}\n\n{FIRST}", book]


def test_pdf_lines_that_a_step_cut_are_warned_of() -> None:
    paragraph = (
        "The keeper rose and looked at the sea while he worked on\nthe lamp, and his brother came up from the village\n"
    )
    book = (paragraph + "to help him out of it.\n\n") * 4
    for text, warned in ((book, True), (join_lines(book), False)):
        stats = StepStats("lines", "c4_paper")
        run_step(DocumentBatch([Document(text)]), "lines", c4(C4PaperSettings()), stats, None)
        assert stats.output.documents == 1
        sentences = [sentence for sentence in step_warnings([stats]) if "of the words" in sentence]
        assert sentences == ["step lines cut 79% of the words of the documents that it kept"] * warned
