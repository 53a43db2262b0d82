"""Filters for source code: generated files, minified files, data in the form of code."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import numpy as np

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.columns import characters_of
from tutelage.corpus.page_text import html_text
from tutelage.records import Document
from tutelage.text.characters import LAST, LETTER, NUMBER, character_classes
from tutelage.text.words import range_sums

# Languages with naturally long lines, and those whose files hold data.
LONG_LINES = frozenset(["HTML", "JSON", "Markdown", "TeX", "Text", "XML"])
DATA = frozenset(["Text", "JSON", "YAML"])
DIGITS_COUNT = frozenset(["WebAssembly"])  # count digits as letters in these languages

_TOP_LINES, _TOP_CHARACTERS = 5, 2000
_GENERATED = re.compile(
    r"auto-?generated|automatically generated|generated automatically|this file is generated|"
    r"\bcode generated\b.*\bdo not edit\b",
    re.IGNORECASE,
)
# The most common file names that GitHub Linguist classifies as generated.
_GENERATED_NAME = re.compile(
    r"(?:package-lock|npm-shrinkwrap)\.json$|pnpm-lock\.yaml$|_pb2(?:_grpc)?\.pyi?$|\.pb\.(?:go|cc|h)$|"
    r"\.(?:designer|g|generated)\.\w+$",
    re.IGNORECASE,
)
_MINIFIED_NAME = re.compile(r"[.-]min\.(?:js|css|mjs)$", re.IGNORECASE)
_ENCODED = (
    re.compile(r"[a-zA-Z0-9+/\n=]{64,}"),
    re.compile(r"(?=[0-9a-fA-F\\])(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}"),  # looking ahead is faster
    re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}"),
)


class CodeSettings(Settings, tag="code_starcoder2", tag_field="kind", frozen=True, kw_only=True):
    """The filters of StarCoder2 for source files (arXiv 2402.19173, section 3.2). Other documents are kept. Files that
    are marked as generated, by their first lines or their name, are dropped too.

    lines:        maximum number of lines.
    mean_line:    maximum mean line length, in characters.
    longest_line: maximum line length.
    longest_data_line: replaces these two in languages with naturally long lines.
    letters:      minimum fraction of characters that are letters.
    encoded_run:  maximum length of one run of base64, hexadecimal or "\\u1234" escapes.
    encoded:      maximum fraction of the file in such runs.
    data_lines:   maximum number of lines of text, JSON and YAML.
    html:         minimum number of visible characters of HTML.
    html_share:   minimum fraction of visible characters in the HTML source.
    """

    lines: int = 100_000
    mean_line: int = 100
    longest_line: int = 1000
    longest_data_line: int = 100_000
    letters: float = 0.25
    encoded_run: int = 1024
    encoded: float = 0.5
    data_lines: int = 512
    html: int = 100
    html_share: float = 0.2


def is_source(document: Document) -> bool:
    """Whether a document is a file of source code."""
    return "language" in document.meta and "path" in document.meta


def code(settings: CodeSettings) -> Step:
    """Drop generated, minified and data files (StarCoder2, arXiv 2402.19173, section 3.2)."""

    def step(batch: DocumentBatch) -> None:
        letters, digits = _count(batch, LETTER), _count(batch, NUMBER)
        faults = {
            place: fault
            for place, document in enumerate(batch.documents)
            if is_source(document) and (fault := _fault(document, letters[place], digits[place], settings))
        }
        batch.drop(list(faults), [reason for reason, _ in faults.values()], [detail for _, detail in faults.values()])

    return step


def _count(batch: DocumentBatch, kind: int) -> list[int]:
    """The number of characters of a class in each document."""
    characters = characters_of(batch)
    of_kind = (character_classes()[np.minimum(characters.codes, LAST)] & kind) != 0
    return range_sums(of_kind, characters.starts, characters.stops).tolist()


def _fault(document: Document, letters: int, digits: int, settings: CodeSettings) -> tuple[str, str] | None:
    """The reason to drop a file, with the figure or the words as detail; None to keep it."""
    text, language = document.text, document.meta["language"]
    name = PurePosixPath(document.meta["path"]).name
    if _MINIFIED_NAME.search(name):
        return "minified", name
    if _GENERATED_NAME.search(name):
        return "generated", name
    if notice := _GENERATED.search("\n".join(text[:_TOP_CHARACTERS].split("\n")[:_TOP_LINES])):
        return "generated", notice[0]
    lines = text.splitlines() or [""]
    longest = max(map(len, lines))
    if len(lines) > settings.lines:
        return "too many lines", str(len(lines))
    if language in DATA and len(lines) > settings.data_lines:
        return "too many data lines", str(len(lines))
    if longest > (settings.longest_data_line if language in LONG_LINES else settings.longest_line):
        return "line too long", str(longest)
    if language not in LONG_LINES and len(text) / len(lines) > settings.mean_line:
        return "mean line too long", f"{len(text) / len(lines):.4g}"
    share = (letters + digits * (language in DIGITS_COUNT)) / max(1, len(text))
    if share < settings.letters:
        return "too few letters", f"{share:.4g}"
    return _encoded(text, settings) or (_mostly_markup(text, settings) if language == "HTML" else None)


def _encoded(text: str, settings: CodeSettings) -> tuple[str, str] | None:
    spans = sorted(found.span() for pattern in _ENCODED for found in pattern.finditer(text))
    longest = max((end - begin for begin, end in spans), default=0)
    covered = reached = 0
    for begin, end in spans:
        covered += max(0, end - max(begin, reached))
        reached = max(reached, end)
    if longest > settings.encoded_run or covered > settings.encoded * len(text):
        return "encoded data", f"{covered} of {len(text)} characters, longest run {longest}"
    return None


def _mostly_markup(text: str, settings: CodeSettings) -> tuple[str, str] | None:
    visible = len(html_text(text, main=False))
    if visible < settings.html or visible < settings.html_share * len(text):
        return "little visible text", f"{visible} of {len(text)} characters"
    return None
