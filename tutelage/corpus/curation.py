"""The curation recipe: input files, and the steps that their documents pass through, top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage import __version__
from tutelage.config import Settings, SettingsError, apply_overrides, convert, fingerprint, read_toml, to_plain
from tutelage.corpus.input_files import LIST, about, short_pattern
from tutelage.corpus.ocr import Engine, Ocr
from tutelage.corpus.read import READERS, READING, ReadOptions
from tutelage.corpus.read.pages import PDF_MEBIBYTES
from tutelage.corpus.shards import FORMAT
from tutelage.corpus.steps import GLOBAL_STEPS, StepSettings

# Settings of steps that name files.
FILE_SETTINGS = (
    "model", "scores", "positives", "negatives", "targets", "against", "path", "domains", "urls", "bad_words",
    "file", "examples",
)  # fmt: skip


class Curation(Settings, frozen=True, kw_only=True):
    """A curation recipe.

    input:        files, folders and glob patterns (`warcs/**/*.warc.gz`), local or URLs that fsspec opens ("s3://...");
                  `@list.txt` names a file of them, one per line. The folder of a finished corpus means its documents,
                  with their metadata.
    output:       JSON lines compressed with zstandard, or Parquet.
    reader:       a key of corpus.read.READERS; default: by the name of each file.
    unknown_files: what happens to files that no reader is known for: an error, or they are skipped and counted.
    text, id:     the fields of rows (JSON, Parquet, CSV) that hold the text and the id; default: the first of `text`,
                  `content`, `raw_content`, `body`, `html` that a row has, and `id`.
    limit:        documents that are read of each file at most; default: all.
    sample:       the share of the documents that enter the first step, chosen by their ids; the others are counted.
    pdf_blank:    the share of pages without text above which a PDF is dropped; they are counted in any case.
    pdf_mib:      the size in MiB above which a PDF is dropped.
    ocr:          what reads pages of PDF that have no text: "rapidocr" (pip install 'tutelage[ocr]'), or the installed
                  program "tesseract"; default: such pages are only counted.
    ocr_languages: the languages of tesseract ("eng+deu"); default: eng.
    steps:        name -> settings of a step, in order.
    engine:       processes on this machine, or a Ray cluster.
    workers:      number of processes; 0: one per core of this machine or of the cluster.
    memory_gib:   memory that a global step may use while it decides.
    shard_mib:    small files are grouped up to this size, and large ones are split (JSON lines, Parquet and plain text
                  that are not compressed). A shard is the unit of work of one process and of resuming.
    tokenizer:    a model folder or a `tokenizer.json`; if given, tokens are counted too.
    grounds:      source -> why its texts may be used ("CC-BY", "contract of 2024", "text and data mining, section 44b
                  UrhG"); stands in the card.
    keep_dropped: how many dropped documents each shard stores per step and reason; default: all. All are counted.
    """

    name: str
    input: str | tuple[str, ...]
    steps: dict[str, StepSettings]
    reader: str | None = None
    unknown_files: Literal["error", "skip"] = "error"
    text: str | None = None
    id: str | None = None
    limit: int | None = None
    sample: float = 1.0
    pdf_blank: float = 1.0
    pdf_mib: float = PDF_MEBIBYTES
    ocr: Engine | None = None
    ocr_languages: str | None = None
    output: Literal["jsonl", "parquet"] = "jsonl"
    engine: Literal["local", "ray"] = "local"
    workers: int = 0
    memory_gib: float = 2.0
    shard_mib: float = 64.0
    tokenizer: str | None = None
    grounds: dict[str, str] = {}
    keep_dropped: int | None = None

    def __post_init__(self) -> None:
        for name in self.steps:
            if name == "read" or not name.replace("-", "").replace("_", "").isalnum():
                raise SettingsError(
                    f"'{name}' cannot be the name of a step; use letters, digits, - and _, but not 'read'"
                )
        if self.reader is not None and self.reader not in READERS:
            raise SettingsError(f"there is no reader '{self.reader}'; choose one of {', '.join(READERS)}")
        if self.pdf_mib <= 0:
            raise SettingsError(f"pdf_mib is {self.pdf_mib:g}; it is a size in MiB: above 0")
        if not 0 <= self.pdf_blank <= 1:
            raise SettingsError(f"pdf_blank is {self.pdf_blank:g}; it is a share of pages, from 0 to 1")
        if self.ocr_languages is not None and self.ocr != "tesseract":
            raise SettingsError("ocr_languages needs ocr = 'tesseract'; RapidOCR finds the language itself")
        if self.limit is not None and self.limit < 1:
            raise SettingsError(f"limit is {self.limit}; it is a number of documents of each file: at least 1")
        if not 0 < self.sample <= 1:
            raise SettingsError(f"sample is {self.sample:g}; it is a share of the documents: above 0, at most 1")
        if min(self.workers, self.keep_dropped or 0) < 0 or self.memory_gib <= 0 or self.shard_mib <= 0:
            raise SettingsError("workers and keep_dropped must be at least 0; memory_gib and shard_mib must be above 0")


def load_curation(path: Path, overrides: Sequence[str] = ()) -> Curation:
    """Read a recipe. Raises SettingsError if it is invalid. File names in the recipe are relative to the recipe; those
    in `overrides` are relative to the working directory."""
    table = read_toml(path)
    _find_files(table, path.parent)
    table = apply_overrides(table, overrides)
    _find_files(table, Path.cwd())
    if "input" not in table:
        convert({**table, "input": ""}, Curation, str(path))  # reports a misspelt `input`
        raise SettingsError(f"{path} has no input; add input=FILES")
    return convert(table, Curation, str(path))


def _find_files(table: dict[str, Any], folder: Path) -> None:
    steps = table.get("steps")
    named = [(table, "input"), (table, "tokenizer")]
    for settings in steps.values() if isinstance(steps, dict) else ():
        if isinstance(settings, dict):
            named += [(settings, name) for name in FILE_SETTINGS]
    for settings, name in named:
        if name in settings:
            settings[name] = _map_files(settings[name], lambda file: _full(file, folder))


def _map_files(setting: Any, change: Callable[[str], str]) -> Any:
    """A setting that names files, a name or a list or a table of them, with the names changed."""
    if isinstance(setting, str):
        return change(setting)
    if isinstance(setting, dict):
        return {key: _map_files(value, change) for key, value in setting.items()}
    return [_map_files(value, change) for value in setting] if isinstance(setting, list | tuple) else setting


def _full(pattern: str, folder: Path) -> str:
    if pattern.startswith(LIST):
        return LIST + _full(pattern.removeprefix(LIST), folder)
    return pattern if "://" in pattern else str(folder.absolute() / pattern)


def read_options(curation: Curation) -> ReadOptions:
    """How the input is read."""
    return ReadOptions(curation.text, curation.id, curation.pdf_blank, ocr_of(curation), curation.pdf_mib)


def ocr_of(curation: Curation) -> Ocr | None:
    """What reads pages without text."""
    return None if curation.ocr is None else Ocr(curation.ocr, curation.ocr_languages or "eng")


@dataclass(frozen=True)
class Pass:
    """Steps that one process applies to a shard without waiting for other shards.

    applies:  the global step whose decisions are applied first in this pass.
    steps:    the ordinary steps that follow.
    collects: the global step whose columns are collected at the end of this pass.
    """

    applies: str | None
    steps: tuple[str, ...]
    collects: str | None


def passes(steps: Mapping[str, Any]) -> list[Pass]:
    """The passes of a recipe: a new one begins at every global step.

    Example: steps a, B, c with B global -> Pass(None, (a,), B), Pass(B, (c,), None).
    """
    plan: list[Pass] = []
    applies: str | None = None
    ordinary: list[str] = []
    for name, settings in steps.items():
        if isinstance(settings, GLOBAL_STEPS):
            plan.append(Pass(applies, tuple(ordinary), name))
            applies, ordinary = name, []
        else:
            ordinary.append(name)
    return [*plan, Pass(applies, tuple(ordinary), None)]


def shown_recipe(curation: Curation) -> dict[str, Any]:
    """The recipe as it is published with the corpus: file names without the folders of this machine."""
    plain = to_plain(curation)
    named = [(plain, "input"), (plain, "tokenizer")]
    named += [(settings, name) for settings in plain["steps"].values() for name in FILE_SETTINGS]
    for settings, name in named:
        if name in settings:
            settings[name] = _map_files(settings[name], short_pattern)
    return plain


def steps_fingerprint(curation: Curation, until: Sequence[str]) -> str:
    """Fingerprint of all that decides the output of the steps named in `until`: their settings in order, the files that
    these name, how shards are read, and the format of what is written."""
    plain = [[name, to_plain(curation.steps[name])] for name in until]
    about = [entry for _, settings in plain for entry in files_of(settings)]
    about += files_of({"model": curation.tokenizer})
    return fingerprint(
        __version__,
        FORMAT,
        READING,
        plain,
        about,
        curation.reader,
        curation.tokenizer,
        curation.keep_dropped,
        curation.text,
        curation.id,
        curation.limit,
        curation.sample,
        curation.pdf_blank,
        curation.pdf_mib,
        curation.ocr,
        curation.ocr_languages,
    )


def files_of(settings: Mapping[str, Any]) -> list[list[Any]]:
    """The files that the settings of a step name, with their sizes and times; missing ones are left to the step."""
    files: list[str] = []

    def note(file: str) -> str:
        files.append(file)
        return file

    for name in FILE_SETTINGS:
        _map_files(settings.get(name), note)
    return [[file, about(file)] for file in files if Path(file).exists()]
