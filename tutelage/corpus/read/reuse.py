"""Licences of files by the REUSE specification 3.3: `FILE.license` beside a file, and the table REUSE.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

TABLE, BESIDE = "REUSE.toml", ".license"

_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+() -]{1,200})")


class Annotation(NamedTuple):
    """The licence of the files that a pattern matches, relative to the folder of its table."""

    folder: PurePosixPath
    pattern: re.Pattern[str]
    licence: str


def read_annotations(place: PurePosixPath, content: str) -> list[Annotation]:
    """The annotations of a REUSE.toml, the last of which counts; [] where it is none."""
    try:
        rows = tomllib.loads(content).get("annotations", [])
    except tomllib.TOMLDecodeError:
        return []
    found: list[Annotation] = []
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping) and (licences := _strings(row.get("SPDX-License-Identifier"))):
            patterns = [re.compile(_expression(path)) for path in _strings(row.get("path"))]
            found += [Annotation(place.parent, pattern, " AND ".join(licences)) for pattern in patterns]
    return found


def file_licence(
    inner: str, names: Iterable[str] | Mapping[str, object], read: Callable[[str], str], tables: list[Annotation]
) -> str:
    """The licence of a file by REUSE; "" if none is declared.

    names: all files of the tree.
    read:  the content of one of them.
    """
    if inner + BESIDE in names and (match := _SPDX.search(read(inner + BESIDE))):
        return match[1].strip()
    place = PurePosixPath(inner)
    fits = [table for table in tables if _fits(place, table)]
    nearest = max((len(a.folder.parts) for a in fits), default=0)
    return next((a.licence for a in reversed(fits) if len(a.folder.parts) == nearest), "")


def _fits(place: PurePosixPath, annotation: Annotation) -> bool:
    if not place.is_relative_to(annotation.folder):
        return False
    return annotation.pattern.fullmatch(str(place.relative_to(annotation.folder))) is not None


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _expression(path: str) -> str:
    """`*` matches all but slashes, `**` anything, and a backslash takes the next sign as it is."""
    special = {"**": ".*", "*": "[^/]*"}
    parts = re.findall(r"\\.|\*\*|\*|[^*\\]+|\\", path)
    return "".join(special.get(part) or re.escape(part[-1] if part[0] == "\\" else part) for part in parts)
