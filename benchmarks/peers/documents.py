"""Real documents for benchmarks: web pages, code, papers, articles, questions and answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from common import data_folder

from tutelage.world import World
from tutelage.world.society import WorldSettings

FILES = [
    "quality_labels/*.jsonl.gz", "dolma_tests/provided/documents/*.json.gz", "datajuicer_demos/**/*.jsonl",
    "dsir_toy_pile/toy_pile_data.jsonl", "wikitext2/valid.txt.gz",
]  # fmt: skip
_BIOGRAPHIES_PER_DOCUMENT = 12  # biographies are short


def documents() -> list[str]:
    """The deduplicated texts of the data folder; without a data folder, texts of the built-in world."""
    paths = (path for pattern in FILES for path in sorted(data_folder().glob(pattern)))
    if real := list(dict.fromkeys(text for path in paths for text in read(path))):
        return real
    texts = (document.text for document in World(WorldSettings(people=2000)).documents())
    return ["\n".join(part) for part in iter(lambda: list(islice(texts, _BIOGRAPHIES_PER_DOCUMENT)), [])]


def read(path: Path) -> Iterator[str]:
    """The texts of a JSONL file, or of a text file of articles that begin with " = Title = "."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        if path.name.endswith(".txt.gz"):
            yield from _articles(lines)
            return
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # some files are not JSONL despite their name
            text = (row.get("text") or row.get("contents")) if isinstance(row, dict) else None
            if isinstance(text, str) and text.strip():
                yield text


def _articles(lines: Iterator[str]) -> Iterator[str]:
    article: list[str] = []
    for line in lines:
        if line.startswith(" = ") and not line.startswith(" = =") and article:
            yield "".join(article)
            article = []
        article.append(line)
    yield "".join(article)
