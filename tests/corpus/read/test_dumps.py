from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.read.dumps import post_documents, xml_documents
from tutelage.corpus.read.wikitext import wiki_text
from tutelage.ledger import Ledger
from tutelage.records import Document


def read(
    content: str | bytes, reader: Callable[..., Iterator[Document]] = xml_documents
) -> tuple[list[Document], dict[str, int]]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "dump.xml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        ledger = Ledger("read")
        documents = list(reader(str(path), ledger))
    ledger.check()
    return documents, {reason: dropped.rows for reason, dropped in ledger.dropped.items()}


def page(title: str, text: str, namespace: int = 0, more: str = "") -> str:
    return f"""  <page>
    <title>{escape(title)}</title><ns>{namespace}</ns>{more}
    <revision><timestamp>2024-01-02T03:04:05Z</timestamp><text xml:space="preserve">{escape(text)}</text></revision>
  </page>
"""


def wiki(*pages: str) -> str:
    return '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">\n' + "".join(pages) + "</mediawiki>\n"


def test_articles_are_read_and_what_is_none_is_counted() -> None:
    documents, dropped = read(
        wiki(
            page("Fox", "A '''fox''' is an [[animal]]."),
            page("Talk:Fox", "No!", 1),
            page("Vixen", "#REDIRECT [[Fox]]", more='<redirect title="Fox" />'),
            page("Nothing", "{{stub}}"),
        )
    )
    assert [(d.text, d.meta["title"], d.meta["date"]) for d in documents] == [
        ("Fox\n\nA fox is an animal.", "Fox", "2024-01-02T03:04:05Z")
    ]
    assert dropped == {"not an article": 1, "redirect": 1, "empty": 1}


def test_attribution_of_a_wiki() -> None:
    """Page, address and licence are kept; the header names what links to files and categories are called."""
    site = """<siteinfo><sitename>Vikipedio</sitename><base>https://eo.wikipedia.org/wiki/Ĉefpaĝo</base><namespaces>
      <namespace key="0" case="first-letter" /><namespace key="6">Dosiero</namespace>
      <namespace key="14">Kategorio</namespace></namespaces></siteinfo>"""
    text = "Jen [[vulpo]]. [[Dosiero:Vulpo.jpg|thumb|La vulpo]] [[Kategorio:Bestoj]]"
    content = wiki(site, page("Ruĝa vulpo", text, more="<id>17</id>").replace("<revision>", "<revision><id>99</id>"))
    documents, dropped = read(content)
    assert documents[0].text == "Ruĝa vulpo\n\nJen vulpo."
    assert documents[0].meta == {
        "title": "Ruĝa vulpo",
        "page_id": "17",
        "revision_id": "99",
        "url": "https://eo.wikipedia.org/wiki/Ru%C4%9Da_vulpo",
        "license": "CC-BY-SA-4.0",
        "date": "2024-01-02T03:04:05Z",
        "content_type": "text/plain",
    }
    assert dropped == {}
    other = read(content.replace("eo.wikipedia.org", "wiki.example.org"))[0]
    assert "license" not in other[0].meta and other[0].meta["page_id"] == "17"


def test_a_broken_page_costs_only_itself() -> None:
    good = page("Fox", "A fox.")
    for broken, reason in [
        (good.replace("</title>", ""), "not XML"),
        (good.replace("</page>", ""), "truncated"),
        (good.replace("A fox.", "&nonsense; \x01"), "not XML"),
    ]:
        documents, dropped = read(wiki(good, broken, good))
        assert (len(documents), dropped) == (2, {reason: 1})
    documents, dropped = read(wiki(good, good)[:-60])
    assert (len(documents), dropped) == (1, {"truncated": 1})


def test_what_stands_between_records_and_is_none_is_counted() -> None:
    good = page("Fox", "A fox.")
    documents, dropped = read(
        wiki("<siteinfo>head</siteinfo>", good, good.replace("<page>", "<pgae>"), good, "  \n", good)
    )
    assert (len(documents), dropped) == (3, {"data outside of records": 1})
    assert read(wiki()) == ([], {"data outside of records": 1})
    assert read("<posts>" + "x" * 200_000 + "</posts>") == ([], {"data outside of records": 1})


