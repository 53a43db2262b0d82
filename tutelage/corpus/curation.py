"""What a curation recipe says: which files, and the steps their documents go through, top to bottom."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage import __version__
from tutelage.config import Settings, SettingsError, apply_overrides, convert, fingerprint, read_toml, to_plain
from tutelage.corpus.extras import load
from tutelage.corpus.read import READERS, kind_of
from tutelage.corpus.shards import corpus_files, finished
from tutelage.corpus.steps import OF_THE_CORPUS, StepSettings
from tutelage.files import explain

# What steps call the files that they read.
FILE_SETTINGS = (
    "model", "scores", "positives", "negatives", "targets", "against", "path", "domains", "urls", "bad_words",
)  # fmt: skip


class Curation(Settings, frozen=True, kw_only=True):
    """A curation recipe.

    input:      files, folders and patterns (`warcs/**/*.warc.gz`); or addresses that fsspec opens ("s3://..."). The
                folder of a finished corpus stands for its documents, with all that is known of them.
    output:     what the documents are written as: lines of JSON, compressed with zstandard, or Parquet.
    reader:     a key of corpus.read.READERS; where left out, each file's by its name.
    steps:      what the documents go through, in this order, each under a name of its own.
    engine:     what the shards are worked on by: processes of this machine, or a Ray cluster.
    workers:    processes at work; 0: one for each core, of this machine or of the cluster.
    memory_gib: what a step over the whole corpus may hold while it decides.
    shard_mib:  small files are put together up to this size; a shard is what one process works on, and what a run that
                was killed begins anew.
    tokenizer:  a model's folder, or a `tokenizer.json`: then tokens are counted too.
    drops:      how many documents each shard keeps aside for one step and reason; all where left out. All are counted.
    """

    name: str
    input: str | tuple[str, ...]
    steps: dict[str, StepSettings]
    reader: str | None = None
    output: Literal["jsonl", "parquet"] = "jsonl"
    engine: Literal["local", "ray"] = "local"
    workers: int = 0
    memory_gib: float = 2.0
    shard_mib: float = 64.0
    tokenizer: str | None = None
    drops: int | None = None

    def __post_init__(self) -> None:
        for name in self.steps:
            if name == "read" or not name.replace("-", "").replace("_", "").isalnum():
                raise SettingsError(f"'{name}' cannot be a step's name; use letters, digits, - and _, and not 'read'")
        if self.reader is not None and self.reader not in READERS:
            raise SettingsError(f"there is no reader '{self.reader}'; choose one of {', '.join(READERS)}")
        if min(self.workers, self.drops or 0) < 0 or self.memory_gib <= 0 or self.shard_mib <= 0:
            raise SettingsError("workers and drops must be at least 0; memory_gib and shard_mib must be above 0")


def load_curation(path: Path, overrides: Sequence[str] = ()) -> Curation:
    """Reads a recipe; SettingsError, in one sentence, where it cannot be used. Files that the recipe names stand beside
    it, those of the command line are told from where one is."""
    table = read_toml(path)
    _find_files(table, path.parent)
    table = apply_overrides(table, overrides)
    _find_files(table, Path.cwd())
    if "input" not in table:
        convert({**table, "input": ""}, Curation, str(path))  # it may be there, misspelt
        raise SettingsError(f"{path} does not say what to read; say it with input=FILES")
    return convert(table, Curation, str(path))


def _find_files(table: dict[str, Any], folder: Path) -> None:
    steps = table.get("steps")
    named = [(table, "input"), (table, "tokenizer")]
    for settings in steps.values() if isinstance(steps, dict) else ():
        if isinstance(settings, dict):
            named += [(settings, name) for name in FILE_SETTINGS]
    for settings, name in named:
        given = settings.get(name)
        if isinstance(given, str):
            settings[name] = _full(given, folder)
        elif isinstance(given, list):
            settings[name] = [_full(one, folder) if isinstance(one, str) else one for one in given]


def _full(pattern: str, folder: Path) -> str:
    return pattern if "://" in pattern else str(folder.absolute() / pattern)


@dataclass(frozen=True)
class Pass:
    """Steps that one process takes a shard through without a stop.

    judged:   the step over the whole corpus whose verdicts are known when the pass begins; the first of its steps.
    collects: the step over the whole corpus that the pass ends before.
    """

    judged: str | None
    steps: tuple[str, ...]
    collects: str | None


def passes(steps: Mapping[str, Any]) -> list[Pass]:
    """The passes of a recipe: a new one begins at every step over the whole corpus."""
    found: list[Pass] = []
    judged: str | None = None
    own: list[str] = []
    for name, settings in steps.items():
        if isinstance(settings, OF_THE_CORPUS):
            found.append(Pass(judged, tuple(own), name))
            judged, own = name, []
        else:
            own.append(name)
    return [*found, Pass(judged, tuple(own), None)]


@dataclass(frozen=True)
class InputShard:
    """Files that one process reads, in order, and what tells them from others: names, sizes, times."""

    paths: tuple[str, ...]
    key: str


def input_shards(curation: Curation) -> list[InputShard]:
    """The files of a recipe in shards, always the same for the same files.

    Raises:
        ValueError: a pattern matches nothing; or no reader is known for a file, and none is named.
        DiskError: a file is not there.
    """
    given = (curation.input,) if isinstance(curation.input, str) else curation.input
    files = dict.fromkeys(file for pattern in given for file in _files(pattern, curation.reader))
    for file in files:
        if curation.reader is None:
            kind_of(file)  # told now, and not by a worker
    shards: list[InputShard] = []
    together: list[tuple[str, list[object]]] = []
    size = 0
    for file in files:
        about = _about(file)
        bytes_here = about[0] if isinstance(about[0], int) else 0
        if together and size + bytes_here > curation.shard_mib * 2**20:
            shards.append(_shard(together))
            together, size = [], 0
        together.append((file, about))
        size += bytes_here
    return [*shards, _shard(together)] if together else shards


def _shard(files: list[tuple[str, list[object]]]) -> InputShard:
    return InputShard(tuple(file for file, _ in files), fingerprint(files))


def _files(pattern: str, reader: str | None) -> list[str]:
    if "://" in pattern:
        system, bare = load("fsspec").core.url_to_fs(pattern)
        found = system.glob(bare) if glob.has_magic(bare) else system.find(bare)
        found = sorted(system.unstrip_protocol(name) for name in found)
    elif Path(pattern).is_dir() and reader == "code":
        found = [pattern]  # a source tree is read as a whole
    elif finished(Path(pattern)) is not None:
        found = [str(file) for file in corpus_files(Path(pattern))]  # and not what it has dropped
    elif Path(pattern).is_dir():
        found = sorted(str(file) for file in Path(pattern).rglob("*") if file.is_file() and not _hidden(file, pattern))
    else:
        found = sorted(name for name in glob.glob(pattern, recursive=True) if Path(name).is_file())
    if not found:
        raise ValueError(f"no file matches the input {pattern}; correct it with input=FILES")
    return found


def _hidden(file: Path, folder: str) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _about(path: str) -> list[object]:
    """The size of a file in bytes and when it changed; of a folder, of all files in it."""
    if "://" in path:
        info = load("fsspec").core.url_to_fs(path)[0].info(path)
        return [info.get("size"), str(info.get("mtime") or info.get("LastModified") or info.get("ETag") or "")]
    try:
        found = Path(path).stat()
        if Path(path).is_dir():
            inner = sorted((str(file), file.stat().st_size) for file in Path(path).rglob("*") if file.is_file())
            return [sum(size for _, size in inner), fingerprint(inner)]
    except OSError as error:
        raise explain(error, Path(path), "read") from error
    return [found.st_size, found.st_mtime_ns]


def steps_fingerprint(curation: Curation, until: Sequence[str]) -> str:
    """What decides the outcome of the steps named in `until`: their settings in order, the files that these name, and
    how shards are read."""
    plain = [[name, to_plain(curation.steps[name])] for name in until]
    named = [file for _, settings in plain for name in FILE_SETTINGS for file in _named(settings.get(name))]
    named += _named(curation.tokenizer)
    about = [[file, _about(file)] for file in named if Path(file).exists()]  # a step says itself what it misses
    return fingerprint(__version__, plain, about, curation.reader, curation.tokenizer, curation.drops)


def _named(setting: Any) -> list[str]:
    return [setting] if isinstance(setting, str) else list(setting or ())
