from __future__ import annotations

from collections.abc import Iterator

import pytest

from tutelage.corpus.read import pages
from tutelage.corpus.working import _make_once


@pytest.fixture(autouse=True, scope="module")
def _no_extraction_process_is_left() -> Iterator[None]:
    """Processes that the reader of PDF and the steps keep for the next page; other tests count children."""
    yield
    pages._pdf_worker.cache_clear()
    _make_once.cache_clear()
