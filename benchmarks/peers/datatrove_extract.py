"""What `extract.py` runs in the peer's own environment: datatrove's way from a WARC file to text.

python datatrove_extract.py FOLDER      pages a second of the one file in the folder, as a JSON line
"""

from __future__ import annotations

import json
import sys
import time

import cchardet  # noqa: F401  # loaded before the clock starts, as all that is loaded late
import magic  # noqa: F401
import trafilatura  # noqa: F401
import warcio.archiveiterator  # noqa: F401
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import WarcReader


def measure(folder: str) -> None:
    """As a pipeline runs them, with the settings they come with but for the time a page may take: none is lost."""
    began = time.perf_counter()
    pages = characters = 0
    for document in Trafilatura(timeout=30).run(WarcReader(folder).run()):
        pages += 1
        characters += len(document.text)
    print(json.dumps({"figure": pages / (time.perf_counter() - began), "pages": pages, "characters": characters}))


if __name__ == "__main__":
    measure(sys.argv[1])
