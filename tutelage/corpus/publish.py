"""Curates a corpus to an address that fsspec opens, such as s3://bucket/corpus."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tutelage.config import fingerprint
from tutelage.corpus.curation import Curation
from tutelage.corpus.fetch import cache_folder
from tutelage.corpus.funnel_page import CARD, PAGE, write_pages
from tutelage.corpus.pipeline import corpus_fingerprint, curate
from tutelage.corpus.shards import PARQUET, RESULT, SUFFIX
from tutelage.corpus.working import DROPPED
from tutelage.extras import load
from tutelage.io.open import retried
from tutelage.progress import status, track

UNFINISHED = ".unfinished"  # is at the address until all of the corpus is
_SHARD = re.compile(rf"\d{{5,}}(?:{re.escape(SUFFIX)}|{re.escape(PARQUET)})")


def curate_to(curation: Curation, address: str) -> dict[str, Any]:
    """Run a recipe, and copy the finished corpus to an address, with its pages. Until then it is in the cache folder
    ($TUTELAGE_CACHE), which needs room for it, and which all nodes of a cluster must share. Returns the content of
    curation.json, which is copied last and marks a finished corpus.

    Raises:
        ValueError, DiskError: as `curate`; or the address cannot be written, or holds files of others.
    """
    place = _Place(address)
    before = place.result()
    if before is not None and before.get("fingerprint") == corpus_fingerprint(curation):
        status(f"{address} is up to date; nothing to do")
        return before
    if before is None and (names := place.names()) and UNFINISHED not in names:
        raise ValueError(f"{address} contains {names[0]}, which no curation wrote; choose another address with out=")
    folder = cache_folder() / "corpora" / fingerprint(address)
    result = curate(curation, folder)
    write_pages(folder)
    place.replace_by(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _is_of_corpus(name: str) -> bool:
    """Whether a curation writes files of this name."""
    return name in (PAGE, CARD, DROPPED) or _SHARD.fullmatch(name) is not None


class _Place:
    """An address, and what is there. All methods raise DiskError if their retries fail."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        try:
            self._system, root = load("fsspec").core.url_to_fs(self._address)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{address} cannot be opened ({error}); correct out=, or install what it needs") from error
        self._root = root.rstrip("/")

    def names(self) -> list[str]:
        """The names of what is there, sorted."""
        found = self._retry(
            lambda: self._system.ls(self._root, detail=False) if self._system.exists(self._root) else []
        )
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)

    def result(self) -> dict[str, Any] | None:
        """The content of its curation.json; None if there is none."""
        if RESULT not in self.names():
            return None
        return dict(msgspec.json.decode(self._retry(lambda: self._system.cat_file(f"{self._root}/{RESULT}"))))

    def replace_by(self, folder: Path) -> None:
        """Replace the corpus that is there by the files of a folder, RESULT last. Other files stay."""
        files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith(".")]
        files.sort(key=lambda file: file == folder / RESULT)
        self._retry(lambda: self._system.makedirs(self._root, exist_ok=True))
        self._retry(lambda: self._system.pipe_file(f"{self._root}/{UNFINISHED}", b""))
        if RESULT in self.names():  # of an earlier corpus, which is gone from here on
            self._retry(lambda: self._system.rm(f"{self._root}/{RESULT}"))
        for name in filter(_is_of_corpus, self.names()):
            self._retry(partial(self._system.rm, f"{self._root}/{name}", recursive=True))
        with track(f"copying to {self._address}", len(files), "files") as bar:
            for file in files:
                target = f"{self._root}/{file.relative_to(folder).as_posix()}"
                self._retry(partial(self._put, file, target))
                bar.update()
        self._retry(lambda: self._system.rm(f"{self._root}/{UNFINISHED}"))

    def _put(self, file: Path, target: str) -> None:
        self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._system.put_file(str(file), target)

    def _retry(self, action: Callable[[], Any]) -> Any:
        return retried(action, self._address, "write")
