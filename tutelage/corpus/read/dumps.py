"""XML dumps of Wikipedia and StackExchange: split into pages and rows before parsing, so a broken one loses only
itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote
from xml.etree import ElementTree

from tutelage.corpus.read.posts import Post, post_document, read_post, threads
from tutelage.corpus.read.wikitext import wiki_text
from tutelage.io.byte_reader import MAX_RECORD_BYTES, ByteReader, go_on, read_bytes
from tutelage.io.decompress import CHUNK
from tutelage.ledger import Ledger
from tutelage.records import Document
from tutelage.text.urls import url_host

# A page has about twenty tags, and its markup is escaped. A parsed tag takes a hundred times its size in memory.
_MOST_TAGS = 100_000
_LONGEST_ARTICLE = 4 << 20  # characters; MediaWiki allows no more than 2 MiB
_HEAD = 1 << 16  # bytes of a dump that hold its header
_SITE = re.compile(rb"<siteinfo>.*?</siteinfo>", re.DOTALL)
# Not Wikinews, which has a licence of its own.
_WIKIMEDIA = (
    *("wikipedia.org", "wiktionary.org", "wikibooks.org", "wikiquote.org", "wikisource.org", "wikiversity.org"),
    "wikivoyage.org",
)
_FOOT = re.compile(rb"\s*(?:</?(?:posts|mediawiki)>\s*)*")


def xml_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """A dump of Wikipedia (`<mediawiki>`), or of StackExchange (`Posts.xml`), one document per question with its
    answers. The beginning of the file tells which."""
    with read_bytes(path) as reader:
        start = reader.read(_HEAD)
        reader.unread(start)
        if b"<mediawiki" in start:
            make = partial(_wiki_page, wiki=_wiki(start))
            yield from _each(_records(reader, path, ledger, b"<page>", b"</page>"), make, ledger)
        elif b"<posts" in start:
            yield from threads(_posts(reader, path, ledger), path, ledger)
        else:
            ledger.read()
            ledger.drop("neither a Wikipedia nor a StackExchange dump", where=path)


def post_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """The posts of a StackExchange dump, one document each."""
    with read_bytes(path) as reader:
        for post in _posts(reader, path, ledger):
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


def _posts(reader: ByteReader, path: str, ledger: Ledger) -> Iterator[Post]:
    """The posts of a dump. Other rows are dropped here; the caller counts what happens to the posts."""
    for where, content in _records(reader, path, ledger, b"<row ", b"/>"):
        row = _element(content)
        found = "not XML" if row is None else read_post(row, where)
        if isinstance(found, Post):
            yield found
        else:
            ledger.drop(found, where=where)


def _records(reader: ByteReader, path: str, ledger: Ledger, begin: bytes, end: bytes) -> Iterator[tuple[str, bytes]]:
    """Each complete record, with its place. Counts all records, and drops incomplete ones."""
    first = True
    while _go_to(reader, path, ledger, begin, first):
        first = False
        where = f"{path}:{reader.position - len(begin)}"
        ledger.read()
        content = begin + reader.until(end, MAX_RECORD_BYTES)
        if (lost := content.count(begin, 1)) and content.endswith(end):
            # If the end of a record is missing, the next begins inside it; only the last of them is complete.
            ledger.read(lost)
            ledger.drop("truncated", rows=lost, where=where)
            content = content[content.rfind(begin) :]
        if content.endswith(end):
            yield where, content
        else:
            too_long = len(content) >= MAX_RECORD_BYTES
            ledger.drop(f"larger than {MAX_RECORD_BYTES >> 20} MiB" if too_long else "truncated", where=where)


def _go_to(reader: ByteReader, path: str, ledger: Ledger, begin: bytes, first: bool) -> bool:
    """Advance past the next `begin` mark; False at the end. Counts what lies before it, unless it is the header or the
    footer of the dump."""
    at, odd, found = reader.position, False, b""
    while not found.endswith(begin):
        found = reader.until(begin, CHUNK)
        odd = odd or not (first or _FOOT.fullmatch(found.removesuffix(begin)))
        if len(found) == CHUNK and not found.endswith(begin):
            reader.unread(found[1 - len(begin) :])  # the limit may have cut through a mark
        elif not found.endswith(begin) and not go_on(reader, path, ledger):
            odd = odd or first  # only a header
            break
    if odd:
        ledger.read()
        ledger.drop("data outside of records", where=f"{path}:{at}")
    return found.endswith(begin)


def _element(content: bytes) -> ElementTree.Element | None:
    if content.count(b"<") > _MOST_TAGS:
        return None
    try:
        return ElementTree.fromstring(content.decode("utf-8", "replace"))
    except ElementTree.ParseError:
        return None


@dataclass(frozen=True)
class _Wiki:
    """What the header of a dump says: the address that titles are appended to, and the names of namespaces whose links
    are left out, in lower case."""

    address: str = ""
    unread: frozenset[str] = frozenset()

    @property
    def license(self) -> str:
        """The licence of the texts, known for the projects of Wikimedia (foundation.wikimedia.org, Terms of Use, 7)."""
        host = url_host(self.address)
        return "CC-BY-SA-4.0" if host.endswith(_WIKIMEDIA) else ""


def _wiki(start: bytes) -> _Wiki:
    """The header of a dump, from its first bytes."""
    found = _SITE.search(start)
    site = None if found is None else _element(found[0])
    if site is None:
        return _Wiki()
    names = [space.text or "" for space in site.iter("namespace") if space.get("key") in ("-2", "6", "14")]
    base = site.findtext("base") or ""
    unread = frozenset(name.lower() for name in names if name)
    return _Wiki(base.rpartition("/")[0] + "/" if "/" in base else "", unread)


def _wiki_page(content: bytes, where: str, wiki: _Wiki) -> Document | str:
    page = _element(content)
    if page is None:
        return "not XML"
    if page.findtext("ns") not in (None, "0"):
        return "not an article"
    if page.find("redirect") is not None:
        return "redirect"
    title = page.findtext("title") or ""
    markup = page.findtext("revision/text") or ""
    if len(markup) > _LONGEST_ARTICLE:
        return f"larger than {_LONGEST_ARTICLE >> 20} MiB"
    text = wiki_text(markup, wiki.unread)
    if not text:
        return "empty"
    meta = {
        "title": title,
        "page_id": page.findtext("id") or "",
        "revision_id": page.findtext("revision/id") or "",
        "url": wiki.address and wiki.address + quote(title.replace(" ", "_"), safe="/:(),!*'@;"),
        "license": wiki.license,
        "date": page.findtext("revision/timestamp") or "",
        "content_type": "text/plain",
    }
    return Document(f"{title}\n\n{text}", where, {name: value for name, value in meta.items() if value})
