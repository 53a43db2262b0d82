"""XML dumps of Wikipedia and of StackExchange: cut into pages and rows first; a broken one costs only itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from xml.etree import ElementTree

from tutelage.corpus.page_text import html_text
from tutelage.corpus.read.source import MAX_RECORD_BYTES, Source, open_bytes, unpack
from tutelage.corpus.read.wikitext import wiki_text
from tutelage.ledger import Ledger
from tutelage.records import Document

_KINDS = {"1": "question", "2": "answer"}


def xml_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """A dump of Wikipedia (`<mediawiki>`) or of StackExchange (`Posts.xml`); its start says which of the two it is."""
    with open_bytes(path) as file:
        source = Source(unpack(file))
        start = source.read(4096)
        source.unread(start)
        if b"<mediawiki" in start:
            yield from _records(source, path, ledger, b"<page>", b"</page>", _wiki_page)
        elif b"<posts" in start:
            yield from _records(source, path, ledger, b"<row ", b"/>", _post)
        else:
            ledger.read()
            ledger.drop("neither a Wikipedia nor a StackExchange dump", where=path)


def _records(
    source: Source, path: str, ledger: Ledger, begin: bytes, end: bytes, make: Callable[[bytes, str], Document | str]
) -> Iterator[Document]:
    while True:
        if not source.skip_until(begin):
            if source.damage:
                ledger.read()
                ledger.drop(source.damage.reason, where=f"{path}:{source.damage.at}")
            if not source.resume():
                return
            continue
        where = f"{path}:{source.position - len(begin)}"
        ledger.read()
        content = begin + source.until(end, MAX_RECORD_BYTES)
        if (lost := content.count(begin, 1)) and content.endswith(end):
            # Where the end of one is missing the next begins inside it, and only the last of them is whole.
            ledger.read(lost)
            ledger.drop("cut off", rows=lost, where=where)
            content = content[content.rfind(begin) :]
        if not content.endswith(end):
            too_long = len(content) >= MAX_RECORD_BYTES
            found: Document | str = f"larger than {MAX_RECORD_BYTES >> 20} MiB" if too_long else "cut off"
        else:
            found = make(content, where)
        if isinstance(found, Document):
            ledger.keep()
            yield found
        else:
            ledger.drop(found, where=where)


def _element(content: bytes) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(content.decode("utf-8", "replace"))
    except ElementTree.ParseError:
        return None


def _wiki_page(content: bytes, where: str) -> Document | str:
    page = _element(content)
    if page is None:
        return "not XML"
    if page.findtext("ns") not in (None, "0"):
        return "not an article"
    if page.find("redirect") is not None:
        return "a redirect"
    title = page.findtext("title") or ""
    text = wiki_text(page.findtext("revision/text") or "")
    if not text:
        return "empty"
    meta = {"title": title, "date": page.findtext("revision/timestamp") or "", "content_type": "text/plain"}
    return Document(f"{title}\n\n{text}", where, {name: value for name, value in meta.items() if value})


def _post(content: bytes, where: str) -> Document | str:
    row = _element(content)
    if row is None:
        return "not XML"
    kind = _KINDS.get(row.get("PostTypeId", ""))
    if kind is None:
        return "neither a question nor an answer"
    text = html_text(row.get("Body", ""), main=False)
    if not text:
        return "empty"
    title = row.get("Title", "")
    tags = " ".join(part for part in row.get("Tags", "").replace("<", "|").replace(">", "|").split("|") if part)
    meta = {
        "type": kind,
        "post": row.get("Id", ""),
        "title": title,
        "tags": tags,
        "answers": row.get("ParentId", ""),
        "accepted": row.get("AcceptedAnswerId", ""),
        "date": row.get("CreationDate", ""),
        "license": row.get("ContentLicense", ""),
        "content_type": "text/plain",
    }
    try:
        facts: dict[str, str | float] = {"score": int(row.get("Score", ""))}
    except ValueError:
        facts = {}
    whole = f"{title}\n\n{text}" if title else text
    return Document(whole, where, {name: value for name, value in meta.items() if value}, facts=facts)
