"""Text from pictures of pages (OCR): by RapidOCR, whose models come with its wheel, or by an installed tesseract."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, Literal

import numpy as np

from tutelage.corpus.pdf_columns import Box, column_order
from tutelage.extras import load

Engine = Literal["rapidocr", "tesseract"]
DOTS_PER_POINT = 300 / 72

_LEAST_SCORE = 0.5  # of a line: RapidOCR's own default
_TESSERACT_SECONDS = 120.0


@dataclass(frozen=True)
class Ocr:
    """How pictures of pages are read.

    languages: those of tesseract, as "eng+deu"; RapidOCR knows Latin letters, Chinese and Japanese without being told.
    """

    engine: Engine
    languages: str = "eng"

    def check(self) -> None:
        """Raise ValueError if the engine is not there, or does not know a language."""
        if self.engine == "rapidocr":
            _rapidocr()
            return
        if shutil.which("tesseract") is None:
            raise ValueError("ocr: no program tesseract is installed; install it, or set ocr = 'rapidocr'")
        listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, check=False).stdout
        known = listed.split("\n")[1:]  # after a title
        for language in self.languages.split("+"):
            if language not in known:
                raise ValueError(f"ocr_languages: tesseract does not know '{language}'; it knows {', '.join(known)}")

    def text(self, picture: np.ndarray) -> str:
        """The text of a picture, uint8[height, width], grey; "" if it has none."""
        return _by_rapidocr(picture) if self.engine == "rapidocr" else _by_tesseract(picture, self.languages)


def _by_rapidocr(picture: np.ndarray) -> str:
    found = _rapidocr()(picture)
    if found.txts is None:
        return ""
    corners = [np.asarray(box) for box in found.boxes]
    # Pictures count from the top.
    boxes = [Box(c[:, 0].min(), -c[:, 1].max(), c[:, 0].max(), -c[:, 1].min()) for c in corners]
    return text_of_pieces(list(zip(boxes, found.txts, strict=True)))


def text_of_pieces(pieces: Sequence[tuple[Box, str]]) -> str:
    """Pieces of text in reading order, from top to bottom, column by column: one line per line of the page."""
    ordered = _in_rows(pieces)
    regions = column_order([box for box, _, _ in ordered])
    places = [_place(box, regions) for box, _, _ in ordered]
    rows = sorted(zip(places, ordered, strict=True), key=lambda item: item[0])  # stable: rows stay in order
    lines = groupby(rows, lambda item: (item[0], item[1][2]))
    return "\n".join(" ".join(piece[1] for _, piece in line) for _, line in lines)


def _in_rows(pieces: Sequence[tuple[Box, str]]) -> list[tuple[Box, str, int]]:
    """The pieces from top to bottom, and from left to right within a row; with the number of the row."""
    rows: list[list[tuple[Box, str]]] = []
    for box, text in sorted(pieces, key=lambda piece: -piece[0].top):
        middle = (box.top + box.bottom) / 2
        if rows and any(other.bottom < middle < other.top for other, _ in rows[-1]):
            rows[-1].append((box, text))
        else:
            rows.append([(box, text)])
    return [(*piece, number) for number, row in enumerate(rows) for piece in sorted(row, key=lambda p: p[0].left)]


def _place(box: Box, regions: Sequence[Box]) -> int:
    """The number of the region that holds the middle of a box."""
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    inside = (n for n, r in enumerate(regions) if r.left <= x <= r.right and r.bottom <= y <= r.top)
    return next(inside, 0)


def _by_tesseract(picture: np.ndarray, languages: str) -> str:
    head = f"P5 {picture.shape[1]} {picture.shape[0]} 255\n".encode()  # a grey picture as PNM, which leptonica reads
    command = ["tesseract", "stdin", "stdout", "-l", languages, "--dpi", "300"]
    try:
        ran = subprocess.run(
            command, input=head + picture.tobytes(), capture_output=True, timeout=_TESSERACT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    if ran.returncode:
        raise RuntimeError(f"tesseract: {ran.stderr.decode('utf-8', 'replace').strip()[:300]}")
    return ran.stdout.decode("utf-8", "replace").strip("\n\x0c")


@cache
def _rapidocr() -> Any:
    load("onnxruntime", "ocr")
    settings = {
        "Global.log_level": "error",
        "Global.text_score": _LEAST_SCORE,
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,  # the workers of a curation share the cores
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    return load("rapidocr", "ocr").RapidOCR(params=settings)
