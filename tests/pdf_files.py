"""PDF files for tests: pieces of text at places, columns, pictures of pages."""

from __future__ import annotations

import random
import textwrap
import zlib

import numpy as np

WORDS = "the of a light sea keeper storm boat village lamp winter bread mail island rope water ship coast".split()
Piece = tuple[float, float, str]


def column(name: str, width: int, lines: int = 40) -> list[str]:
    draw = random.Random(name)
    paragraphs = [f"{name}{n} {' '.join(draw.choices(WORDS, k=50))}." for n in range(9)]
    return [line for paragraph in paragraphs for line in textwrap.wrap(paragraph, width)][:lines]


def across(columns: dict[float, list[str]], top: float = 700) -> list[Piece]:
    """The pieces of a page, line by line over all columns."""
    lines = max(map(len, columns.values()))
    return [(x, top - 12 * n, own[n]) for n in range(lines) for x, own in columns.items() if n < len(own)]


def by_word(pieces: list[Piece]) -> list[Piece]:
    found: list[Piece] = []
    for x, y, text in pieces:
        for word in text.split():
            found.append((round(x, 1), y, word))
            x += 4.8 * (len(word) + 1)
    return found


def pdf_page(pieces: list[Piece]) -> bytes:
    """A PDF of one page with pieces of text at these places."""
    words = "\n".join(f"BT /F1 8 Tf {x} {y} Td ({text}) Tj ET" for x, y, text in pieces)
    font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Courier >> >> >>"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents 4 0 R >>",
        f"<< /Length {len(words)} >>\nstream\n{words}\nendstream",
    ]
    body = "".join(f"{number} 0 obj\n{content}\nendobj\n" for number, content in enumerate(objects, 1))
    return f"%PDF-1.4\n{body}trailer\n<< /Size 5 /Root 1 0 R >>\n%%EOF".encode()


def scanned(picture: np.ndarray) -> bytes:
    """A PDF of one page that is a picture, uint8[height, width]."""
    height, width = picture.shape
    packed, shown = zlib.compress(picture.tobytes()), b"q 612 0 0 792 0 0 cm /I Do Q"
    about = f"/Width {width} /Height {height} /ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /FlateDecode"
    inside = "/MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /XObject << /I 5 0 R >> >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R {inside} >>".encode(),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(shown), shown),
        b"<< /Type /XObject /Subtype /Image %b /Length %d >>\nstream\n%b\nendstream"
        % (about.encode(), len(packed), packed),
    ]
    body = b"".join(b"%d 0 obj\n%b\nendobj\n" % (number, content) for number, content in enumerate(objects, 1))
    return b"%%PDF-1.4\n%btrailer\n<< /Size 6 /Root 1 0 R >>\n%%%%EOF" % body
