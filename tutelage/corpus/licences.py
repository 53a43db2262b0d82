"""Detects the licence that a page or a source file declares."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from html import unescape
from typing import Any, NamedTuple

from tutelage.corpus.licence_scope import about_the_page
from tutelage.extras import load

_CREATIVE = re.compile(r"creativecommons\.org/(licen[sc]es|publicdomain)/([a-z+-]{2,12})(?:/(\d\.\d))?", re.IGNORECASE)
# A page declares its licence in a link with rel=license, or in a data field. Attributes come in any order.
_TAG = re.compile(r"<(?:a|link)\b([^<>]{0,2000})>", re.IGNORECASE)
_REL = re.compile(r"\brel\s*=\s*[\"']?[^\"'>]{0,200}\blicen[sc]e\b", re.IGNORECASE)
_DATA = re.compile(r"[\"'](?:dct?:|cc:|schema:)?licen[sc]e[\"']\s*:\s*[\"']([^\"']{1,300})[\"']", re.IGNORECASE)
_META = re.compile(r"<meta\b[^<>]{0,300}(?:dc\.rights|dcterms\.licen[sc]e|license)[^<>]{0,600}>", re.IGNORECASE)

_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+() -]{1,200})")
_HEAD = 4000  # characters; a licence is at the top of a file
_NAMED_FILE = re.compile(
    r"(?:(?:un)?licen[sc]e|copying)(?![\w.-]*\.(?:py|js|ts|c|h|cc|cpp|rs|go|java|json|ya?ml|toml|xml|css|rb|php|sh)$)"
    r"(?:[-_.][\w.-]*)?$",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"(licen[sc]e|copying)[-_]\w", re.IGNORECASE)  # LICENSE-MIT beside LICENSE-APACHE: a choice
# Values in package metadata that refer to another file, or mean that there is no licence.
_UNNAMED = ("see ", "file", "unknown", "none", "unlicensed", "other", "custom")
_CLASSIFIED = {
    "MIT License": "MIT", "Apache Software License": "Apache-2.0", "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC", "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0", "GNU General Public License v3 (GPLv3)": "GPL-3.0",
    "GNU Affero General Public License v3": "AGPL-3.0", "The Unlicense (Unlicense)": "Unlicense",
}  # fmt: skip
_SPELLED = {
    "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0", "mit license": "MIT", "the mit license": "MIT", "bsd": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause", "new bsd": "BSD-3-Clause", "gplv2": "GPL-2.0", "gplv3": "GPL-3.0", "gpl v2": "GPL-2.0",
    "gpl v3": "GPL-3.0", "gpl-2": "GPL-2.0", "gpl-3": "GPL-3.0", "mpl 2.0": "MPL-2.0", "public domain": "Unlicense",
}  # fmt: skip
_LONGEST_EXPRESSION = 200  # characters
_SPACE = re.compile(r"[\s/*#;%!\"'<>-]+")
# A sentence that each licence, or its notice, contains verbatim; compared without punctuation and case.
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
    (
        "OFL-1.1",
        "permission is hereby granted, free of charge, to any person obtaining a copy of the font software",
        "",
    ),
    ("MIT", "permission is hereby granted, free of charge, to any person obtaining a copy", ""),
    ("ISC", "permission to use, copy, modify, and or distribute this software for any purpose", ""),
    ("Zlib", "altered source versions must be plainly marked as such", ""),
    ("EPL-2.0", "eclipse public license", "2.0"),
    ("CC-BY-SA-4.0", "attribution sharealike 4.0 international", ""),
    ("CC-BY-4.0", "attribution 4.0 international", ""),
    ("Unlicense", "this is free and unencumbered software released into the public domain", ""),
    ("BSL-1.0", "boost software license", ""),
    ("CC0-1.0", "cc0 1.0 universal", ""),
    ("Proprietary", "all rights reserved", "confidential"),
)
# These are sentences; all other notes are titles, which also stand where a licence is only mentioned.
_SENTENCES = ("redistribution", "permission", "altered", "this is free", "all rights")
_TITLE_WITHIN = 150  # characters at the beginning; a copyright line may stand before a title
_NOTICE = re.compile(r"\b(?:under|of)(?: (?:the|an?|either|this))? $")  # before a title: "under the terms of the"
# A text with one of these forbids something that the licence it mentions, or is based on, allows.
_LIMITS = (
    "business source license", "functional source license", "future license", "change license", "commons clause",
    "non commercial", "noncommercial", "not evil", "server side public license", "elastic license", "polyform",
    "fair source", "fair core license", "sustainable use license", "research purposes only", "community license",
    "non production use", "academic use only", "evaluation purposes only", "confluent community", "responsible ai",
)  # fmt: skip
_LIMITED_OWN = ("GPL-", "LGPL-", "AGPL-")  # their texts speak of non-commercial copies


class Licence(NamedTuple):
    """A licence by its SPDX name. `sure` is False for a link to it that is not marked as a licence, `whole` for the
    licence of a picture, a comment or another part of a page."""

    name: str
    sure: bool
    whole: bool = True


def page_licence(page: str) -> Licence | None:
    """The Creative Commons licence of an HTML page; if there is none, that of a part of it. If it declares several, the
    one with the most conditions. Unmarked links count only if all point to the same licence."""
    if "creativecommons.org" not in page:
        return None
    if licence := _declared(about_the_page(page)):
        return licence
    part = _declared(page)
    return part and part._replace(whole=False)


def _declared(page: str) -> Licence | None:
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


def licence_text(text: str) -> str | None:
    """The licence whose text or notice comes first in a file such as LICENSE. The GPL mentions others further down."""
    return min(_noted_licences(text), default=(0, 0, None))[2]


def _noted_licences(text: str) -> list[tuple[int, int, str]]:
    """Position, place in _NOTES, and name of the licences that stand in the head of a text; none if their terms are
    limited there, or anywhere in the text of a permissive one."""
    words = _SPACE.sub(" ", text.lower())
    head = words[:_HEAD]
    found = []
    for place, (name, sentence, also) in enumerate(_NOTES):
        position = _find_note(head, sentence) if also in head else -1
        if position >= 0:
            found.append((position, place, name))
    permissive = not any(name.startswith(_LIMITED_OWN) for _, _, name in found)
    searched = words if permissive else head
    return [] if any(limit in searched for limit in _LIMITS) else found


def _find_note(words: str, sentence: str) -> int:
    """Where a sentence of a licence stands, or its title: at the beginning, or in a notice; -1 where it does not."""
    position = words.find(sentence)
    if sentence.startswith(_SENTENCES):
        return position
    while position > _TITLE_WITHIN and not _NOTICE.search(words, max(0, position - 20), position):
        position = words.find(sentence, position + 1)
    return position


def is_about_licences(name: str) -> bool:
    """Whether a file, by its name, declares the licence of a source tree."""
    return bool(_NAMED_FILE.match(name)) or name in _METADATA


def folder_licence(files: Mapping[str, str]) -> str | None:
    """The licence of a folder, from its licence files (name -> text): by package metadata, else by LICENSE and COPYING
    files. Several of these are joined by AND, or by OR if their names mark a choice. "" for an unknown licence, None if
    the folder declares none."""
    for name, read in _METADATA.items():
        if name in files and (named := read(files[name])):
            return named
    texts = {name: licence_text(text) for name, text in files.items() if _NAMED_FILE.match(name)}
    names = sorted({one for one in texts.values() if one})
    if any(name.startswith("LGPL") for name in names):  # it supplements the GPL, which is in a file beside it
        names = [name for name in names if not name.startswith("GPL")]
    chosen = all(_CHOICE.match(name) for name, one in texts.items() if one)
    return (" OR " if chosen else " AND ").join(names) if texts else None


def _plain_name(said: object) -> str | None:
    """The licence in package metadata; None if they refer to another file or declare no licence."""
    if isinstance(said, dict):
        said = said.get("text") or said.get("type") or said.get("name")
    if isinstance(said, list):
        names = [name for one in said if (name := _plain_name(one))]
        return " OR ".join(names) or None
    if not isinstance(said, str) or not said.strip():
        return None
    plain = " ".join(said.split())
    if len(plain) > 100:
        return licence_text(plain)
    if plain.lower() in _SPELLED:
        return _SPELLED[plain.lower()]
    return None if plain.lower().startswith(_UNNAMED) else plain.replace("/", " OR ")


def _of_python(text: str) -> str | None:
    table = tomllib.loads(text)
    project = table.get("project") or table.get("tool", {}).get("poetry") or {}
    if named := _plain_name(project.get("license")):
        return named
    said = [str(one).rpartition(" :: ")[2] for one in project.get("classifiers") or []]
    return next((_CLASSIFIED[one] for one in said if one in _CLASSIFIED), None)


def _of_rust(text: str) -> str | None:
    return _plain_name(tomllib.loads(text).get("package", {}).get("license"))


def _of_json(text: str) -> str | None:
    table = json.loads(text)
    return _plain_name(table.get("license") or table.get("licenses"))


def _guarded(read: Callable[[str], str | None]) -> Callable[[str], str | None]:
    def careful(text: str) -> str | None:
        try:
            return read(text)
        except (ValueError, AttributeError, TypeError, RecursionError):  # not TOML or JSON, or of another shape
            return None

    return careful


_METADATA = {
    "pyproject.toml": _guarded(_of_python),
    "Cargo.toml": _guarded(_of_rust),
    "package.json": _guarded(_of_json),
    "composer.json": _guarded(_of_json),
}


def licence_fits(expression: str, fits: Callable[[str], bool]) -> bool:
    """Evaluate an SPDX expression with `fits` for single licences: "A OR B" needs one of the two, "A AND B" both. Text
    that is not an expression ("MIT style") counts as a single licence."""
    licensing = _licensing()

    def evaluate(node: Any) -> bool:
        if isinstance(node, licensing.AND):
            return all(map(evaluate, node.args))
        if isinstance(node, licensing.OR):
            return any(map(evaluate, node.args))
        return fits(getattr(node, "license_symbol", node).key)  # an exception, after WITH, only allows more

    try:
        parsed = licensing.parse(expression[:_LONGEST_EXPRESSION])
    except Exception:  # of several kinds, that have no base in common
        parsed = None
    return fits(expression.strip(" ()")) if parsed is None else evaluate(parsed)


@cache
def _licensing() -> Any:
    return load("license_expression").Licensing()


def code_licence(text: str) -> str | None:
    """The licence in the header of a source file: by SPDX identifier, else by licence text."""
    head = text[:_HEAD]
    if spdx := _SPDX.search(head):
        return " ".join(spdx[1].split()).rstrip(" -") or None  # "-->" ends a remark
    found = _noted_licences(head)
    return min(found, key=lambda note: note[1])[2] if found else None
