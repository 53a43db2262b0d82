"""The input files of a recipe, and their names in the corpus: told from the folder that the input names, so that a
corpus does not depend on where its input lies."""

from __future__ import annotations

import glob
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tutelage.config import fingerprint
from tutelage.corpus.read import UnknownFile, kind_of
from tutelage.corpus.shards import RESULT, corpus_files, finished
from tutelage.extras import load
from tutelage.files import explain
from tutelage.io.open import retried
from tutelage.io.parts import Part

LIST = "@"  # before the name of a file that lists inputs


class InputFile(NamedTuple):
    """A file to read, its name in ids and statistics ("in/a.txt"), and the part of it that is meant; None: all."""

    path: str
    name: str
    part: Part | None = None


def input_files(patterns: Sequence[str], reader: str | None) -> list[InputFile]:
    """The files that the patterns match, each once, in order. What exists under exactly the name of a pattern is taken
    before the pattern is matched. Raises ValueError if a pattern matches nothing, and DiskError if a list of patterns
    cannot be read."""
    patterns = [each for pattern in patterns for each in (_listed(pattern) if pattern.startswith(LIST) else [pattern])]
    found = {pattern: _matches(pattern, reader) for pattern in patterns}
    labels = _labels({_base(pattern) for pattern in patterns if "://" not in pattern})
    files: dict[str, InputFile] = {}
    for pattern, paths in found.items():
        base = _base(pattern)
        for path in paths:
            name = path if "://" in pattern else _inside(path, base, labels[base])
            files.setdefault(path, InputFile(path, name))
    return list(files.values())


def split_known(files: Iterable[InputFile], reader: str | None) -> tuple[list[InputFile], list[InputFile]]:
    """The files that a reader is known for, and the others."""
    known: list[InputFile] = []
    others: list[InputFile] = []
    for file in files:
        try:
            if reader is None:
                kind_of(file.path)
            known.append(file)
        except UnknownFile:
            others.append(file)
    return known, others


def skipped_sentence(files: Sequence[InputFile]) -> str:
    """How many files were skipped, by the ends of their names."""
    counts = Counter(Path(file.name).suffix.lower() or "no ending" for file in files)
    kinds = ", ".join(f"{ending} ({count:,})" for ending, count in counts.most_common(10))
    return f"{len(files):,} files of unknown type skipped: {kinds}, first {files[0].name}"


def short_pattern(pattern: str) -> str:
    """An input or a file of a recipe without the folders of this machine: from its last folder on."""
    if pattern.startswith(LIST):
        return LIST + short_pattern(pattern.removeprefix(LIST))
    if "://" in pattern or not Path(pattern).is_absolute():
        return pattern
    return _inside(pattern, _base(pattern), Path(_base(pattern)).name)


def _listed(pattern: str) -> list[str]:
    """The patterns in a list: one per line; empty lines and those that begin with "#" do not count. Relative ones are
    told from the folder of the list."""
    path = Path(pattern.removeprefix(LIST))
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; a list of inputs has one file or pattern per line") from None
    except OSError as error:
        raise explain(error, path, "read") from error
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise ValueError(f"{path} lists no input; write one file or pattern per line")
    return [line if "://" in line else str(path.parent / line) for line in found]


def _matches(pattern: str, reader: str | None) -> list[str]:
    if "://" in pattern:
        found = retried(partial(_remote_matches, pattern), pattern, "list")
    elif Path(pattern).is_dir() and reader == "code":
        found = [pattern]  # one source tree
    elif finished(Path(pattern)) is not None:
        found = [str(file) for file in corpus_files(Path(pattern))]  # without the dropped ones
    elif Path(pattern).is_dir():
        found = sorted(str(file) for file in Path(pattern).rglob("*") if file.is_file() and not _hidden(file, pattern))
    elif Path(pattern).is_file():
        found = [pattern]
    else:
        base = _base(pattern)
        search = glob.escape(base) + pattern[len(base) :] if pattern.startswith(base) else pattern
        found = sorted(name for name in glob.glob(search, recursive=True) if Path(name).is_file())
    if not found:
        raise ValueError(f"no file matches the input {pattern}; correct it with input=FILES")
    return found


def _remote_matches(pattern: str) -> list[str]:
    system, bare = load("fsspec").core.url_to_fs(pattern)
    magic = glob.has_magic(bare)
    if pattern.startswith("http") and not magic:
        return [pattern]  # fsspec calls a file missing whose server answers 503
    if not magic and system.exists(result := f"{bare.rstrip('/')}/{RESULT}"):  # a corpus: without the dropped ones
        return [f"{pattern.rstrip('/')}/{name}" for name in json.loads(system.cat_file(result))["files"]]
    exact = not magic or system.exists(bare)
    return sorted(system.unstrip_protocol(name) for name in (system.find(bare) if exact else system.glob(bare)))


def _hidden(file: Path, folder: str) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _base(pattern: str) -> str:
    """The folder that a pattern names: itself, or the longest one above it that exists or has no magic in its name."""
    path = Path(pattern)
    if path.is_dir():
        return str(path)
    for folder in path.parents:
        if folder.is_dir() or not glob.has_magic(str(folder)):
            return str(folder)
    return str(path.parent)


def _labels(bases: Iterable[str]) -> dict[str, str]:
    """Short names of folders: as many of their last parts as tell them apart."""
    parts = {base: [part for part in Path(base).parts if part != "/"] for base in bases}
    most = max(map(len, parts.values()), default=1)  # 0: all are the folder that one is in
    for count in range(1, max(1, most) + 1):
        labels = {base: "/".join(own[-count:]) for base, own in parts.items()}
        if len(set(labels.values())) == len(labels):
            break
    return labels if parts else {}


def _inside(path: str, base: str, label: str) -> str:
    if base == ".":
        return path.removeprefix("./")
    rest = re.sub(r"^/+", "", path[len(base) :]) if path.startswith(base) else Path(path).name
    return "/".join(part for part in (label, rest) if part)


def about(path: str) -> list[object]:
    """Size in bytes and modification time of a file; of a folder, those of all files in it."""
    if "://" in path:
        info = retried(lambda: load("fsspec").core.url_to_fs(path)[0].info(path), path, "read")
        return [info.get("size"), str(info.get("mtime") or info.get("LastModified") or info.get("ETag") or "")]
    try:
        found = Path(path).stat()
        if Path(path).is_dir():
            inner = sorted((str(file), file.stat().st_size) for file in Path(path).rglob("*") if file.is_file())
            return [sum(size for _, size in inner), fingerprint(inner)]
    except OSError as error:
        raise explain(error, Path(path), "read") from error
    return [found.st_size, found.st_mtime_ns]
