"""Who said no, and under which licence: steps that keep and drop documents by policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.licences import code_licence, licence_fits, page_licence
from tutelage.corpus.page_text import HTML_TYPES
from tutelage.corpus.read.source import Source, open_bytes
from tutelage.corpus.read.unpack import unpack
from tutelage.corpus.robots import Robots, parse_robots, refusals
from tutelage.corpus.rules.code import is_source
from tutelage.records import Document

# Crawlers whose pages are trained on, by the names that their makers publish.
AI_CRAWLERS = (
    "GPTBot", "CCBot", "ClaudeBot", "anthropic-ai", "Google-Extended", "Applebot-Extended", "meta-externalagent",
    "Bytespider", "Amazonbot", "cohere-ai", "AI2Bot", "Diffbot", "omgili", "PerplexityBot",
)  # fmt: skip

_META_TAG = re.compile(r"<meta\b[^<>]{0,1000}>", re.IGNORECASE)
_NAMED = re.compile(r"\bname\s*=\s*[\"']?\s*([\w:-]+)", re.IGNORECASE)
_SAID = re.compile(r"\bcontent\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))", re.IGNORECASE)
_MAX_LINE = 1 << 20


def host(document: Document) -> str:
    """The host of a document's address in lower case, without "www."; "" where it has none."""
    try:
        found = urlsplit(document.meta.get("url", "").strip()).hostname or ""
    except ValueError:
        return ""
    return found.lower().removeprefix("www.").rstrip(".")


class RobotsSettings(Settings, tag="robots", tag_field="kind", frozen=True, kw_only=True):
    """Drops pages whose site forbids them to crawlers that gather text for training.

    path:     JSON lines, {"host": ..., "robots": ...}: the robots.txt of each site, as it was sent.
    crawlers: a page that is forbidden to any of these is dropped.
    """

    path: str
    crawlers: tuple[str, ...] = AI_CRAWLERS


def robots(settings: RobotsSettings) -> Step:
    """The step; ValueError where the file cannot be used."""
    sites = _sites(settings.path)

    @lru_cache(maxsize=4096)
    def rules(name: str) -> Robots | None:
        return parse_robots(sites[name]) if name in sites else None

    def step(batch: DocumentBatch) -> None:
        said: dict[int, str] = {}
        unknown = 0
        for place, document in enumerate(batch.documents):
            found = rules(host(document))
            unknown += found is None
            if found and (names := refusals(found, document.meta["url"], settings.crawlers)):
                said[place] = ", ".join(names[:3])
        batch.note("pages of sites without a known robots.txt", unknown)
        batch.drop(list(said), "robots.txt forbids it", list(said.values()))

    return step


def _sites(path: str) -> dict[str, str]:
    sites: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            row = msgspec.json.decode(line)
            sites[row["host"].lower().removeprefix("www.")] = row["robots"]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            raise ValueError(f'{path}, line {number}: write {{"host": "...", "robots": "..."}}') from None
    return sites


def _lines(path: str) -> Iterator[bytes]:
    """The lines of a list that somebody wrote, packed or not. ValueError where it is damaged: a block list that is
    read in part blocks in part."""
    with open_bytes(path) as file:
        source = Source(unpack(file))
        while line := source.until(b"\n", _MAX_LINE):
            if line.strip():
                yield line
        if source.damage:
            raise ValueError(f"{path}, byte {source.damage.at}: {source.damage.reason}; make it again")


class NoAiSettings(Settings, tag="no_ai", tag_field="kind", frozen=True, kw_only=True):
    """Drops pages that say themselves that they are not to be trained on. It must stand before HTML is extracted.

    signals: "noai" in `<meta name="robots">` or in the header X-Robots-Tag; "tdm" is `<meta name="tdm-reservation"
             content="1">` of the W3C group on text and data mining.
    """

    signals: tuple[Literal["noai", "tdm"], ...] = ("noai", "tdm")


def no_ai(settings: NoAiSettings) -> Step:
    """The step."""

    def step(batch: DocumentBatch) -> None:
        said = [no_ai_signal(document) for document in batch.documents]
        found = [place for place, signal in enumerate(said) if signal in settings.signals]
        batch.drop(found, "the page refuses training", [said[place] for place in found])

    return step


def no_ai_signal(document: Document) -> Literal["", "noai", "tdm"]:
    """Which signal a page or the answer it came in holds against training on it; "" where none does."""
    if _refused(document.meta.get("x_robots_tag", "")):
        return "noai"
    if document.meta.get("content_type") not in HTML_TYPES:
        return ""
    for tag in _META_TAG.finditer(document.text):
        name, content = _NAMED.search(tag[0]), _SAID.search(tag[0])
        if not name or not content:
            continue
        said = (content[1] or content[2] or content[3] or "").strip().lower()
        if name[1].lower() == "tdm-reservation" and said == "1":
            return "tdm"
        if name[1].lower() in _ROBOT_NAMES and _refused(said):
            return "noai"
    return ""


