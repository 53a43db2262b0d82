"""Consent and licences: steps that keep or drop documents by robots.txt, opt-out signals, block lists and licence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

import msgspec

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.block_lists import BLOCK_LISTS, ListName
from tutelage.corpus.fetch import local_file
from tutelage.corpus.licences import Licence, code_licence, licence_fits, page_licence
from tutelage.corpus.page_text import HTML_TYPES
from tutelage.corpus.robots import Robots, parse_robots, refusals
from tutelage.corpus.rules.code import is_source
from tutelage.io.byte_reader import read_bytes
from tutelage.records import Document
from tutelage.text.urls import normalized_url, url_host

# Crawlers that collect training data, by the names that their operators publish.
AI_CRAWLERS = (
    "GPTBot", "CCBot", "ClaudeBot", "anthropic-ai", "Google-Extended", "Applebot-Extended", "meta-externalagent",
    "Bytespider", "Amazonbot", "cohere-ai", "AI2Bot", "Diffbot", "omgili", "PerplexityBot",
)  # fmt: skip

_META_TAG = re.compile(r"<meta\b[^<>]{0,1000}>", re.IGNORECASE)
_NAMED = re.compile(r"\bname\s*=\s*[\"']?\s*([\w:-]+)", re.IGNORECASE)
_CONTENT = re.compile(r"\bcontent\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))", re.IGNORECASE)
_MAX_LINE = 1 << 20


class RobotsSettings(Settings, tag="robots", tag_field="kind", frozen=True, kw_only=True):
    """Drops pages that robots.txt (RFC 9309) forbids to crawlers that collect training data.

    path:     JSON lines, {"host": ..., "robots": ...}: the raw robots.txt of each site.
    crawlers: a page that is forbidden to any of these is dropped.
    """

    path: str
    crawlers: tuple[str, ...] = AI_CRAWLERS


def robots(settings: RobotsSettings) -> Step:
    """Drop pages that robots.txt forbids to any of the crawlers. Raises ValueError if the file is invalid."""
    sites = _sites(settings.path)

    @lru_cache(maxsize=4096)
    def rules(name: str) -> Robots | None:
        return parse_robots(sites[name]) if name in sites else None

    def step(batch: DocumentBatch) -> None:
        forbidden: dict[int, str] = {}
        unknown = delayed = 0
        for place, document in enumerate(batch.documents):
            site = rules(url_host(document.meta.get("url", "")))
            unknown += site is None
            delayed += site is not None and site.delay > 0
            if site and (names := refusals(site, document.meta["url"], settings.crawlers)):
                forbidden[place] = ", ".join(names[:3])
        batch.note("no robots.txt known for the site", unknown)
        batch.note("the site asks for a crawl delay", delayed)
        batch.drop(list(forbidden), "forbidden by robots.txt", list(forbidden.values()))

    return step


def _sites(path: str) -> dict[str, str]:
    sites: dict[str, str] = {}
    for number, line in enumerate(lines_of_list(path), 1):
        try:
            row = msgspec.json.decode(line)
            sites[row["host"].lower().removeprefix("www.")] = row["robots"]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            raise ValueError(f'{path}, line {number}: write {{"host": "...", "robots": "..."}}') from None
    return sites


def lines_of_list(path: str) -> Iterator[bytes]:
    """The non-empty lines of a text file, compressed or not. Raises ValueError if it is corrupt: a block list that is
    only partly read would block only in part."""
    with read_bytes(path) as reader:
        while line := reader.until(b"\n", _MAX_LINE):
            if line.strip():
                yield line
        if reader.damage:
            raise ValueError(f"{path}, byte {reader.damage.at}: {reader.damage.reason}; download or write it again")


class NoAiSettings(Settings, tag="no_ai", tag_field="kind", frozen=True, kw_only=True):
    """Drops pages that opt out of training themselves. Place it before the extraction of HTML.

    signals: "noai" in `<meta name="robots">` or in the header X-Robots-Tag; "tdm" is `<meta name="tdm-reservation"
             content="1">`, or the header of this name, of the W3C group on text and data mining.
    """

    signals: tuple[Literal["noai", "tdm"], ...] = ("noai", "tdm")


def no_ai(settings: NoAiSettings) -> Step:
    """Drop pages with one of the opt-out signals (TDM Reservation Protocol of the W3C; "noai" of DeviantArt)."""

    def step(batch: DocumentBatch) -> None:
        signals = [no_ai_signal(document) for document in batch.documents]
        opted_out = [place for place, signal in enumerate(signals) if signal in settings.signals]
        batch.drop(opted_out, "page opts out of training", [signals[place] for place in opted_out])

    return step


def no_ai_signal(document: Document) -> Literal["", "noai", "tdm"]:
    """The opt-out signal of a page or of its HTTP header; "" if there is none."""
    if _refused(document.meta.get("x_robots_tag", "")):
        return "noai"
    if document.meta.get("tdm_reservation", "").strip() == "1":
        return "tdm"
    if document.meta.get("content_type") not in HTML_TYPES:
        return ""
    for tag in _META_TAG.finditer(document.text):
        name, content = _NAMED.search(tag[0]), _CONTENT.search(tag[0])
        if not name or not content:
            continue
        value = (content[1] or content[2] or content[3] or "").strip().lower()
        if name[1].lower() == "tdm-reservation" and value == "1":
            return "tdm"
        if name[1].lower() in _ROBOT_NAMES and _refused(value):
            return "noai"
    return ""


_ROBOT_NAMES = frozenset(["robots", *(name.lower() for name in AI_CRAWLERS)])


def _refused(directives: str) -> bool:
    return any(part.rpartition(":")[2].strip() == "noai" for part in directives.lower().split(","))


class BlockSettings(Settings, tag="block", tag_field="kind", frozen=True, kw_only=True):
    """Drops pages by their URL.

    lists:   published lists of domains, which are fetched: "adult" (of the University of Toulouse), "piracy" (copies
             without a licence). The reason of a drop names the list.
    domains: files of domain names, one per line ("#" begins a comment); subdomains are blocked too.
    urls:    files of URLs, one per line; scheme, "www.", fragment and trailing slash are ignored.
    words:   words that a URL must not contain, delimited by punctuation.
    """

    lists: tuple[ListName, ...] = ()
    domains: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.lists or self.domains or self.urls or self.words):
            raise SettingsError("a step of kind block needs lists, domains, urls or words")


def block(settings: BlockSettings) -> Step:
    """Drop pages on a block list (FineWeb and RefinedWeb, arXiv 2306.01116, filter URLs in this way).

    Raises:
        DiskError: a list is missing.
        ValueError: a list is corrupt or empty, or cannot be fetched.
    """
    sites = {"blocked domain": _list(settings.domains, _domain)} if settings.domains else {}
    for listed in settings.lists:
        path = str(local_file(BLOCK_LISTS[listed].address))
        sites[f"blocked domain ({listed})"] = _list([path], _domain)
    urls = _list(settings.urls, normalized_url)
    words = frozenset(word.lower() for word in settings.words)

    def why(document: Document) -> tuple[str, str] | None:
        url = document.meta.get("url", "")
        name = url_host(url)
        labels = name.split(".")
        for start in range(len(labels)):
            above = ".".join(labels[start:])
            for reason, domains in sites.items():
                if above in domains:
                    return reason, above
        if urls and normalized_url(url) in urls:
            return "blocked URL", url
        if words and (hit := words.intersection(re.split(r"[\W_]+", url.lower()))):
            return "blocked word in URL", min(hit)
        return None

    def step(batch: DocumentBatch) -> None:
        blocked = {place: cause for place, document in enumerate(batch.documents) if (cause := why(document))}
        batch.drop(list(blocked), [reason for reason, _ in blocked.values()], [d for _, d in blocked.values()])

    return step


def _domain(line: str) -> str:
    return line.lower().removeprefix("www.").strip(".")


def _list(paths: Sequence[str], spelled: Callable[[str], str]) -> frozenset[str]:
    found: set[str] = set()
    for path in paths:
        lines = (line.decode("utf-8", "replace").partition("#")[0].strip() for line in lines_of_list(path))
        names = {spelled(line) for line in lines if line} - {""}
        if not names:
            raise ValueError(f"the block list {path} is empty; name another file or remove it from the recipe")
        found |= names
    return frozenset(found)


class LicenceSettings(Settings, tag="licence", tag_field="kind", frozen=True, kw_only=True):
    """Detects the licence of pages (before the extraction of HTML) and of code, writes it to the metadata field
    `licence`, and filters by it. The mark of a picture, a comment or another part of a page is not that of the page; it
    is counted.

    allow:   SPDX names, "*" matches any ending ("CC-BY-*", "MIT"); if given, other licences are dropped. "A OR B" needs
             one of the two, "A AND B" needs both.
    deny:    SPDX names that are dropped.
    unknown: keep or drop documents without a known licence.
    hints:   whether a link to a licence counts that does not say that it applies to the page.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    unknown: Literal["keep", "drop"] = "keep"
    hints: bool = False


