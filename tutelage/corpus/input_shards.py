"""The shards of an input: small files grouped, large ones split. A shard is the unit of work and of resuming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.config import fingerprint
from tutelage.corpus.curation import Curation
from tutelage.corpus.input_files import InputFile, about, input_files, split_known
from tutelage.corpus.read import kind_of, split_file
from tutelage.corpus.shards import of_corpus
from tutelage.io.parts import Part

MIN_PART_BYTES = 1 << 20


@dataclass(frozen=True)
class InputShard:
    """Files, or a part of one, that a process reads in order; their size in bytes; and a fingerprint of their names,
    sizes and times."""

    files: tuple[InputFile, ...]
    size: int
    key: str


def skipped_files(curation: Curation) -> list[InputFile]:
    """The files that are skipped because no reader is known for them."""
    return split_known(input_files(_patterns(curation), curation.reader), curation.reader)[1]


def input_shards(curation: Curation) -> list[InputShard]:
    """The input files of a recipe as shards. The same files always give the same shards.

    Raises:
        ValueError: a pattern matches nothing; or no reader is known for a file and the recipe neither names one nor
                    skips such files.
        DiskError: a file does not exist, or cannot be read.
    """
    files, others = split_known(input_files(_patterns(curation), curation.reader), curation.reader)
    if others and (curation.unknown_files == "error" or not files):
        kind_of(others[0].path)  # fail now, not in a worker
    shards: list[InputShard] = []
    together: list[tuple[InputFile, list[object]]] = []
    size = 0
    for file in files:
        info = about(file.path)
        for part in _parts(curation, file, _size(info)):
            bytes_here = _size(info) if part is None else part.stop - part.start
            if together and (part is not None or size + bytes_here > curation.shard_mib * 2**20):
                shards.append(_shard(together, size))
                together, size = [], 0
            together.append((file._replace(part=part), info))
            size += bytes_here
    return [*shards, _shard(together, size)] if together else shards


def _parts(curation: Curation, file: InputFile, size: int) -> Sequence[Part | None]:
    """The parts of a file. With a limit all of its documents come from its beginning."""
    part_bytes = max(int(curation.shard_mib * 2**20), MIN_PART_BYTES)
    if size <= part_bytes or curation.limit is not None or ("://" not in file.path and of_corpus(Path(file.path))):
        return [None]
    return split_file(file.path, curation.reader, size, part_bytes)


def _size(info: list[object]) -> int:
    return info[0] if isinstance(info[0], int) else 0


def _patterns(curation: Curation) -> tuple[str, ...]:
    return (curation.input,) if isinstance(curation.input, str) else curation.input


def _shard(files: list[tuple[InputFile, list[object]]], size: int) -> InputShard:
    key = fingerprint([[*file, info] for file, info in files])
    return InputShard(tuple(file for file, _ in files), size, key)
