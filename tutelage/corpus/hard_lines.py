"""Paragraphs from lines with hard ends: of a PDF, or of a plain text that was wrapped at a width."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from tutelage.text.characters import is_unspaced

_ENDS = re.compile(r"[.!?…:。！？：।۔؟][\"'”’»›)\]」』]*$")
_LEADER = re.compile(r"(?:\.\s?){3,}\s*\S{0,6}$|…+\s*\S{0,6}$")  # a line of a table of contents
_ITEM = re.compile(r"(?:[•‣◦▪●○–—*-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)])\s|\||#")
_HYPHENATED = re.compile(r"(\w*[^\W\d_])[-‐]$")
_PAGE_NUMBER = re.compile(
    r"(?:page|seite|p\.?|стр\.?)?\s*[-–—|]?\s*(?:\d{1,4}|[ivxlc]{1,7})\s*(?:(?:of|/|von|de)\s*\d{1,4})?\s*[-–—|]?", re.I
)
SOFT_HYPHEN = "\xad"
_DIGITS = re.compile(r"\d+")
_FULL, _RAGGED = 0.75, 0.5  # of the width of the column: a line that goes on; one that does if the next is lower case
_NARROWEST = 25  # characters of a column
_FEWEST_PAGES = 3  # that must share a running title
_LONGEST_TITLE = 100
_EDGE_LINES = 3


def join_lines(text: str) -> str:
    """The text with the lines of each paragraph joined. A line goes on if it is as long as the column and ends without
    a mark, or if the next begins in lower case; words that were hyphenated are joined. Empty lines end paragraphs."""
    lines = text.split("\n")
    return _joined_lines(lines, column_width(lines), text)


def join_pages(pages: Sequence[str]) -> str:
    """`join_lines` of the pages of a document, with an empty line between two unless a paragraph goes on."""
    split = [page.split("\n") for page in pages]
    whole = "\n".join(pages)
    width = column_width(whole.split("\n"))
    text = ""
    for number, lines in enumerate(split):
        page = _joined_lines(lines, width, whole)
        before, first = (split[number - 1][-1].strip(), lines[0].strip()) if number else ("", "")
        goes_on = _goes_on(before, first, width) and (first[0].islower() or len(first) >= _FULL * width)
        text = _joined(text, page, whole) if goes_on else f"{text}\n\n{page}"
    return text.strip()


def _joined_lines(lines: Sequence[str], width: int, whole: str) -> str:
    parts: list[str] = []
    goes_on = False
    for line, following in pairwise([*lines, ""]):
        if goes_on:
            parts[-1] = _joined(parts[-1], line.strip(), whole)
        else:
            parts.append(line.rstrip())
        goes_on = _goes_on(line.strip(), following.strip(), width)
    return "\n".join(part.removesuffix(SOFT_HYPHEN) for part in parts)


def column_width(lines: Sequence[str]) -> int:
    """The width of the column that lines were wrapped at: the length that one in ten of the longer ones exceeds."""
    lengths = sorted(len(line.strip()) for line in lines if line.strip())
    return lengths[int(0.9 * (len(lengths) - 1))] if lengths else 0


def _goes_on(line: str, following: str, width: int) -> bool:
    if not line or not following or _ITEM.match(following) or _LEADER.search(line) or line.startswith("|"):
        return False
    if line.endswith(SOFT_HYPHEN):
        return True
    if _ENDS.search(line):
        return False
    if following[0].islower() and len(line) >= _RAGGED * width:
        return True
    return width >= _NARROWEST and len(line) >= _FULL * width


def _joined(left: str, right: str, whole: str) -> str:
    if left.endswith(SOFT_HYPHEN):
        return left[:-1] + right
    if not left or not right:
        return left + right
    hyphenated = _HYPHENATED.search(left)
    if hyphenated and right[0].islower():
        rest = re.match(r"\w+", right)
        compound = f"{hyphenated[1]}-{rest[0] if rest else ''}"
        return (left if compound in whole else left[:-1]) + right
    return left + right if is_unspaced(left[-1]) and is_unspaced(right[0]) else f"{left} {right}"


def without_running_lines(pages: Sequence[str]) -> list[str]:
    """The pages of a document without page numbers, and without the lines at their top and bottom that come on most of
    them, but for numbers in them."""
    split = [page.split("\n") for page in pages]
    for place in (0, -1):
        for _ in range(_EDGE_LINES):
            edges = [_edge(lines, place) for lines in split]
            counts = Counter(edge for edge in edges if edge)
            common = {
                edge
                for edge, count in counts.items()
                if count >= max(_FEWEST_PAGES, 0.4 * len(edges))
                or (count > 1 and count == len(edges) and _is_number(edge))
            }
            if not common:
                break
            for lines in split:
                if len(lines) > 1 and _edge(lines, place) in common:  # a page keeps its only line
                    del lines[place]
    return ["\n".join(lines).strip() for lines in split]


def _edge(lines: list[str], place: int) -> str:
    """The first or last line of a page with every number as 0; "" where it is too long for a title."""
    line = lines[place].strip() if lines else ""
    return _DIGITS.sub("0", line) if len(line) <= _LONGEST_TITLE else ""


def _is_number(line: str) -> bool:
    return bool(_PAGE_NUMBER.fullmatch(line.lower()))
