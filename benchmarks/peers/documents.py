"""Real documents to measure and compare on: web pages, code, papers, articles, questions and answers."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tutelage.world import World
from tutelage.world.society import WorldSettings

FILES = [
    "quality_labels/*.jsonl.gz", "dolma_tests/provided/documents/*.json.gz", "datajuicer_demos/**/*.jsonl",
    "dsir_toy_pile/toy_pile_data.jsonl", "wikitext2/valid.txt.gz",
]  # fmt: skip
_WORLD_TEXTS_EACH = 12  # biographies are short


def documents() -> list[str]:
    """The texts of the folder of data ($TUTELAGE_DATA, or shared/data beside the checkout), each once; where there is
    none, texts of the built-in world."""
    folder = Path(os.environ.get("TUTELAGE_DATA") or Path(__file__).parents[3] / "shared" / "data")
    found = list(
        dict.fromkeys(text for pattern in FILES for path in sorted(folder.glob(pattern)) for text in read(path))
    )
    if found:
        return found
    texts = (document.text for document in World(WorldSettings(people=2000)).documents())
    return ["\n".join(part) for part in iter(lambda: list(islice(texts, _WORLD_TEXTS_EACH)), [])]


def read(path: Path) -> Iterator[str]:
    """The texts of a file of JSON lines, or of articles that begin with " = Title = "."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        if path.name.endswith(".txt.gz"):
            yield from _articles(lines)
            return
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # some of these files are not what their names say
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