_ROBOT_NAMES = frozenset(["robots", *(name.lower() for name in AI_CRAWLERS)])


def _refused(directives: str) -> bool:
    return any(part.rpartition(":")[2].strip() == "noai" for part in directives.lower().split(","))


class BlockSettings(Settings, tag="block", tag_field="kind", frozen=True, kw_only=True):
    """Drops pages by their address.

    domains: files of domain names, one a line ("#" begins a remark); all below a name goes too.
    urls:    files of addresses, one a line; http or https, "www.", "#..." and a last slash do not count.
    words:   words that must not stand in an address between its signs.
    """

    domains: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.domains or self.urls or self.words):
            raise SettingsError("a block list needs domains, urls or words")


def block(settings: BlockSettings) -> Step:
    """The step; DiskError where a list is not there, ValueError where it is damaged or empty."""
    domains = _list(settings.domains, lambda name: name.lower().removeprefix("www.").strip("."))
    urls = _list(settings.urls, _plain_url)
    words = frozenset(word.lower() for word in settings.words)

    def why(document: Document) -> tuple[str, str] | None:
        name, url = host(document), document.meta.get("url", "")
        labels = name.split(".")
        for start in range(len(labels)):
            if (above := ".".join(labels[start:])) in domains:
                return "domain on a block list", above
        if urls and _plain_url(url) in urls:
            return "address on a block list", url
        if words and (hit := words.intersection(re.split(r"[\W_]+", url.lower()))):
            return "word in the address", min(hit)
        return None

    def step(batch: DocumentBatch) -> None:
        found = {place: reason for place, document in enumerate(batch.documents) if (reason := why(document))}
        batch.drop(list(found), [reason for reason, _ in found.values()], [detail for _, detail in found.values()])

    return step


def _plain_url(url: str) -> str:
    bare = re.sub(r"^[a-z]+://", "", url.strip(), flags=re.IGNORECASE).partition("#")[0]
    name, slash, path = bare.partition("/")
    return (name.lower().removeprefix("www.") + slash + path).rstrip("/")


def _list(paths: Sequence[str], spelled: Callable[[str], str]) -> frozenset[str]:
    found: set[str] = set()
    for path in paths:
        lines = (line.decode("utf-8", "replace").partition("#")[0].strip() for line in _lines(path))
        names = {spelled(line) for line in lines if line} - {""}
        if not names:
            raise ValueError(f"the block list {path} is empty, so it would block nothing; give another or leave it out")
        found |= names
    return frozenset(found)


class LicenceSettings(Settings, tag="licence", tag_field="kind", frozen=True, kw_only=True):
    """Finds the licence of pages (before their HTML is extracted) and of code, writes it to `facts.licence`, and keeps
    or drops by it.

    allow:   SPDX names, "*" for any ending ("CC-BY-*", "MIT"); where given, what is under another licence is dropped.
             Of "A OR B" one suffices, of "A AND B" both must be allowed.
    refuse:  names that are dropped.
    unknown: what happens to documents without one.
    hints:   whether a link to a licence counts that does not say it is the page's own.
    """

    allow: tuple[str, ...] = ()
    refuse: tuple[str, ...] = ()
    unknown: Literal["keep", "drop"] = "keep"
    hints: bool = False


def licences(settings: LicenceSettings) -> Step:
    """The step."""

    def allowed(name: str) -> bool:
        return not _any(name, settings.refuse) and (not settings.allow or _any(name, settings.allow))

    def step(batch: DocumentBatch) -> None:
        names = [licence_of(document, settings.hints) for document in batch.documents]
        batch.describe({"licence": names})
        dropped: dict[int, str] = {}
        for place, name in enumerate(names):
            if name is None:
                if settings.unknown == "drop":
                    dropped[place] = "no licence found"
            elif not licence_fits(name, allowed):
                dropped[place] = "licence is not allowed"
        batch.drop(list(dropped), list(dropped.values()), [names[place] or "" for place in dropped])

    return step


def licence_of(document: Document, hints: bool = False) -> str | None:
    """The SPDX name of the licence that a page, or a file of code or the tree it is in, says it stands under."""
    if document.meta.get("content_type") in HTML_TYPES:
        found = page_licence(document.text)
        return found.name if found and (found.sure or hints) else None
    if is_source(document):
        return code_licence(document.text) or document.meta.get("license")
    return document.meta.get("license")


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
