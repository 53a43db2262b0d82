"""Pages per second from a WARC file to text: ours, fast and careful, and datatrove's WARC reader with Trafilatura.

All read the same file: real pages, deduplicated and packed as in Common Crawl; without a data folder, pages made of
texts of the built-in world. Each extracts page after page in one process beside the reading process. datatrove runs in
its own virtual environment, which the first run creates.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from common import Measurement, argument_parser, data_folder, measure_in_turn, print_comparison
from peers.environment import run_with_datatrove

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.extract import ExtractSettings, extract
from tutelage.corpus.page_text import HTML_TYPES, Mode
from tutelage.corpus.read.warc import warc_documents
from tutelage.ledger import Ledger
from tutelage.records import Document
from tutelage.world import World
from tutelage.world.society import WorldSettings

BATCH = 64


def pages() -> Iterator[str]:
    """The pages of the data folder, or synthetic ones."""
    folder, has_pages = data_folder(), False
    for path in sorted(folder.glob("article_extraction/html/*.html.gz")):
        has_pages = True
        yield gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    for path in sorted(folder.glob("warc_samples/*.warc.gz")):
        for document in warc_documents(str(path), Ledger("read")):
            if document.meta["content_type"] in HTML_TYPES:
                has_pages = True
                yield document.text
    if not has_pages:
        texts = (document.text for document in World(WorldSettings(people=2000)).documents())
        menu = "".join(f"<li><a href='/{number}'>Menu {number}</a></li>" for number in range(200))
        for _ in range(200):
            paragraphs = "".join(f"<p class='x'>{text}</p><script>f();</script>" for text in islice(texts, 40))
            yield f"<html><body><nav><ul>{menu}</ul></nav><main>{paragraphs}</main></body></html>"


def write_warc(path: Path) -> None:
    """The pages as WARC records, one gzip member each."""
    with path.open("wb") as file:
        for number, page in enumerate(dict.fromkeys(pages())):
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


def measure_ours(_quick: bool, mode: Mode) -> Measurement:
    """Our reader and step as a curation runs them; the extracting process is started before the clock."""
    step = extract(ExtractSettings(mode=mode, seconds=30))
    step(DocumentBatch([Document("<p>Warm-up.</p>", meta={"content_type": "text/html"})]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pages.warc.gz"
        write_warc(path)
        start = time.perf_counter()
        ledger, read, characters = Ledger("read"), 0, 0
        documents = warc_documents(str(path), ledger)
        while batch := DocumentBatch(list(islice(documents, BATCH))):
            read += len(batch)
            step(batch)
            characters += sum(map(len, batch.texts))
        seconds = time.perf_counter() - start
    return {"value": read / seconds, "pages": read, "characters": characters}


def measure_datatrove(_quick: bool) -> Measurement:
    """The same file read by datatrove."""
    with tempfile.TemporaryDirectory() as folder:
        write_warc(Path(folder) / "pages.warc.gz")
        return json.loads(run_with_datatrove("datatrove_extract.py", folder)[-1])


if __name__ == "__main__":
    roles = {
        "ours, fast": partial(measure_ours, mode="fast"),
        "ours, careful": partial(measure_ours, mode="careful"),
        "datatrove": measure_datatrove,
    }
    arguments = argument_parser(rounds=3, quick_rounds=2).parse_args()
    measured = measure_in_turn(roles, arguments, unit="pages/s")
    for role, rounds in measured.items():
        print(f"{role}: {rounds[0]['pages']} pages to {rounds[0]['characters']:,} characters")
    careful = {role: measured[role] for role in ("ours, careful", "datatrove")}
    print_comparison(careful, arguments, name="extract_careful", unit="pages/s", main_peer="datatrove")
    fast = {role: measured[role] for role in ("ours, fast", "datatrove")}
    print_comparison(fast, arguments, name="extract", unit="pages/s", main_peer="datatrove")