def licences(settings: LicenceSettings) -> Step:
    """Detect licences (Creative Commons links and rel="license" on pages, SPDX in code) and filter by them."""

    def allowed(name: str) -> bool:
        return not _any(name, settings.deny) and (not settings.allow or _any(name, settings.allow))

    def step(batch: DocumentBatch) -> None:
        found = list(map(declared_licence, batch.documents))
        names = [_name_for_all(licence, settings.hints) for licence in found]
        batch.add_metadata({"licence": names})
        parts = sum(licence is not None and not licence.whole for licence in found)
        batch.note("licence of a picture, a comment or another part alone", parts)
        dropped: dict[int, str] = {}
        for place, name in enumerate(names):
            if name is None:
                if settings.unknown == "drop":
                    dropped[place] = "unknown licence"
            elif not licence_fits(name, allowed):
                dropped[place] = "licence not allowed"
        batch.drop(list(dropped), list(dropped.values()), [names[place] or "" for place in dropped])

    return step


def licence_of(document: Document, hints: bool = False) -> str | None:
    """The SPDX name of the licence of all of a document; None if there is none."""
    return _name_for_all(declared_licence(document), hints)


def declared_licence(document: Document) -> Licence | None:
    """The licence that a page or a part of it, a source file or its tree declares; None if there is none."""
    if document.meta.get("content_type") in HTML_TYPES:
        return page_licence(document.text)
    name = (code_licence(document.text) if is_source(document) else None) or document.meta.get("license")
    return None if name is None else Licence(name, sure=True)


def _name_for_all(licence: Licence | None, hints: bool) -> str | None:
    return licence.name if licence and licence.whole and (licence.sure or hints) else None


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
