"""The files of a step: kept rows, dropped rows, and a line for each finished item. All are append-only.

An item is finished once its line in `commits.jsonl` is written, after its rows. A killed process leaves rows without
that line, which the next one cuts off; so the files are always those of a run that was never killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tutelage.files import explain, to_json

DATA, DROPPED, COMMITS = "data.jsonl", "dropped.jsonl", "commits.jsonl"


class Commit(msgspec.Struct, frozen=True):
    """A finished item: its number; the sizes of the two files after it; how many rows its replies held, and how many of
    them were kept; tokens by purpose, of questions and of replies."""

    item: int
    data: int
    dropped: int
    made: int
    kept: int
    tokens: dict[str, tuple[int, int, int]] = {}


class Totals(msgspec.Struct):
    """What all finished items add up to; `empty` are those without a row; `tokens` as of a commit: questions, prompt
    tokens, completion tokens by purpose."""

    items: int = 0
    empty: int = 0
    made: int = 0
    kept: int = 0
    tokens: dict[str, tuple[int, int, int]] = {}

    def add(self, commit: Commit) -> None:
        """One more finished item."""
        self.items += 1
        self.empty += commit.made == 0
        self.made += commit.made
        self.kept += commit.kept
        for purpose, counts in commit.tokens.items():
            before = self.tokens.get(purpose, (0, 0, 0))
            self.tokens[purpose] = (before[0] + counts[0], before[1] + counts[1], before[2] + counts[2])


class Output:
    """Appends finished items to the files of a folder; cuts off what a killed process left unfinished.

    Raises:
        DiskError: the files cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.totals = folder, Totals()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sizes = [size(folder / name) for name in (DATA, DROPPED)]
            lengths = (0, 0, 0)
            for commit, end in _read_commits(folder / COMMITS):
                if commit.item != self.totals.items or commit.data > sizes[0] or commit.dropped > sizes[1]:
                    break  # the machine, not only the process, stopped before the rows were on the disk
                self.totals.add(commit)
                lengths = (commit.data, commit.dropped, end)
            self._files = [(folder / name).open("ab") for name in (DATA, DROPPED, COMMITS)]
            for file, length in zip(self._files, lengths, strict=True):
                file.truncate(length)
        except OSError as error:
            raise explain(error, folder) from error
        self._sizes = list(lengths[:2])

    def commit(
        self, kept: Sequence[Any], dropped: Sequence[Any], made: int, tokens: dict[str, tuple[int, int, int]]
    ) -> None:
        """Write the rows of the next item; then it is finished."""
        try:
            for place, rows in enumerate((kept, dropped)):
                content = b"".join(to_json(row, indent=None, sort=False) + b"\n" for row in rows)
                self._files[place].write(content)
                self._files[place].flush()
                self._sizes[place] += len(content)
            commit = Commit(self.totals.items, self._sizes[0], self._sizes[1], made, len(kept), tokens)
            self._files[2].write(msgspec.json.encode(commit) + b"\n")
            self._files[2].flush()
        except OSError as error:
            raise explain(error, self.folder) from error
        self.totals.add(commit)

    def close(self) -> None:
        """Wait until everything is on the disk, and close the files."""
        try:
            for file in self._files:
                os.fsync(file.fileno())
                file.close()
        except OSError as error:
            raise explain(error, self.folder) from error


def size(path: Path) -> int:
    """The size of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one of the files; none where it is absent."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                yield msgspec.json.decode(line)


def clear(folder: Path) -> None:
    """Remove the files, so that everything is made again; DiskError where that is not allowed."""
    for name in (COMMITS, DATA, DROPPED):  # the commits first: rows without them are cut off anyway
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise explain(error, folder / name) from error


def _read_commits(path: Path) -> Iterator[tuple[Commit, int]]:
    """The finished items, each with the offset after its line; up to the first broken line."""
    offset = 0
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            offset += len(line)
            try:
                commit = msgspec.json.decode(line, type=Commit)
            except msgspec.DecodeError:
                return
            if not line.endswith(b"\n"):
                return
            yield commit, offset
