from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.block_lists import BLOCK_LISTS, ListName
from tutelage.corpus.consent import (
    BlockSettings,
    LicenceSettings,
    NoAiSettings,
    RobotsSettings,
    block,
    licences,
    no_ai,
    no_ai_signal,
    robots,
)
from tutelage.records import Document

PAGE = {"content_type": "text/html"}


def run(step: Step, documents: list[Document]) -> tuple[list[str], dict[str, str], DocumentBatch]:
    batch = DocumentBatch(documents)
    batch.enter("step")
    step(batch)
    return [d.id for d in batch.documents], {gone.document.id: gone.reason for gone in batch.dropped}, batch


def at(url: str, text: str = "x", meta: Mapping[str, str] = PAGE) -> Document:
    return Document(text, url, {"url": url, **meta})


def test_pages_that_robots_txt_forbids_are_dropped(tmp_path: Path) -> None:
    rules = {"a.org": "User-agent: GPTBot\nDisallow: /secret", "www.b.org": "User-agent: *\nDisallow:"}
    path = tmp_path / "robots.jsonl"
    path.write_text("\n".join(json.dumps({"host": name, "robots": text}) for name, text in rules.items()))
    urls = ["http://www.a.org/secret/x", "http://a.org/open", "http://b.org/", "http://c.org/"]
    kept, dropped, batch = run(robots(RobotsSettings(path=str(path))), [at(url) for url in urls])
    assert kept == urls[1:]
    assert dropped == {urls[0]: "forbidden by robots.txt"}
    assert batch.dropped[0].detail == "GPTBot"
    assert batch.modified["no robots.txt known for the site"].documents == 1
    path.write_text('{"host": "a.org"}')
    with pytest.raises(ValueError, match=r'robots.jsonl, line 1: write \{"host"'):
        robots(RobotsSettings(path=str(path)))


@pytest.mark.parametrize(
    ("page", "meta", "signal"),
    [
        ('<meta name="robots" content="noindex, noai">', PAGE, "noai"),
        ("<META CONTENT='NoAI' NAME=robots>", PAGE, "noai"),
        ('<meta name="gptbot" content="noai">', PAGE, "noai"),
        ('<meta name="tdm-reservation" content="1">', PAGE, "tdm"),
        ('<meta name="tdm-reservation" content="0">', PAGE, ""),
        ('<meta name="description" content="noai">', PAGE, ""),
        ('<meta name="robots" content="noimageai, noindex">', PAGE, ""),
        ("noai", PAGE, ""),
        ('<meta name="robots" content="noai">', {}, ""),
        ("x", {"x_robots_tag": "otherbot: noindex, noai"}, "noai"),
        ("x", {"x_robots_tag": "GPTBot: noai"}, "noai"),
        ("x", {"x_robots_tag": "noaids"}, ""),
    ],
)
def test_signals_against_training(page: str, meta: Mapping[str, str], signal: str) -> None:
    document = Document(page, "x", meta)
    assert no_ai_signal(document) == signal
    kept, _, _ = run(no_ai(NoAiSettings()), [document])
    assert bool(kept) == (not signal)
    kept, _, _ = run(no_ai(NoAiSettings(signals=("noai",))), [document])
    assert bool(kept) == (signal != "noai")


def test_block_lists(tmp_path: Path) -> None:
    domains, urls = tmp_path / "domains", tmp_path / "urls"
    domains.write_text("# bad ones\nbad.org\nWWW.Worse.com  # remark\n")
    urls.write_text("https://www.A.org/One/\n")
    step = block(BlockSettings(domains=(str(domains),), urls=(str(urls),), words=("Casino",)))
    pages = {
        "http://bad.org/x": "blocked domain",
        "http://sub.bad.org/": "blocked domain",
        "http://worse.com": "blocked domain",
        "http://a.org/One#part": "blocked URL",
        "http://b.org/best-casino/": "blocked word in URL",
        "http://notbad.org/": None,
        "http://a.org/one": None,
        "http://b.org/casinos": None,
        "": None,
    }
    kept, dropped, _ = run(step, [at(url) for url in pages])
    assert dropped == {url: reason for url, reason in pages.items() if reason}
    assert kept == [url for url, reason in pages.items() if not reason]


