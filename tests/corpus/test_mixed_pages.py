"""What is read of pages that are not news; and what the fast way loses that the careful way keeps."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tests.corpus.mixed_pages import mixed_pages
from tests.corpus.test_page_text import careful_or_skip, grams
from tutelage.corpus.page_text import Mode, page_text


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text))


def recall(mode: Mode, headline: bool, each: int = 3) -> dict[str, float]:
    """The share of the lines of each label that are in the text."""
    found: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for page in mixed_pages(each):
        text = plain(page_text(page.html, mode, headline))
        for label, line in page.lines:
            there[label] += 1
            found[label] += plain(line) in text
    return {label: found[label] / there[label] for label in there}


@pytest.mark.parametrize("mode", get_args(Mode))
def test_recall_on_mixed_pages(mode: Mode) -> None:
    careful_or_skip(mode)
    found = recall(mode, headline=True)
    assert found["item"] >= 0.95 and found["paragraph"] >= 0.99
    assert found["heading"] >= 0.95 and found["headline"] >= 0.95
    assert found["furniture"] <= 0.05


def test_by_default_the_headline_is_left_out() -> None:
    assert recall("fast", headline=False)["headline"] < 0.5


def lost_by_fast(pages: list[tuple[str, str]], headline: bool = False) -> float:
    """Of the wanted text that the careful way keeps, in runs of four words, the share that the fast way loses."""
    kept = lost = 0
    for html, wanted in pages:
        careful = grams(wanted) & grams(page_text(html, "careful", headline))
        kept += careful.total()
        lost += (careful - grams(page_text(html, "fast", headline))).total()
    assert kept > 1000
    return lost / kept


def test_fast_mode_loses_at_most_one_per_cent_of_mixed_pages() -> None:
    careful_or_skip("careful")
    pages = [(p.html, "\n".join(line for label, line in p.lines if label != "furniture")) for p in mixed_pages(2)]
    assert lost_by_fast(pages, headline=True) <= 0.01


@pytest.mark.slow
def test_fast_mode_loses_at_most_one_per_cent_of_articles(data: Callable[[str], Path]) -> None:
    careful_or_skip("careful")
    folder = data("article_extraction")
    pages: list[tuple[str, str]] = []
    for path in sorted(folder.glob("*ground-truth.json")):
        for name, row in json.loads(path.read_text()).items():
            packed = folder / "html" / f"{name}.html.gz"
            if packed.exists():
                pages.append((gzip.decompress(packed.read_bytes()).decode("utf-8", "replace"), row["articleBody"]))
    assert lost_by_fast(pages) <= 0.01
