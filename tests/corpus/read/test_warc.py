from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.consent import no_ai_signal
from tutelage.corpus.read import warc
from tutelage.corpus.read.warc import arc_documents, warc_documents
from tutelage.ledger import Ledger
from tutelage.records import Document

HTML = b"<html><body><p>A page of words.</p></body></html>"


def read(
    content: bytes, reader: Callable[[str, Ledger], object] = warc_documents
) -> tuple[list[Document], Ledger, dict[str, int]]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        ledger = Ledger("read")
        documents = list(reader(file.name, ledger))  # type: ignore[call-overload]
    ledger.check()
    assert ledger.rows_kept == len(documents)
    return documents, ledger, {reason: dropped.rows for reason, dropped in ledger.dropped.items()}


def record(
    body: bytes, kind: str = "response", url: str = "http://a.org/", length: int | None = None, more: str = ""
) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-01-02T03:04:05Z\r\n{more}"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body + b"\r\n\r\n"


def answer(body: bytes = HTML, kind: str = "text/html; charset=utf-8", more: bytes = b"", status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} OK\r\nContent-Type: {kind}\r\n".encode() + more + b"\r\n" + body


def test_a_page_carries_where_it_came_from() -> None:
    content = record(answer(more=b"X-Robots-Tag: noai, noindex\r\nX-Robots-Tag: otherbot: nofollow\r\n"))
    content = content.replace(b"WARC-Date", b"WARC-Record-ID: <urn:uuid:1-2>\r\nWARC-Date")
    documents, ledger, dropped = read(record(b"x", "warcinfo") + content)
    assert [document.text for document in documents] == [HTML.decode()]
    assert documents[0].meta == {
        "url": "http://a.org/",
        "date": "2024-01-02T03:04:05Z",
        "record_id": "urn:uuid:1-2",
        "content_type": "text/html",
        "x_robots_tag": "noai, noindex, otherbot: nofollow",
    }
    assert documents[0].id.endswith(f":{len(record(b'x', 'warcinfo'))}")
    assert dropped == {}
    assert list(ledger.noted) == ["warcinfo record"]


def test_text_of_a_wet_file_is_plain_text() -> None:
    documents, _, _ = read(record("Wörter".encode(), "conversion", more="Content-Type: text/plain\r\n"))
    assert [(document.text, document.meta["content_type"]) for document in documents] == [("Wörter", "text/plain")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (record(answer(status=404)), "HTTP status 4xx"),
        (record(answer(b"%PDF-1.4", "application/pdf")), "not a page: application"),
        (record(answer(b" \n")), "empty"),
        (record(answer(bytes(range(256)) * 9)), "not text"),
        (record(b"HTTP/ nonsense"), "unreadable HTTP header"),
        (record(b"", length=30 << 20) + record(b"x", "metadata"), "record with a wrong length"),
        (b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", "record without a length"),
        (b"WARC/1.0\r\nContent-Length: -3\r\n\r\n", "record without a length"),
        (b"WARC/1.0\r\nContent-Length: 999999999999999999999999\r\n\r\nx", "truncated record: unexpected end of file"),
        (b"no archive at all\n" * 9, "data outside of records"),
    ],
)
def test_what_is_no_page_is_counted_with_its_place(content: bytes, reason: str) -> None:
    documents, ledger, dropped = read(content)
    assert documents == []
    assert dropped == {reason: 1}
    assert ledger.dropped[reason].examples[0].endswith(":0")


def test_records_that_hold_no_page_are_noted_and_not_lost() -> None:
    _, ledger, dropped = read(b"".join(record(b"x", kind) for kind in ("request", "revisit", "request", "né")))
    assert (ledger.rows_read, dropped) == (0, {})
    noted = {what: note.rows for what, note in ledger.noted.items()}
    assert noted == {"request record": 2, "revisit record": 1, "record of unknown type": 1}


@pytest.mark.parametrize("off", [-20, -3, 7, 50, 100, 5000, 30 << 20, 1 << 40])
@pytest.mark.parametrize("reader", ["warc", "arc"])
def test_a_wrong_length_costs_no_other_record(reader: str, off: int) -> None:
    page = answer()
    if reader == "warc":
        first, others = record(page, length=len(page) + off), record(page, url="http://b.org/") * 3
        documents, _, dropped = read(first + others)
    else:
        line = "http://a.org/some path 1.2.3.4 20140102030405 text/html {}\n"
        one = line.format(len(page)).encode() + page + b"\n"
        documents, _, dropped = read(line.format(len(page) + off).encode() + page + b"\n" + one * 3, arc_documents)
    assert len(documents) in (3, 4)
    assert [document.text for document in documents[-3:]] == [HTML.decode()] * 3
    assert dropped


