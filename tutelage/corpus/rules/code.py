"""Source files that no person wrote or would read: generated, minified, data in the shape of code."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import numpy as np

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.kinds import LAST, LETTER, NUMBER, kinds
from tutelage.corpus.page_text import html_text
from tutelage.corpus.words import characters_of, range_sums
from tutelage.records import Document

# Languages whose lines are long by nature, and those whose files hold data.
LONG_LINES = frozenset(["HTML", "JSON", "Markdown", "TeX", "Text", "XML"])
DATA = frozenset(["Text", "JSON", "YAML"])
DIGITS_COUNT = frozenset(["WebAssembly"])  # as letters, where a language is written so

_TOP_LINES, _TOP_CHARACTERS = 5, 2000
_GENERATED = re.compile(
    r"auto-?generated|automatically generated|generated automatically|this file is generated|"
    r"\bcode generated\b.*\bdo not edit\b",
    re.IGNORECASE,
)
# The commonest of those that GitHub's Linguist tells by their names.
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
    """Files of source code as they were chosen for StarCoder2 (arXiv 2402.19173, section 3.2). Other documents stay.

    lines, mean_line, longest_line: most lines; characters of a line in the mean, and of the longest.
    longest_data_line: instead of these two, of the longest line in languages whose lines are long by nature.
    letters:      least share of characters that are letters.
    encoded_run, encoded: most characters of one stretch of base64, hexadecimal or "\\u1234" signs; most in all such, as
                  a share of the file.
    data_lines:   most lines of text, JSON and YAML.
    html, html_share: least visible characters of HTML, and least share of its source.
    Files that say at their top, or by their name, that a program wrote them go too.
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
    """The step of these settings."""

    def step(batch: DocumentBatch) -> None:
        letters, digits = _count(batch, LETTER), _count(batch, NUMBER)
        said = [
            _fault(document, letters[place], digits[place], settings) if is_source(document) else None
            for place, document in enumerate(batch.documents)
        ]
        found = {place: fault for place, fault in enumerate(said) if fault}
        batch.drop(list(found), [reason for reason, _ in found.values()], [detail for _, detail in found.values()])

    return step


def _count(batch: DocumentBatch, kind: int) -> list[int]:
    """How many characters of a kind each document has."""
    characters = characters_of(batch)
    of_kind = (kinds()[np.minimum(characters.codes, LAST)] & kind) != 0
    return range_sums(of_kind, characters.starts, characters.stops).tolist()


def _fault(document: Document, letters: int, digits: int, settings: CodeSettings) -> tuple[str, str] | None:
    """Why a file is not to be kept, and the figure or the words that say so."""
    text, language = document.text, document.meta["language"]
    name = PurePosixPath(document.meta["path"]).name
    if _MINIFIED_NAME.search(name):
        return "minified", name
    if _GENERATED_NAME.search(name):
        return "generated", name
    if told := _GENERATED.search("\n".join(text[:_TOP_CHARACTERS].split("\n")[:_TOP_LINES])):
        return "generated", told[0]
    lines = text.splitlines() or [""]
    longest = max(map(len, lines))
    if len(lines) > settings.lines:
        return "too many lines", str(len(lines))
    if language in DATA and len(lines) > settings.data_lines:
        return "too many lines of data", str(len(lines))
    if longest > (settings.longest_data_line if language in LONG_LINES else settings.longest_line):
        return "a line too long", str(longest)
    if language not in LONG_LINES and len(text) / len(lines) > settings.mean_line:
        return "lines too long", f"{len(text) / len(lines):.4g}"
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
        return "encoded data", f"{covered} of {len(text)} characters, {longest} at once"
    return None


def _mostly_markup(text: str, settings: CodeSettings) -> tuple[str, str] | None:
    visible = len(html_text(text, main=False))
    if visible < settings.html or visible < settings.html_share * len(text):
        return "little visible text", f"{visible} of {len(text)} characters"
    return None
