"""Personal data (PII) and secrets in a text: e-mail addresses, IP addresses, telephone numbers, card numbers, API keys,
and names of people where they are asked for.

A number counts as an IP address only if it can be one and the text beside it does not mark it as a version, a section
or a part of something longer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Literal, NamedTuple

from tutelage.text.names import find_names
from tutelage.text.phones import find_phones
from tutelage.text.secrets import find_cards, find_secrets

Kind = Literal["email", "ip", "phone", "card", "secret", "name"]
KINDS: tuple[Kind, ...] = ("email", "ip", "phone", "card", "secret")  # names stand in texts of all kinds

PLACEHOLDERS: dict[Kind, str] = {
    "email": "email@example.com",
    "ip": "192.0.2.1",
    "phone": "555-555-0100",
    "card": "0000 0000 0000 0000",
    "secret": "SECRET",
    "name": "PERSON",
}
_PLACEHOLDER_IP6 = "2001:db8::1"

_EMAIL = re.compile(
    r"(?<![\w.+%/@$-])[a-z0-9](?:[\w.+%'-]{0,62}[a-z0-9_+])?@"
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}([a-z]{2,24})(?![\w@-])(?!\.[a-z0-9])",
    re.IGNORECASE | re.ASCII,
)
# Addresses with letters of other scripts (RFC 6531), or with a top-level domain in Punycode.
_EMAIL_INTERNATIONAL = re.compile(
    r"(?<![\w.+%/@$-])\w(?:[\w.+%'-]{0,62}\w)?@(?:\w(?:[\w-]{0,61}\w)?\.){1,8}"
    r"(xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24})(?![\w@-])(?!\.\w)",
    re.IGNORECASE,
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


class Found(NamedTuple):
    """A span of personal data, and its placeholder."""

    start: int
    stop: int
    kind: Kind
    placeholder: str


def find_pii(text: str, kinds: tuple[Kind, ...] = KINDS) -> list[Found]:
    """All e-mail addresses, public IPv4 or IPv6 addresses, telephone numbers, card numbers and secrets, in order, not
    overlapping."""
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
    international = () if text.isascii() and "xn--" not in text else _EMAIL_INTERNATIONAL.finditer(text)
    for match in chain(_EMAIL.finditer(text), international):
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
    return (Found(*span, "phone", PLACEHOLDERS["phone"]) for span in find_phones(text))


def _cards(text: str) -> Iterator[Found]:
    return (Found(*span, "card", PLACEHOLDERS["card"]) for span in find_cards(text))


def _names(text: str) -> Iterator[Found]:
    return (Found(*span, "name", PLACEHOLDERS["name"]) for span in find_names(text))


def _secrets(text: str) -> Iterator[Found]:
    return (Found(*span, "secret", PLACEHOLDERS["secret"]) for span in find_secrets(text))


_FINDERS: dict[Kind, Callable[[str], Iterator[Found]]] = {
    "email": _emails,
    "ip": _addresses,
    "phone": _phones,
    "card": _cards,
    "secret": _secrets,
    "name": _names,
}