def test_lengths_made_to_hang_do_not() -> None:
    claims = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 9000000\r\n\r\nx\r\n\r\n"
    _, ledger, dropped = read(gzip.compress(claims * 200_000, 1))
    assert dropped["record with a wrong length"] > 100
    assert ledger.rows_read < 1000


def test_rubbish_between_records_is_one_line_of_the_ledger() -> None:
    rubbish = b"rubbish\nmore WARC/ rubbish\n" * 20
    documents, _, dropped = read(record(answer()) + rubbish + record(answer()))
    assert (len(documents), dropped) == (2, {"data outside of records": 1})


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
def test_a_damaged_member_of_a_gzip_costs_its_record(cut: float) -> None:
    pages = [record(answer(HTML + os.urandom(2000).hex().encode())) for _ in range(5)]
    packed = [gzip.compress(page) for page in pages]
    place = int(len(packed[2]) * cut)
    packed[2] = packed[2][:place] + bytes(8) + packed[2][place + 8 :]
    documents, _, dropped = read(b"".join(packed))
    assert len(documents) == 4
    assert sum(dropped.values()) == 1


@pytest.mark.parametrize(
    ("headers", "body", "noted"),
    [
        (b"Transfer-Encoding: chunked\r\n", b"31\r\n" + HTML + b"\r\n0\r\n\r\n", False),
        (b"Content-Encoding: gzip\r\n", gzip.compress(HTML, mtime=0), False),
        (b"Transfer-Encoding: chunked\r\n", HTML, True),
        (b"Content-Encoding: gzip\r\n", HTML, True),
        (b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", gzip.compress(HTML, mtime=0), True),
    ],
)
def test_a_page_is_decoded_as_it_is_coded_and_not_as_it_says(headers: bytes, body: bytes, noted: bool) -> None:
    documents, ledger, _ = read(record(answer(body, more=headers)))
    assert [document.text for document in documents] == [HTML.decode()]
    assert bool(ledger.noted) == noted


def test_of_a_coding_that_breaks_off_the_beginning_is_kept() -> None:
    chunked = record(
        answer(b"31\r\n" + HTML + b"\r\n0fff\r\n" + b"and so on " * 99, more=b"Transfer-Encoding: chunked\r\n")
    )
    documents, ledger, _ = read(chunked)
    assert [document.text[: len(HTML)] for document in documents] == [HTML.decode()]
    assert documents[0].text.endswith("and so on ")
    assert list(ledger.noted) == ["truncated transfer or content encoding"]
    packed = gzip.compress(os.urandom(99_000).hex().encode())
    documents, ledger, _ = read(record(answer(packed[:-9000], more=b"Content-Encoding: gzip\r\n")))
    assert len(documents[0].text) > 100_000


def test_archives_of_the_second_arc_version() -> None:
    page = answer()
    line = f"http://a.org/ 1.2.3.4 20140102030405 text/html 200 abc - 77 file.arc {len(page)}\n".encode()
    documents, _, _ = read((line + page + b"\n") * 2, arc_documents)
    assert [document.meta["url"] for document in documents] == ["http://a.org/"] * 2
    assert documents[0].meta["date"] == "2014-01-02T03:04:05Z"


def test_a_page_that_unpacks_without_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc, "MAX_RECORD_BYTES", 1 << 20)
    bomb = record(answer(gzip.compress(b"a" * (50 << 20)), more=b"Content-Encoding: gzip\r\n"))
    documents, _, dropped = read(bomb + record(answer()))
    assert (len(documents), dropped) == (1, {"larger than 1 MiB": 1})


def test_a_page_far_larger_than_what_was_sent_is_left_early() -> None:
    bomb = record(answer(gzip.compress(b"a" * (15 << 20)), more=b"Content-Encoding: gzip\r\n"))
    documents, _, dropped = read(bomb * 3 + record(answer()))
    assert (len(documents), dropped) == (1, {"compression ratio above 200": 3})


def test_a_record_too_large_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc, "MAX_RECORD_BYTES", 1 << 20)
    documents, _, dropped = read(record(answer(b"a" * (2 << 20))) + record(answer()))
    assert (len(documents), dropped) == (1, {"larger than 1 MiB": 1})


@given(st.integers(1, 5), st.integers(0, 10_000), st.binary(min_size=1, max_size=300))
def test_every_other_record_survives_noise_anywhere(which: int, where: int, noise: bytes) -> None:
    pages = [record(answer(f"<p>page {number}</p>".encode())) for number in range(6)]
    page = pages[which]
    pages[which] = page[: where % len(page)] + noise + page[where % len(page) :]
    documents, _, _ = read(b"".join(pages))
    found = {document.text for document in documents}
    # The noise may spell a length or a header; it may not reach further than the next record.
    assert found >= {f"<p>page {number}</p>" for number in range(6) if number not in (which, which + 1)}


