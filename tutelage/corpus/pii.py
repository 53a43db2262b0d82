"""Personal data (PII): e-mail addresses, IP addresses and telephone numbers are replaced by placeholders.

A number counts as an IP address only if it can be one and the text beside it does not mark it as a version, a section
or a part of something longer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep, rows_of_documents
from tutelage.text.hashing import hash_texts
from tutelage.text.urls import url_host

Kind = Literal["email", "ip", "phone"]

PLACEHOLDERS: dict[Kind, str] = {"email": "email@example.com", "ip": "192.0.2.1", "phone": "555-555-0100"}
_PLACEHOLDER_IP6 = "2001:db8::1"

_EMAIL = re.compile(
    r"(?<![\w.+%/@$-])[a-z0-9](?:[\w.+%'-]{0,62}[a-z0-9_+])?@"
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}([a-z]{2,24})(?![\w@-])(?!\.[a-z0-9])",
    re.IGNORECASE | re.ASCII,
)
_FILES = frozenset("png jpg jpeg gif webp svg css js ico html py".split())  # "logo@2x.png"
_NOBODY = ("@example.com", "@example.org", "@example.net", "@domain.com", "@email.com", ".example", ".invalid", ".test")

_IP4 = re.compile(r"(?<![\w.,-])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?![\w-])(?!\.\d)", re.ASCII)
_NUMBERED = re.compile(
    r"(?:\b(?:v|ver|vers|version|versions|release|rel|rev|revision|build|firmware|fw|update|patch|sdk|driver|bios|kernel"
    r"|section|sections|sec|chapter|article|paragraph|clause|figure|fig|table|appendix|step|item|rule|oid|to|from)"
    r"[.:#]?|§|==|>=|<=|~=|[A-Za-z)]/)\s*\(?$",
    re.IGNORECASE,
)
_ADDRESSED = re.compile(
    r"(?:\b(?:ip|ipv4|address|addr|host|server|dns|ping|gateway|client|remote|from|proxy)\b\W{0,12}|://)$",
    re.IGNORECASE,
)
_LOOKED_BACK = 24  # characters
# Versions and sections use small numbers; only one address in four thousand has small numbers alone.
_SMALL = 32

_IP6 = re.compile(r"(?<![\w:.])([23][0-9a-f]{3}(?::{1,2}[0-9a-f]{1,4}){2,7})(?![\w:])", re.IGNORECASE | re.ASCII)

_PHONE_US = re.compile(
    r"(?<![\w.+/=#-])(?:\+?1[ .-]?)?(?:\(([2-9]\d\d)\) ?|([2-9]\d\d)([ .-]))"
    r"([2-9]\d\d)([ .-])(\d{4})(?![\w/=-])(?!\.\d)",
    re.ASCII,
)
_NO_AREAS = ("200", "300", "400")  # unassigned area codes; round numbers are common in text
_PHONE_WORLD = re.compile(
    r"(?<![\w.+/=-])\+(?!1\b|1[ .(-])[1-9]\d{0,2}(?:[ .-]?\(?\d{1,5}\)?){2,6}(?![\w/=-])(?!\.\d)", re.ASCII
)


class Found(NamedTuple):
    """A span of personal data, and its placeholder."""

    start: int
    stop: int
    kind: Kind
    placeholder: str


def find_pii(text: str, kinds: tuple[Kind, ...] = ("email", "ip", "phone")) -> list[Found]:
    """All e-mail addresses, public IPv4 or IPv6 addresses and telephone numbers, in order, not overlapping."""
    found = sorted(span for kind in kinds for span in _FINDERS[kind](text))
    kept: list[Found] = []
    for span in found:
        if not kept or span.start >= kept[-1].stop:
            kept.append(span)
    return kept


def mask(text: str, found: list[Found]) -> str:
    """The text with each span replaced by its placeholder."""
    parts, at = [], 0
    for span in found:
        parts += [text[at : span.start], span.placeholder]
        at = span.stop
    return "".join([*parts, text[at:]])


def _emails(text: str) -> Iterator[Found]:
    if "@" not in text:
        return
    for match in _EMAIL.finditer(text):
        address = match[0].lower()
        # "user@host:path" and "user@host/path" are locations, not e-mail addresses.
        place = text[match.end() : match.end() + 2]
        if match[1].lower() in _FILES or address.endswith(_NOBODY) or ".." in address:
            continue
        if address.startswith("git@") or (place[:1] in (":", "/") and place[1:].strip()):
            continue
        yield Found(*match.span(), "email", PLACEHOLDERS["email"])


def _addresses(text: str) -> Iterator[Found]:
    for match in _IP4.finditer(text):
        try:
            address = ipaddress.IPv4Address(match[0])
            public = address.is_global and not address.is_multicast
        except ValueError:
            continue
        before = text[max(match.start() - _LOOKED_BACK, 0) : match.start()]
        addressed = _ADDRESSED.search(before) is not None
        small = max(map(int, match.groups())) < _SMALL
        if public and (addressed or not (small or _NUMBERED.search(before))):
            yield Found(*match.span(), "ip", PLACEHOLDERS["ip"])
    if ":" in text:
        for match in _IP6.finditer(text):
            try:
                public = ipaddress.IPv6Address(match[1]).is_global
            except ValueError:
                continue
            if public:
                yield Found(*match.span(), "ip", _PLACEHOLDER_IP6)


def _phones(text: str) -> Iterator[Found]:
    for match in _PHONE_US.finditer(text):
        area, exchange = match[1] or match[2], match[4]
        apart = match[3] is None or match[3] == match[5]
        if apart and area not in _NO_AREAS and area[1:] != "11" and exchange[1:] != "11":
            yield Found(*match.span(), "phone", PLACEHOLDERS["phone"])
    if "+" in text:
        for match in _PHONE_WORLD.finditer(text):
            if 8 <= sum(map(str.isdigit, match[0])) <= 15:
                yield Found(*match.span(), "phone", PLACEHOLDERS["phone"])


_FINDERS: dict[Kind, Callable[[str], Iterator[Found]]] = {"email": _emails, "ip": _addresses, "phone": _phones}


class PiiSettings(Settings, tag="pii", tag_field="kind", frozen=True, kw_only=True):
    """Replaces e-mail addresses, public IP addresses and telephone numbers by placeholders.

    kinds:     what to replace. FineWeb replaces "email" and "ip".
    max_spans: a document with more of them is dropped. Dolma uses 5. None drops no document.
    """

    kinds: tuple[Kind, ...] = ("email", "ip", "phone")
    max_spans: int | None = None


def pii(settings: PiiSettings) -> Step:
    """Mask personal data (FineWeb, arXiv 2406.17557, section 3.7; Dolma, arXiv 2402.00159, drops by count)."""

    def step(batch: DocumentBatch) -> None:
        found = [find_pii(document.text, settings.kinds) for document in batch.documents]
        limit = settings.max_spans
        batch.rewrite(
            [
                mask(d.text, f) if f and (limit is None or len(f) <= limit) else None
                for d, f in zip(batch.documents, found, strict=True)
            ],
            "personal data masked",
        )
        for kind in settings.kinds:
            batch.note(f"documents with {kind}", sum(any(span.kind == kind for span in spans) for spans in found))
        if limit is not None:
            full = [place for place, spans in enumerate(found) if len(spans) > limit]
            batch.drop(full, "too much personal data", [f"{len(found[place])} spans" for place in full])

    return step


class PiiDomainSettings(Settings, tag="pii_domains", tag_field="kind", frozen=True, kw_only=True):
    """Drops all documents of a domain with much personal data. Place it before the step that masks them.

    share:     maximum fraction of a domain's documents with at least `spans` spans of personal data.
    spans:     see `share`.
    documents: domains with fewer documents are kept.
    """

    share: float = 0.5
    spans: int = 3
    documents: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.spans < 1 or self.documents < 1:
            raise SettingsError("share must be at least 0 and below 1; spans and documents must be at least 1")


def pii_domains(settings: PiiDomainSettings) -> GlobalStep:
    """Drop domains with much personal data. A global step. Documents without a URL are kept."""

    def collect(batch: DocumentBatch) -> Columns:
        full = [len(find_pii(document.text)) >= settings.spans for document in batch.documents]
        hosts = hash_texts(url_host(document.meta.get("url", "")) for document in batch.documents)
        return {"host": hosts, "full": np.array(full, bool)}

    def decide(corpus: Corpus) -> dict[str, Any]:
        hosts, full = corpus.columns["host"], corpus.columns["full"]
        names = np.unique(np.concatenate([np.unique(shard) for shard in hosts] or [np.empty(0, np.uint64)]))
        counts, heavy = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
        for shard, flags in zip(hosts, full, strict=True):
            at = np.searchsorted(names, shard)
            counts += np.bincount(at, minlength=len(names))
            heavy += np.bincount(at[flags], minlength=len(names))
        gone = (names != 0) & (counts >= settings.documents) & (heavy > settings.share * counts)
        for shard, decisions in zip(hosts, corpus.decisions("domain", "host", np.uint8), strict=True):
            decisions[:] = gone[np.searchsorted(names, shard)]
        return {"domains": int((names != 0).sum()), "domains_dropped": int(gone.sum())}

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        gone = np.flatnonzero(decisions["domain"])
        hosts = [url_host(batch.documents[place].meta.get("url", "")) for place in gone.tolist()]
        batch.drop(gone, "domain with much personal data", hosts)

    return GlobalStep(collect, decide, rows_of_documents("domain"), apply)
