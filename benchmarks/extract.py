"""Pages a second from a WARC file to text: ours, fast and careful, against datatrove's WARC reader and Trafilatura.

The same file: real pages, each once, packed as Common Crawl packs them; where there are none, pages made of texts of
the built-in world. All three extract each page in a process of its own beside the one that reads, page after page.
datatrove runs in an environment of its own, which is made on the first run.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from common import Measured, measure_in_turn, print_lines
from peers.environment import datatrove

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.extract import ExtractSettings, extract
from tutelage.corpus.page_text import HTML_TYPES, Mode
from tutelage.corpus.read.warc import warc_documents
from tutelage.ledger import Ledger
from tutelage.records import Document
from tutelage.world import World
from tutelage.world.society import WorldSettings

PEER = Path(__file__).parent / "peers" / "datatrove_extract.py"
BATCH = 64


def pages() -> Iterator[str]:
    """The pages of the folder of data ($TUTELAGE_DATA, or shared/data beside the checkout), or made ones."""
    folder = Path(os.environ.get("TUTELAGE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    found = False
    for path in sorted(folder.glob("article_extraction/html/*.html.gz")):
        found = True
        yield gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    for path in sorted(folder.glob("warc_samples/*.warc.gz")):
        for document in warc_documents(str(path), Ledger("read")):
            if document.meta["content_type"] in HTML_TYPES:
                found = True
                yield document.text
    if not found:
        texts = (document.text for document in World(WorldSettings(people=2000)).documents())
        menu = "".join(f"<li><a href='/{number}'>Menu {number}</a></li>" for number in range(200))
        for _ in range(200):
            paragraphs = "".join(f"<p class='x'>{text}</p><script>f();</script>" for text in islice(texts, 40))
            yield f"<html><body><nav><ul>{menu}</ul></nav><main>{paragraphs}</main></body></html>"


def write_warc(path: Path, quick: bool) -> None:
    """The pages as records of a gzip member each."""
    with path.open("wb") as file:
        for number, page in enumerate(islice(dict.fromkeys(pages()), 20 if quick else None)):
            body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page.encode(
                "utf-8", "replace"
            )
            head = (
                f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{uuid.UUID(int=number)}>\r\n"
                f"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Target-URI: http://site{number}.org/\r\n"
                "WARC-Identified-Payload-Type: text/html\r\nContent-Type: application/http; msgtype=response\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            file.write(gzip.compress(head.encode() + body + b"\r\n\r\n"))


def measure_ours(quick: bool, mode: Mode) -> Measured:
    """Reader and step as a curation runs them; the process that extracts has started."""
    step = extract(ExtractSettings(mode=mode, seconds=30))
    step(DocumentBatch([Document("<p>Loads what is loaded late.</p>", meta={"content_type": "text/html"})]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pages.warc.gz"
        write_warc(path, quick)
        began = time.perf_counter()
        ledger, read, characters = Ledger("read"), 0, 0
        documents = warc_documents(str(path), ledger)
        while batch := DocumentBatch(list(islice(documents, BATCH))):
            read += len(batch)
            step(batch)
            characters += sum(map(len, batch.texts))
        seconds = time.perf_counter() - began
    return {"figure": read / seconds, "pages": read, "characters": characters}


def measure_datatrove(quick: bool) -> Measured:
    """The same file by the peer."""
    with tempfile.TemporaryDirectory() as folder:
        write_warc(Path(folder) / "pages.warc.gz", quick)
        done = subprocess.run([datatrove(), str(PEER), folder], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    roles = {
        "ours, fast": partial(measure_ours, mode="fast"),
        "ours, careful": partial(measure_ours, mode="careful"),
        "datatrove": measure_datatrove,
    }
    measured = measure_in_turn(roles, rounds=3, unit="pages/s")
    for role, rounds in measured.items():
        print(f"{role}: {rounds[0]['pages']} pages to {rounds[0]['characters']:,} characters")
    careful = {role: measured[role] for role in ("ours, careful", "datatrove")}
    print_lines(careful, name="extract_careful", unit="pages/s", binding="datatrove")
    fast = {role: measured[role] for role in ("ours, fast", "datatrove")}
    print_lines(fast, name="extract", unit="pages/s", binding="datatrove")
