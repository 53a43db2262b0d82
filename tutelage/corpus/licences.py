"""Under which licence a page or a file of code says that it stands."""

from __future__ import annotations

import re
from html import unescape
from typing import NamedTuple

_CREATIVE = re.compile(r"creativecommons\.org/(licen[sc]es|publicdomain)/([a-z+-]{2,12})(?:/(\d\.\d))?", re.IGNORECASE)
# Where a page names its own licence: a link with rel=license, or a field of its data. Attributes come in any order.
_TAG = re.compile(r"<(?:a|link)\b([^<>]{0,2000})>", re.IGNORECASE)
_REL = re.compile(r"\brel\s*=\s*[\"']?[^\"'>]*\blicen[sc]e\b", re.IGNORECASE)
_DATA = re.compile(r"[\"'](?:dct?:|cc:|schema:)?licen[sc]e[\"']\s*:\s*[\"']([^\"']{1,300})[\"']", re.IGNORECASE)
_META = re.compile(r"<meta\b[^<>]{0,300}(?:dc\.rights|dcterms\.licen[sc]e|license)[^<>]{0,600}>", re.IGNORECASE)

_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+() -]{1,200})")
_HEAD = 4000  # characters: a licence stands at the top of a file
_SPACE = re.compile(r"[\s/*#;%!\"'<>-]+")
# A sentence that each licence, or the note that it asks for, holds word for word; read without signs and case.
_NOTES = (
    ("AGPL-3.0", "gnu affero general public license", ""),
    ("LGPL-3.0", "gnu lesser general public license", "version 3"),
    ("LGPL-2.1", "gnu lesser general public license", ""),
    ("LGPL-2.0", "gnu library general public license", ""),
    ("GPL-3.0", "gnu general public license", "version 3"),
    ("GPL-2.0", "gnu general public license", "version 2"),
    ("Apache-2.0", "apache license", "version 2.0"),
    ("MPL-2.0", "mozilla public license", "2.0"),
    ("BSD-3-Clause", "redistribution and use in source and binary forms", "neither the name"),
    ("BSD-2-Clause", "redistribution and use in source and binary forms", ""),
    ("MIT", "permission is hereby granted, free of charge, to any person obtaining a copy", ""),
    ("ISC", "permission to use, copy, modify, and or distribute this software for any purpose", ""),
    ("Unlicense", "this is free and unencumbered software released into the public domain", ""),
    ("BSL-1.0", "boost software license", ""),
    ("CC0-1.0", "cc0 1.0 universal", ""),
    ("Proprietary", "all rights reserved", "confidential"),
)


class Licence(NamedTuple):
    """A licence by its SPDX name. Not `sure`: a link to it stands on the page, but not as the licence of the page."""

    name: str
    sure: bool


def page_licence(page: str) -> Licence | None:
    """The Creative Commons licence of a page of HTML. Of several that it names for itself, the one with most
    conditions; links that do not say what they are for count only where all lead to one licence."""
    if "creativecommons.org" not in page:
        return None
    named: set[str] = set()
    for tag in _TAG.finditer(page):
        if _REL.search(tag[1]):
            named |= _creative(tag[1])
    for said in (*_DATA.finditer(page), *_META.finditer(page)):
        named |= _creative(said[0].replace("\\/", "/"))
    if named:
        return Licence(max(named, key=lambda name: (_conditions(name), name)), True)
    linked = _creative(page.replace("\\/", "/"))
    return Licence(linked.pop(), False) if len(linked) == 1 else None


def _creative(text: str) -> set[str]:
    found = set()
    for match in _CREATIVE.finditer(unescape(text)):
        kind, version = match[2].lower(), match[3]
        if match[1].lower() == "publicdomain":
            name = {"zero": "CC0", "mark": "PDM"}.get(kind)
        else:
            parts = kind.split("-")
            name = f"CC-{kind.upper()}" if set(parts) <= {"by", "nc", "nd", "sa"} and "by" in parts else None
        if name:
            found.add(f"{name}-{version}" if version else name)
    return found


def _conditions(name: str) -> int:
    return sum(part in name.split("-") for part in ("BY", "NC", "ND", "SA"))


def code_licence(text: str) -> str | None:
    """The licence at the top of a file of code: what it names by SPDX, or the one whose words stand there."""
    head = text[:_HEAD]
    if spdx := _SPDX.search(head):
        return " ".join(spdx[1].split()).rstrip(" -") or None  # "-->" ends a remark
    words = _SPACE.sub(" ", head.lower())
    return next((name for name, sentence, also in _NOTES if sentence in words and also in words), None)