def test_lists_may_stand_at_an_address() -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe(
        {"/lists/bad.txt": b"bad.org\n", "/lists/robots.jsonl": json.dumps({"host": "a.org", "robots": "x"}).encode()}
    )
    pages = [Document("x", url, {"url": url}) for url in ("http://bad.org/x", "http://good.org/x")]
    assert run(block(BlockSettings(domains=("memory://lists/bad.txt",))), pages)[0] == ["http://good.org/x"]
    _, _, batch = run(robots(RobotsSettings(path="memory://lists/robots.jsonl")), pages)
    assert batch.modified["no robots.txt known for the site"].documents == 2


def test_published_lists_are_fetched_and_named_as_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe({"/ut1/domains.gz": gzip.compress(b"bad.org\n"), "/piracy.txt": b"# Title: x\nbooks.org\n"})
    assert all(entry.address.startswith("https://") and entry.why for entry in BLOCK_LISTS.values())
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    monkeypatch.setitem(BLOCK_LISTS, "adult", BLOCK_LISTS["adult"]._replace(address="memory://ut1/domains.gz"))
    monkeypatch.setitem(BLOCK_LISTS, "piracy", BLOCK_LISTS["piracy"]._replace(address="memory://piracy.txt"))
    step = block(BlockSettings(lists=("adult", "piracy")))
    kept, dropped, _ = run(step, [at("http://x.bad.org/"), at("http://books.org/1"), at("http://good.org/")])
    assert kept == ["http://good.org/"]
    assert dropped == {
        "http://x.bad.org/": "blocked domain (adult)",
        "http://books.org/1": "blocked domain (piracy)",
    }
    assert get_args(ListName) == tuple(BLOCK_LISTS)
    monkeypatch.setitem(BLOCK_LISTS, "adult", BLOCK_LISTS["adult"]._replace(address="memory://gone"))
    with pytest.raises(ValueError, match="memory://gone cannot be read"):
        block(BlockSettings(lists=("adult",)))


def test_a_block_list_that_would_block_nothing_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("# nothing\n")
    with pytest.raises(ValueError, match="is empty; name another file"):
        block(BlockSettings(domains=(str(empty),)))
    with pytest.raises(SettingsError, match="a step of kind block needs lists, domains, urls or words"):
        BlockSettings()


@pytest.mark.parametrize("policy", [{"allow": ("MIT", "Apache-*")}, {"deny": ("gpl-*",)}])
def test_of_a_choice_of_licences_one_suffices(policy: dict[str, tuple[str, ...]]) -> None:
    names = ["MIT", "MIT OR GPL-3.0", "MIT AND GPL-3.0", "GPL-3.0 WITH GCC-exception-3.1", "(Apache-2.0)"]
    documents = [Document("x = 1", name, {"path": "a.py", "language": "Python", "license": name}) for name in names]
    documents.append(Document("# SPDX-License-Identifier: GPL-2.0\n", "own", {**documents[0].meta}))
    kept, _, _ = run(licences(LicenceSettings(**policy)), documents)
    assert kept == ["MIT", "MIT OR GPL-3.0", "(Apache-2.0)"]


def test_licences_decide_by_policy() -> None:
    by = '<a rel="license" href="https://creativecommons.org/licenses/by/4.0/">'
    documents = [
        Document(by, "by", PAGE),
        Document(by.replace("/by/", "/by-nc/"), "nc", PAGE),
        Document(by.replace('rel="license"', ""), "hint", PAGE),
        Document("x", "none", PAGE),
        Document(f"<figure>{by}</figure>", "picture", PAGE),
        Document("# SPDX-License-Identifier: MIT", "code", {"language": "Python", "path": "a.py"}),
        Document("x", "post", {"license": "CC-BY-SA-4.0"}),
    ]
    kept, dropped, batch = run(licences(LicenceSettings(allow=("CC-BY-*", "mit"), deny=("*-NC-*",))), documents)
    assert kept == ["by", "hint", "none", "picture", "code", "post"]
    assert dropped == {"nc": "licence not allowed"}
    facts = [document.facts.get("licence") for document in batch.documents]
    assert facts == ["CC-BY-4.0", None, None, None, "MIT", "CC-BY-SA-4.0"]
    assert batch.modified["licence of a picture, a comment or another part alone"].documents == 1
    kept, dropped, _ = run(licences(LicenceSettings(unknown="drop", hints=True)), documents)
    assert dropped == {"none": "unknown licence", "picture": "unknown licence"}
