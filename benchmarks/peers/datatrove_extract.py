"""Run by `extract.py` in datatrove's environment: from a WARC file to text.

python datatrove_extract.py FOLDER      pages per second of the one file in the folder, as a JSON line
"""

from __future__ import annotations

import json
import sys
import time

import cchardet  # noqa: F401  # imported before the clock starts
import magic  # noqa: F401
import trafilatura  # noqa: F401
import warcio.archiveiterator  # noqa: F401
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import WarcReader


def measure(folder: str) -> None:
    """Time the default pipeline; only the timeout per page is longer, so that no page is lost."""
    start = time.perf_counter()
    pages = characters = 0
    for document in Trafilatura(timeout=30).run(WarcReader(folder).run()):
        pages += 1
        characters += len(document.text)
    print(json.dumps({"value": pages / (time.perf_counter() - start), "pages": pages, "characters": characters}))


if __name__ == "__main__":
    measure(sys.argv[1])