@given(st.binary(max_size=2000))
def test_random_bytes_are_counted_and_never_fatal(noise: bytes) -> None:
    for reader in (warc_documents, arc_documents):
        read(noise, reader)
        read(b"WARC/1.0\r\nContent-Length: 100\r\n" + noise, reader)


# What each file holds, told by hand from its bytes: pages and what is damaged, pages kept.
SAMPLES = {
    "CC-MAIN-2024-22.warc.paths.gz": (1, 0),
    "bad.arc": (4, 0),
    "example-digest.warc": (0, 0),
    "example-iana.org-chunked.warc": (1, 1),
    "example-resource.warc.gz": (1, 1),
    "example.arc": (1, 1),
    "example.arc.gz": (1, 1),
    "example.warc": (1, 1),
    "example.warc.gz": (1, 1),
    "post-test.warc.gz": (3, 0),
    "sample-0000.warc.gz": (24, 24),
    "warcfile.warc.gz": (16, 16),
    "whirlwind.warc": (1, 1),
    "whirlwind.warc.gz": (1, 1),
    "whirlwind.warc.wat": (0, 0),
    "whirlwind.warc.wat.gz": (0, 0),
    "whirlwind.warc.wet": (1, 1),
    "whirlwind.warc.wet.gz": (1, 1),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_of_real_archives(name: str, data: Callable[[str], Path]) -> None:
    content = data(f"warc_samples/{name}").read_bytes()
    documents, ledger, _ = read(content, arc_documents if ".arc" in name else warc_documents)
    assert (ledger.rows_read, len(documents)) == SAMPLES[name]
    for dropped in ledger.dropped.values():
        assert all(0 <= int(place.rpartition(":")[2]) < 1 << 20 for place in dropped.examples)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_real_archive_cut_off_is_read_as_far_as_it_goes(share: float, data: Callable[[str], Path]) -> None:
    content = data("warc_samples/sample-0000.warc.gz").read_bytes()
    whole, _, _ = read(content)
    documents, _, dropped = read(content[: int(len(content) * share)])
    assert [d.text for d in documents] == [d.text for d in whole[: len(documents)]]
    assert len(documents) >= share * len(whole) - 6
    assert sum(rows for reason, rows in dropped.items() if "unexpected end" in reason or "truncated" in reason) == 1


@pytest.mark.parametrize(
    "line",
    [
        *(b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"HTTP/2 200", b"HTTP 200 OK", b"HTTP/1.0\t200\tOK", b"ICY 200 OK"),
        *(b"\r\nHTTP/1.1 200 OK", b"Http/1.1 200"),
    ],
)
def test_status_line(line: bytes) -> None:
    content = record(line + answer().removeprefix(b"HTTP/1.1 200 OK"))
    documents, ledger, dropped = read(content)
    assert [document.text for document in documents] == [HTML.decode()]
    assert (dropped, list(ledger.noted)) == ({}, [])
    gone = record(line.replace(b"200", b"404") + answer().removeprefix(b"HTTP/1.1 200 OK"))
    assert read(gone)[2] == {"HTTP status 4xx": 1}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("bits", [zlib.MAX_WBITS, -zlib.MAX_WBITS])
def test_raw_deflate(bits: int, chunked: bool) -> None:
    squeeze = zlib.compressobj(wbits=bits)
    page = HTML * 200
    body, more = squeeze.compress(page) + squeeze.flush(), b"Content-Encoding: deflate\r\n"
    if chunked:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        more += b"Transfer-Encoding: chunked\r\n"
    documents, ledger, dropped = read(record(answer(body, more=more)))
    assert [document.text for document in documents] == [page.decode()]
    assert (dropped, list(ledger.noted)) == ({}, [])


def test_raw_deflate_is_no_way_around_the_limit_of_bombs() -> None:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = squeeze.compress(b"<p>" + bytes([32]) * (64 << 20)) + squeeze.flush()
    documents, _, dropped = read(record(answer(body, more=b"Content-Encoding: deflate\r\n")))
    assert documents == []
    assert sum(dropped.values()) == 1


@pytest.mark.parametrize("name", [b"tdm-reservation", b"TDM-Reservation"])
def test_tdm_header(name: bytes) -> None:
    (document,), _, _ = read(record(answer(more=name + b": 1\r\nTDM-Policy: http://a.org/p.json\r\n")))
    assert (document.meta["tdm_reservation"], document.meta["tdm_policy"]) == ("1", "http://a.org/p.json")
    assert no_ai_signal(document) == "tdm"
    (free,), _, _ = read(record(answer(more=name + b": 0\r\n")))
    assert no_ai_signal(free) == ""


def test_a_page_that_is_called_plain_text_is_html_by_its_first_tag() -> None:
    (document,), _, _ = read(record(answer(b"<!DOCTYPE html>\n" + HTML, "text/plain")))
    assert document.meta["content_type"] == "text/html"
