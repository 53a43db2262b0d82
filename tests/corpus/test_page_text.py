"""Among others: how much of real articles is found, by a scorer of our own (`score`)."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.page_text import Mode, careful_text, html_text, page_text, without_edges

SENTENCE = "This sentence is long enough to be taken for what the page is about, and it ends with a full stop."


def page(body: str) -> str:
    nav = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/about'>About</a></li></ul></nav>"
    foot = "<footer>Copyright 2020 by somebody. All rights reserved.</footer>"
    article = f"<article><p>{SENTENCE}</p>{body}<p>{SENTENCE}</p></article>"
    return f"<html><head><title>T</title></head><body>{nav}<main>{article}</main>{foot}</body></html>"


def careful_or_skip(mode: Mode) -> None:
    if mode == "careful":
        pytest.importorskip("lxml_html_clean", reason="trafilatura needs it")


@pytest.mark.parametrize("mode", get_args(Mode))
def test_the_article_is_taken_and_what_is_around_it_is_not(mode: Mode) -> None:
    careful_or_skip(mode)
    text = page_text(page("<script>var x = 1;</script><p>Some more of it: one sentence.</p>"), mode)
    assert text.count(SENTENCE) == 2
    assert "Some more of it: one sentence." in text
    assert not re.search("Home|About|Copyright|var x", text)


@pytest.mark.parametrize("mode", get_args(Mode))
def test_tables_of_data_keep_their_cells_apart(mode: Mode) -> None:
    careful_or_skip(mode)
    table = "<table><tr><th>Name</th><th>Size</th></tr><tr><td>fox</td><td>3 | 4</td></tr></table>"
    text = page_text(page(table), mode)
    assert "| Name | Size |" in text
    assert "| fox | 3 / 4 |" in text


def test_a_table_that_lays_out_a_page_is_no_table() -> None:
    inner = "<table><tr><td><a href='/'>a</a></td></tr></table>"
    text = html_text(f"<body><table><tr><td>{inner}</td><td><p>{SENTENCE}</p></td></tr></table></body>", main=False)
    assert SENTENCE in text
    assert "|" not in text


FORMULAS = [
    (
        '<math><semantics><mi>x</mi><annotation encoding="application/x-tex">x^{2}</annotation></semantics></math>',
        "$x^{2}$",
    ),
    ('<math alttext="{\\displaystyle a+b}"><mi>a</mi></math>', "$a+b$"),
    ('<math display="block" alttext="c"><mi>c</mi></math>', "$$c$$"),
    ("<math><mfrac><mn>1</mn><msup><mi>x</mi><mn>2</mn></msup></mfrac></math>", "$\\frac{1}{x^{2}}$"),
    ("<math><msqrt><msub><mi>a</mi><mi>i</mi></msub></msqrt></math>", "$\\sqrt{a_{i}}$"),
    ('<script type="math/tex; mode=display">\\int f</script>', "$$\\int f$$"),
    ('<span class="MathJax">∫f</span><script type="math/tex">\\int f</script>', "$\\int f$"),
    (
        '<span class="katex"><span class="katex-mathml"><math><semantics><annotation encoding="application/x-tex">y_1'
        '</annotation></semantics></math></span><span class="katex-html" aria-hidden="true">y1</span></span>',
        "$y_1$",
    ),
    (
        '<span class="mwe-math-element"><span class="mwe-math-mathml-inline" style="display: none;"><math alttext='
        '"{\\displaystyle E=mc^{2}}"><mi>E</mi></math></span><img class="mwe-math-fallback" alt="E"></span>',
        "$E=mc^{2}$",
    ),
    ('<img class="tex" alt="\\pi r^2">', "$\\pi r^2$"),
]


@pytest.mark.parametrize(("markup", "tex"), FORMULAS)
def test_a_formula_is_written_once_between_dollars(markup: str, tex: str) -> None:
    text = html_text(page(f"<p>So we find {markup} and with it the end of the proof, which is short.</p>"))
    assert f"So we find {tex} and with it" in " ".join(text.split())


def test_code_keeps_its_lines() -> None:
    assert "if a < b:\n    wait()" in html_text("<p>Do:</p><pre>if a &lt; b:\n    wait()\n</pre>", main=False)


@given(st.lists(st.sampled_from(["", "Tags", "3 comments", SENTENCE, "Another sentence here.", "A Title"]), max_size=9))
def test_only_edges_are_cut_and_never_a_sentence(lines: list[str]) -> None:
    text = "\n".join(lines)
    cut = without_edges(text)
    assert cut in text
    assert cut.count(".") == text.count(".")
    if SENTENCE in lines:
        assert not cut.startswith(("Tags", "3 c", "A T", "\n"))


@given(st.text(max_size=200) | st.text("<>/=\"' abdivptrh&;!-", max_size=400))
def test_whatever_stands_there_is_read(markup: str) -> None:
    assert isinstance(html_text(markup), str)
    assert isinstance(html_text(f"<table><math>{markup}", main=False), str)


def grams(text: str) -> Counter[tuple[str, ...]]:
    """Runs of four words with their numbers; of a text of fewer words the whole."""
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[at : at + 4]) for at in range(max(len(words) - 3, 1))) if words else Counter()


def score(texts: list[str], truths: list[str]) -> float:
    """F1 of extraction: precision is the share of the runs of four words found that are in the true text (as often as
    there), recall the share of the true ones that are found, each averaged over pages, so that a long page counts no
    more than a short one; F1 of the two averages. Case counts, punctuation does not."""
    precision = recall = 0.0
    for text, truth in zip(texts, truths, strict=True):
        found, true = grams(text), grams(truth)
        both = (found & true).total()
        precision += both / found.total() if found else float(not true)
        recall += both / true.total() if true else 1.0
    return 2 * precision * recall / ((precision + recall) * len(texts))


def test_the_scorer_on_what_can_be_told_by_hand() -> None:
    truth = "one two three four five six"  # three runs
    assert score([truth], [truth]) == 1
    assert score(["one two three four five"], [truth]) == pytest.approx(2 * (1 * 2 / 3) / (1 + 2 / 3))
    assert score([truth, ""], [truth, truth]) == pytest.approx(0.5)
    assert score([f"{truth} {truth}"], [truth]) == pytest.approx(2 * (3 / 9) / (3 / 9 + 1))


@pytest.mark.parametrize(("mode", "least"), [("fast", 0.92), ("careful", 0.95)])
def test_real_articles_are_found(mode: Mode, least: float, data: Callable[[str], Path]) -> None:
    careful_or_skip(mode)
    folder = data("article_extraction")
    texts, truths = [], []
    for path in sorted(folder.glob("*ground-truth.json")):
        for name, row in json.loads(path.read_text()).items():
            packed = folder / "html" / f"{name}.html.gz"
            if packed.exists():
                texts.append(page_text(gzip.decompress(packed.read_bytes()).decode("utf-8", "replace"), mode))
                truths.append(row["articleBody"])
    assert len(truths) > 50
    assert score(texts, truths) >= least


def test_what_is_not_installed_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trafilatura", None)
    with pytest.raises(ValueError, match=r"pip install 'tutelage\[corpus\]'"):
        careful_text("<p>x</p>")
