"""A million documents through the preset "fineweb" on two cores: documents and bytes per second, and from them the
hours that a monthly crawl takes on 1,000 cores.

The documents are text, as in the WET files of Common Crawl, packed as such (one gzip member per record). Each is made
of paragraphs drawn from real texts of the data folder (Wikipedia, speeches, reviews, pages of Common Crawl), so that
rules, languages and deduplication have about the work that they have on the web; without a data folder, of the probe
documents of the package. One document in twenty is an exact copy of an earlier one, one in twenty a near copy. They are
the same in every run: about 4 GB for the million.

    python benchmarks/fineweb_million.py                      # makes the million documents, and curates them
    python benchmarks/fineweb_million.py --documents 20000    # a trial
    python benchmarks/fineweb_million.py --keep FOLDER        # keeps the WET files and the corpus there

Extraction from HTML is another step: benchmarks/extract.py has its pages per second.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from common import THREADS, argument_parser, data_folder
from memory import monitor_peaks

from tutelage.config import recipes_folder
from tutelage.corpus.curation import load_curation
from tutelage.corpus.pipeline import curate
from tutelage.corpus.probe import probe_documents

DOCUMENTS, QUICK_DOCUMENTS, FILES = 1_000_000, 5_000, 16
# Pages in a monthly crawl of Common Crawl (CC-MAIN-2024-51 has 2.64 billion), and the cores to divide them by.
SNAPSHOT_PAGES, CORES = 2.64e9, 1000
_LEAST, _MOST = 3, 24  # paragraphs of a document: a mean of 4 KB
_RECENT = 1000  # documents that copies are drawn from


def paragraphs() -> list[str]:
    """Paragraphs of real texts, of at least 80 characters, each once, in a fixed order."""
    folder = data_folder()
    texts = [document.text for document in probe_documents()]
    texts += [gzip.decompress(path.read_bytes()).decode() for path in sorted(folder.glob("wikitext2/*.txt.gz"))]
    texts += [path.read_bytes().decode("utf-8", "ignore") for path in sorted(folder.glob("warc_samples/*.wet"))]
    for name in ("movie_reviews", "state_union"):
        for path in folder.glob(f"nltk_text/{name}.zip"):
            with zipfile.ZipFile(path) as packed:
                texts += [packed.read(member).decode("utf-8", "ignore") for member in sorted(packed.namelist())]
    found = (part.strip() for text in texts for part in re.split(r"\n+", text))
    return sorted({" ".join(part.split()) for part in found if 80 <= len(part) <= 2000 and not part.startswith("WARC")})


def documents(count: int) -> Iterator[str]:
    """`count` documents, the same in every run."""
    draw, parts, recent = random.Random(0), paragraphs(), [""] * _RECENT
    for number in range(count):
        chance = draw.random()
        text = "\n".join(draw.choices(parts, k=draw.randint(_LEAST, _MOST)))
        if number >= _RECENT and chance < 0.1:
            text = draw.choice(recent) + (f"\n{draw.choice(parts)}" if chance < 0.05 else "")
        recent[number % _RECENT] = text
        yield text


def write(folder: Path, count: int) -> int:
    """Write the documents as WET files; their size in bytes."""
    size, files = 0, [(folder / f"{number:05d}.warc.wet.gz").open("wb") for number in range(FILES)]
    for number, text in enumerate(documents(count)):
        content = text.encode()
        head = (
            f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://site{number % 9973}.org/{number}\r\n"
            f"WARC-Date: 2024-01-01T00:00:00Z\r\nContent-Type: text/plain\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        files[number % FILES].write(gzip.compress(head.encode() + content + b"\r\n\r\n", 1))
        size += len(content)
    for file in files:
        file.close()
    return size


def run(folder: Path, count: int) -> dict[str, float]:
    """Make and curate the documents. Returns the figures."""
    source = folder / "wet"
    source.mkdir(exist_ok=True)
    size = write(source, count)
    overrides = [f"input={source}/*.warc.wet.gz", f"workers={THREADS}", "keep_dropped=100", "memory_gib=1"]
    peaks, done = {"parent": 0, "worker": 0}, threading.Event()
    monitor = threading.Thread(target=monitor_peaks, args=(peaks, done))
    monitor.start()
    began = time.perf_counter()
    result = curate(load_curation(recipes_folder() / "fineweb.toml", overrides), folder / "corpus")
    seconds = time.perf_counter() - began
    done.set()
    monitor.join()
    kept = result["steps"][-1]["output"]["documents"]
    return {
        "documents": count,
        "bytes": size,
        "kept": kept,
        "seconds": round(seconds, 1),
        "documents_per_second": round(count / seconds, 1),
        "bytes_per_second": round(size / seconds),
        "peak_mib": max(peaks.values()),
        "snapshot_hours": round(SNAPSHOT_PAGES / (count / seconds / THREADS) / CORES / 3600, 2),
    }


if __name__ == "__main__":
    parser = argument_parser()
    parser.add_argument("--documents", type=int, help=f"default {DOCUMENTS:,}, with --quick {QUICK_DOCUMENTS:,}")
    parser.add_argument("--keep", type=Path, help="folder for the WET files and the corpus; default: temporary")
    arguments: argparse.Namespace = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wanted = arguments.documents or (QUICK_DOCUMENTS if arguments.quick else DOCUMENTS)
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        figures = run(place, wanted)
    print(f"{figures['documents_per_second']:,} documents/s, {figures['bytes_per_second'] / 1e6:.1f} MB/s on two cores")
    print(f"a crawl of {SNAPSHOT_PAGES:.2g} pages as text: {figures['snapshot_hours']:g} hours on {CORES:,} cores")
    print(
        json.dumps(
            {"name": "fineweb_million", "ours": figures["documents_per_second"], "unit": "documents/s", **figures}
        )
    )
