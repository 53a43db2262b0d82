from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.consent import RobotsSettings, robots
from tutelage.corpus.terms import TermsSettings, terms
from tutelage.records import Document

HOSTS = {"a.org": "no AI", "www.b.org": "non-commercial", "shop.b.org": "no crawling"}


def written(path: Path) -> str:
    path.write_text("\n".join(json.dumps({"host": host, "terms": name}) for host, name in HOSTS.items()))
    return str(path)


def batch(*urls: str) -> DocumentBatch:
    found = DocumentBatch([Document("text", url, {"url": url}) for url in urls])
    found.enter("step")
    return found


def test_terms_become_metadata_and_may_drop(tmp_path: Path) -> None:
    pages = batch("https://www.a.org/x", "http://shop.b.org/", "http://other.b.org/y", "http://c.org/", "")
    terms(TermsSettings(path=written(tmp_path / "terms.jsonl"), drop=("no AI",)))(pages)
    assert [document.facts.get("terms") for document in pages.documents] == [
        "no crawling", "non-commercial", None, None,
    ]  # fmt: skip
    assert [(drop.reason, drop.detail) for drop in pages.dropped] == [("terms of service", "no AI")]


def test_mistakes_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "terms.jsonl")
    with pytest.raises(ValueError, match="no site of .* has the terms 'no ai'; it has no AI, no crawling"):
        terms(TermsSettings(path=path, drop=("no ai",)))
    (tmp_path / "bad.jsonl").write_text('{"host": "a.org"}')
    with pytest.raises(ValueError, match="bad.jsonl, line 1: write"):
        terms(TermsSettings(path=str(tmp_path / "bad.jsonl")))


def test_a_crawl_delay_is_noted(tmp_path: Path) -> None:
    rows = {"a.org": "User-agent: *\nCrawl-delay: 10\nDisallow: /no", "b.org": "User-agent: *\nDisallow: /no"}
    path = tmp_path / "robots.jsonl"
    path.write_text("\n".join(json.dumps({"host": host, "robots": text}) for host, text in rows.items()))
    pages = batch("http://a.org/x", "http://a.org/no/x", "http://b.org/x")
    robots(RobotsSettings(path=str(path)))(pages)
    assert pages.modified["the site asks for a crawl delay"].documents == 2
    assert [document.id for document in pages.documents] == ["http://a.org/x", "http://b.org/x"]