def test_a_dump_made_to_hang_does_not() -> None:
    documents, dropped = read(wiki("<page>" * 200_000, page("Fox", "A fox.")))
    assert (len(documents), dropped) == (1, {"truncated": 200_000})


def test_pages_made_to_fill_memory_are_left_out() -> None:
    nested = "<page>" + "<a>" * 200_000 + "</a>" * 200_000 + "</page>"
    documents, dropped = read(wiki(nested, page("Long", "{{" * (3 << 20)), page("Fox", "A fox.")))
    assert (len(documents), dropped) == (1, {"not XML": 1, "larger than 4 MiB": 1})


def test_posts_of_stackexchange_are_text() -> None:
    body = "<p>Use <code>a &lt; b</code> &amp; wait:</p>\n<pre><code>if a &lt; b:\n    wait()\n</code></pre>"
    rows = [
        '<row Id="1" PostTypeId="1" AcceptedAnswerId="2" Score="-3" Title="How?" Tags="&lt;python&gt;" '
        f"Body={quoteattr(body)} />",
        f'<row Id="2" PostTypeId="2" ParentId="1" Score="x" Body={quoteattr("<p>So.</p>")} />',
        '<row Id="3" PostTypeId="4" Body="a wiki" />',
        '<row Id="4" PostTypeId="2" Body="<p>" />',
    ]
    documents, dropped = read('<?xml version="1.0"?>\n<posts>\n' + "\n".join(rows) + "\n</posts>", post_documents)
    assert [document.meta["type"] for document in documents] == ["question", "answer"]
    assert documents[0].text.startswith("How?\n\nUse a < b & wait:")
    assert "if a < b:\n    wait()" in documents[0].text
    assert documents[0].meta["tags"] == "python"
    assert documents[0].facts == {"score": -3}
    assert documents[1].meta["answers"] == "1"
    assert dropped == {"neither question nor answer": 1, "not XML": 1}


def test_another_xml_is_told() -> None:
    assert read("<other/>") == ([], {"neither a Wikipedia nor a StackExchange dump": 1})


@given(st.binary(max_size=400))
def test_random_bytes_are_counted_and_never_fatal(noise: bytes) -> None:
    for start in (b"", b"<mediawiki><page>", b"<posts><row "):
        read(start + noise + b"/></page>")
    read(b"<posts>" + noise, post_documents)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("''italic'' and '''bold'''", "italic and bold"),
        ("{{Infobox|a={{b|c}}\n|d=e}}Text", "Text"),
        ("[[Target|shown]] [[plain]]s [[:Category:X]] [[Category:Y]]", "shown plains Category:X"),
        ("[[File:a.jpg|thumb|A [[red]] fox]]After", "After"),
        ("[http://a.org named] [http://b.org]", "named"),
        ("== Heading ==\nText", "Heading\n\nText"),
        ("* one\n** two\n# three\n: four", "- one\n- two\n- three\nfour"),
        ("Text<ref name=a>note</ref> goes<ref name=b /> on<!-- no -->.", "Text goes on."),
        ("<math>x_{1}^{2}</math> is {{stub}}", "$x_{1}^{2}$ is"),
        ("{|\n! a\n|-\n| {{b}} || c\n|}After", "After"),
        ("a &amp; b&nbsp;c <br/> <b>d</b>", "a & b c  d"),
    ],
)
def test_markup_becomes_what_a_reader_sees(markup: str, text: str) -> None:
    assert wiki_text(markup) == text


@given(st.text("[]{}|='*#\n <>/refmath", max_size=300))
def test_broken_markup_never_fails(markup: str) -> None:
    assert len(wiki_text(markup)) <= 2 * len(markup)


def test_markup_made_to_hang_does_not() -> None:
    for piece in ("{{", "[[", "{|", "<ref>", "<math>", "[[a|", "{{a|", "[http://a ", "<!--", "'''"):
        wiki_text(piece * 20_000)
        wiki_text(piece * 10_000 + "}}]]|}</ref>" * 5_000)
