"""What says who or where a person is, e-mail addresses, internet addresses, telephone numbers: replaced by stand-ins.

A number is taken for an address only where it can be one and nothing beside it says that it is a version, a section or
a part of something longer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.consent import host
from tutelage.corpus.corpus_step import Columns, Corpus, CorpusStep, rows_of_documents
from tutelage.corpus.dedup.whole import hashes

Kind = Literal["email", "ip", "phone"]

STAND_INS: dict[Kind, str] = {"email": "email@example.com", "ip": "192.0.2.1", "phone": "555-555-0100"}
_STAND_IN_6 = "2001:db8::1"

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
# Versions and sections count in small numbers; of addresses one in four thousand has only these.
_SMALL = 32

_IP6 = re.compile(r"(?<![\w:.])([23][0-9a-f]{3}(?::{1,2}[0-9a-f]{1,4}){2,7})(?![\w:])", re.IGNORECASE | re.ASCII)

_PHONE_US = re.compile(
    r"(?<![\w.+/=#-])(?:\+?1[ .-]?)?(?:\(([2-9]\d\d)\) ?|([2-9]\d\d)([ .-]))"
    r"([2-9]\d\d)([ .-])(\d{4})(?![\w/=-])(?!\.\d)",
    re.ASCII,
)
_NO_AREAS = ("200", "300", "400")  # given to nobody, while round numbers are common
_PHONE_WORLD = re.compile(
    r"(?<![\w.+/=-])\+(?!1\b|1[ .(-])[1-9]\d{0,2}(?:[ .-]?\(?\d{1,5}\)?){2,6}(?![\w/=-])(?!\.\d)", re.ASCII
)


class Found(NamedTuple):
    """A span of a text, and what stands in for it."""

    start: int
    stop: int
    kind: Kind
    stand_in: str


def find_pii(text: str, kinds: tuple[Kind, ...] = ("email", "ip", "phone")) -> list[Found]:
    """Every e-mail address, public IPv4 or IPv6 address and telephone number, in order, none inside another."""
    found = sorted(span for kind in kinds for span in _FINDERS[kind](text))
    kept: list[Found] = []
    for span in found:
        if not kept or span.start >= kept[-1].stop:
            kept.append(span)
    return kept


def mask(text: str, found: list[Found]) -> str:
    """The text with stand-ins in the places of the spans."""
    parts, at = [], 0
    for span in found:
        parts += [text[at : span.start], span.stand_in]
        at = span.stop
    return "".join([*parts, text[at:]])


def _emails(text: str) -> Iterator[Found]:
    if "@" not in text:
        return
    for match in _EMAIL.finditer(text):
        address = match[0].lower()
        # "user@host:path" and "user@host/path" tell a program where something stands.
        place = text[match.end() : match.end() + 2]
        if match[1].lower() in _FILES or address.endswith(_NOBODY) or ".." in address:
            continue
        if address.startswith("git@") or (place[:1] in (":", "/") and place[1:].strip()):
            continue
        yield Found(*match.span(), "email", STAND_INS["email"])


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
            yield Found(*match.span(), "ip", STAND_INS["ip"])
    if ":" in text:
        for match in _IP6.finditer(text):
            try:
                public = ipaddress.IPv6Address(match[1]).is_global
            except ValueError:
                continue
            if public:
                yield Found(*match.span(), "ip", _STAND_IN_6)


def _phones(text: str) -> Iterator[Found]:
    for match in _PHONE_US.finditer(text):
        area, exchange = match[1] or match[2], match[4]
        apart = match[3] is None or match[3] == match[5]
        if apart and area not in _NO_AREAS and area[1:] != "11" and exchange[1:] != "11":
            yield Found(*match.span(), "phone", STAND_INS["phone"])
    if "+" in text:
        for match in _PHONE_WORLD.finditer(text):
            if 8 <= sum(map(str.isdigit, match[0])) <= 15:
                yield Found(*match.span(), "phone", STAND_INS["phone"])


_FINDERS: dict[Kind, Callable[[str], Iterator[Found]]] = {"email": _emails, "ip": _addresses, "phone": _phones}


class PiiSettings(Settings, tag="pii", tag_field="kind", frozen=True, kw_only=True):
    """Replaces e-mail addresses, public internet addresses and telephone numbers by stand-ins.

    kinds: which of them. FineWeb replaces "email" and "ip".
    most:  a document with more of them is dropped; Dolma: 5. None: no document is.
    """

    kinds: tuple[Kind, ...] = ("email", "ip", "phone")
    most: int | None = None


def pii(settings: PiiSettings) -> Step:
    """The step."""

    def step(batch: DocumentBatch) -> None:
        found = [find_pii(document.text, settings.kinds) for document in batch.documents]
        most = settings.most
        batch.rewrite(
            [
                mask(d.text, f) if f and (most is None or len(f) <= most) else None
                for d, f in zip(batch.documents, found, strict=True)
            ],
            "personal data masked",
        )
        for kind in settings.kinds:
            batch.note(f"documents with {kind}", sum(any(span.kind == kind for span in spans) for spans in found))
        if most is not None:
            full = [place for place, spans in enumerate(found) if len(spans) > most]
            batch.drop(full, "much personal data", [f"{len(found[place])} spans" for place in full])

    return step


class PiiDomainSettings(Settings, tag="pii_domains", tag_field="kind", frozen=True, kw_only=True):
    """Drops all documents of a domain that is full of personal data. It must stand before the data are masked.

    share:     of a domain's documents that may hold `spans` or more; where more do, the domain goes.
    spans:     e-mail addresses, internet addresses and telephone numbers that make a document one of those.
    documents: a domain with fewer says nothing about itself.
    """

    share: float = 0.5
    spans: int = 3
    documents: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.spans < 1 or self.documents < 1:
            raise SettingsError("share is at least 0 and below 1; spans and documents are at least 1")


def pii_domains(settings: PiiDomainSettings) -> CorpusStep:
    """The step over the whole corpus; documents without an address pass."""

    def collect(batch: DocumentBatch) -> Columns:
        full = [len(find_pii(document.text)) >= settings.spans for document in batch.documents]
        return {"host": hashes(host(document) for document in batch.documents), "full": np.array(full, bool)}

    def decide(corpus: Corpus) -> dict[str, Any]:
        hosts, full = corpus.columns["host"], corpus.columns["full"]
        names = np.unique(np.concatenate([np.unique(shard) for shard in hosts] or [np.empty(0, np.uint64)]))
        counts, heavy = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
        for shard, flags in zip(hosts, full, strict=True):
            at = np.searchsorted(names, shard)
            counts += np.bincount(at, minlength=len(names))
            heavy += np.bincount(at[flags], minlength=len(names))
        gone = (names != 0) & (counts >= settings.documents) & (heavy > settings.share * counts)
        for shard, verdict in zip(hosts, corpus.verdicts("domain", "host", np.uint8), strict=True):
            verdict[:] = gone[np.searchsorted(names, shard)]
        return {"domains": int((names != 0).sum()), "domains dropped": int(gone.sum())}

    def apply(batch: DocumentBatch, verdicts: Columns) -> None:
        gone = np.flatnonzero(verdicts["domain"])
        batch.drop(gone, "domain full of personal data", [host(batch.documents[place]) for place in gone.tolist()])

    return CorpusStep(collect, decide, rows_of_documents("domain"), apply)
