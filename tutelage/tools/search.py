"""Search over documents, ranked by BM25 (Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework", eq. 3.15;
idf with 1 added inside the logarithm, so that it is never negative)."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.files import read_text
from tutelage.records import Document
from tutelage.scoring.extract import normalise
from tutelage.tools.tool import Tool, ToolError, make_tool

K1, B = 1.2, 0.75
SHOWN = 2  # documents of a result
EXTRACT = 1200  # characters of a document that are shown
SUFFIXES = (".txt", ".md", ".rst")
_POSSESSIVE = re.compile(r"['\N{RIGHT SINGLE QUOTATION MARK}]s\b")
NOT_FOUND = "No document has all of these words."


@dataclass(frozen=True, eq=False)
class SearchIndex:
    """postings: of each word, the documents that have it, and how often. lengths: of each document, in words."""

    documents: Sequence[Document]
    postings: Mapping[str, Sequence[tuple[int, int]]]
    lengths: Sequence[int]


@dataclass(frozen=True)
class Found:
    """A document of a result; `complete`: whether it has every word of the query."""

    document: Document
    score: float
    complete: bool


def search_words(text: str) -> list[str]:
    """The words of a text or a query, without case, punctuation and the possessive "'s"."""
    return normalise(_POSSESSIVE.sub("", text)).split()


def build_index(documents: Iterable[Document]) -> SearchIndex:
    """The index over the words of documents. A document's id is what a result is cited by."""
    kept, lengths = [], []
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, document in enumerate(documents):
        counts = Counter(search_words(document.text))
        kept.append(document)
        lengths.append(counts.total())
        for word, count in counts.items():
            postings[word].append((place, count))
    return SearchIndex(kept, postings, lengths)


def search(index: SearchIndex, query: str, limit: int = SHOWN) -> list[Found]:
    """The best documents for a query, those with all of its words first. Equal ones are in the index's order."""
    words = dict.fromkeys(search_words(query))
    mean = sum(index.lengths) / max(1, len(index.lengths)) or 1.0
    scores: dict[int, float] = defaultdict(float)
    matched: Counter[int] = Counter()
    for word in words:
        documents = index.postings.get(word, ())
        idf = math.log1p((len(index.documents) - len(documents) + 0.5) / (len(documents) + 0.5))
        for place, count in documents:
            length = index.lengths[place] / mean
            scores[place] += idf * count * (K1 + 1) / (count + K1 * (1 - B + B * length))
            matched[place] += 1
    best = sorted(scores, key=lambda place: (-(matched[place] == len(words)), -scores[place], place))[:limit]
    return [Found(index.documents[place], scores[place], matched[place] == len(words)) for place in best]


def shown_result(found: Sequence[Found], partial: int = EXTRACT) -> str:
    """A result as the model reads it: each document with its id. Says where none has all words of the query. `partial`:
    most characters of a document that has only some of the words."""
    lines = [] if any(item.complete for item in found) else [NOT_FOUND]
    lengths = (EXTRACT if item.complete else partial for item in found)
    lines += [f"[{item.document.id}] {item.document.text[:n]}" for item, n in zip(found, lengths, strict=True)]
    return "\n".join(lines)


def search_tool(index: SearchIndex, limit: int = SHOWN, partial: int = EXTRACT) -> Tool:
    """Search over an index; `partial` as for `shown_result`."""

    def run(arguments: Mapping[str, Any], seconds: float) -> str:
        if not search_words(arguments["query"]):
            raise ToolError("The query has no words.")
        return shown_result(search(index, arguments["query"], limit), partial)

    return make_tool("search", "Searches pages.", {"query": {"type": "string"}}, run)


def folder_documents(folder: Path) -> list[Document]:
    """The text files of a folder, by their path in it.

    Raises:
        DiskError: one cannot be read.
        ValueError: there is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise ValueError(f"{folder} has no text to search; put {', '.join(SUFFIXES)} files there")
    return [Document(read_text(path), str(path.relative_to(folder))) for path in files]
