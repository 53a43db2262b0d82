"""XML dumps of Wikipedia and of StackExchange: cut into pages and rows first; a broken one costs only itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from xml.etree import ElementTree

from tutelage.corpus.read.packed import CHUNK
from tutelage.corpus.read.posts import Post, post_document, read_post, threads
from tutelage.corpus.read.source import MAX_RECORD_BYTES, Source, go_on, open_bytes
from tutelage.corpus.read.unpack import unpack
from tutelage.corpus.read.wikitext import wiki_text
from tutelage.ledger import Ledger
from tutelage.records import Document

# A page has some twenty tags, and its markup none that is not escaped; each takes a hundred times its size in memory.
_MOST_TAGS = 100_000
_LONGEST_ARTICLE = 4 << 20  # characters; MediaWiki saves no more than 2 MiB
_FOOT = re.compile(rb"\s*(?:</?(?:posts|mediawiki)>\s*)*")


def xml_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """A dump of Wikipedia (`<mediawiki>`), or of StackExchange (`Posts.xml`): every question with its answers. How it
    starts says which of the two it is."""
    with open_bytes(path) as file:
        source = Source(unpack(file))
        start = source.read(4096)
        source.unread(start)
        if b"<mediawiki" in start:
            yield from _each(_records(source, path, ledger, b"<page>", b"</page>"), _wiki_page, ledger)
        elif b"<posts" in start:
            yield from threads(_posts(source, path, ledger), path, ledger)
        else:
            ledger.read()
            ledger.drop("neither a Wikipedia nor a StackExchange dump", where=path)


def post_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """The posts of a StackExchange dump, each a document of its own."""
    with open_bytes(path) as file:
        for post in _posts(Source(unpack(file)), path, ledger):
            ledger.keep()
            yield post_document(post)


def _each(
    records: Iterator[tuple[str, bytes]], make: Callable[[bytes, str], Document | str], ledger: Ledger
) -> Iterator[Document]:
    for where, content in records:
        found = make(content, where)
        if isinstance(found, Document):
            ledger.keep()
            yield found
        else:
            ledger.drop(found, where=where)


def _posts(source: Source, path: str, ledger: Ledger) -> Iterator[Post]:
    """The posts of a dump; what is none is dropped, and what becomes of the others is for the caller to count."""
    for where, content in _records(source, path, ledger, b"<row ", b"/>"):
        row = _element(content)
        found = "not XML" if row is None else read_post(row, where)
        if isinstance(found, Post):
            yield found
        else:
            ledger.drop(found, where=where)


def _records(source: Source, path: str, ledger: Ledger, begin: bytes, end: bytes) -> Iterator[tuple[str, bytes]]:
    """Each whole record, with its place; all records are counted, and what is not whole is dropped."""
    first = True
    while _go_to(source, path, ledger, begin, first):
        first = False
        where = f"{path}:{source.position - len(begin)}"
        ledger.read()
        content = begin + source.until(end, MAX_RECORD_BYTES)
        if (lost := content.count(begin, 1)) and content.endswith(end):
            # Where the end of one is missing the next begins inside it, and only the last of them is whole.
            ledger.read(lost)
            ledger.drop("cut off", rows=lost, where=where)
            content = content[content.rfind(begin) :]
        if content.endswith(end):
            yield where, content
        else:
            too_long = len(content) >= MAX_RECORD_BYTES
            ledger.drop(f"larger than {MAX_RECORD_BYTES >> 20} MiB" if too_long else "cut off", where=where)


def _go_to(source: Source, path: str, ledger: Ledger, begin: bytes, first: bool) -> bool:
    """Goes behind the next mark, and counts what stands before it and is neither the head of the dump, before the first
    record, nor its foot; False at the end."""
    at, odd, found = source.position, False, b""
    while not found.endswith(begin):
        found = source.until(begin, CHUNK)
        odd = odd or not (first or _FOOT.fullmatch(found.removesuffix(begin)))
        if len(found) == CHUNK and not found.endswith(begin):
            source.unread(found[1 - len(begin) :])  # a mark may have been cut by the limit
        elif not found.endswith(begin) and not go_on(source, path, ledger):
            odd = odd or first  # nothing but a head
            break
    if odd:
        ledger.read()
        ledger.drop("no record begins here", where=f"{path}:{at}")
    return found.endswith(begin)


def _element(content: bytes) -> ElementTree.Element | None:
    if content.count(b"<") > _MOST_TAGS:
        return None
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
    markup = page.findtext("revision/text") or ""
    if len(markup) > _LONGEST_ARTICLE:
        return f"larger than {_LONGEST_ARTICLE >> 20} MiB"
    text = wiki_text(markup)
    if not text:
        return "empty"
    meta = {"title": title, "date": page.findtext("revision/timestamp") or "", "content_type": "text/plain"}
    return Document(f"{title}\n\n{text}", where, {name: value for name, value in meta.items() if value})
