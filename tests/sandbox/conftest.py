from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest
from sandboxed import children, descriptors


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test: no file in the temporary folder, no child, no open descriptor more than before."""
    folder = tmp_path_factory.mktemp("sandbox")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = children(), descriptors()
    yield
    assert list(folder.iterdir()) == []
    assert (children(), descriptors()) == before
