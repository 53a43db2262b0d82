"""What people write for data to files: a file, a pattern, or a folder, with its splits if the names tell them."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from tutelage.files import explain
from tutelage.records import Split

# For folders, which may have a README too; a file that is named directly may have any suffix.
SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".arrow")
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
# Files beside the rows, as the library `datasets` and its hub write them.
_ABOUT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_CACHE = "cache-"  # results of `map` and `filter`, beside the data they were made of
_SPLITS = {
    "train": ("train", "training"),
    "held_out": ("validation", "valid", "val", "dev", "development", "eval", "evaluation", "heldout", "holdout"),
    "test": ("test", "testing"),
}
_WORD = re.compile(r"[a-z]+")
_NAMED = 4  # files that an error names


class DataFiles(NamedTuple):
    """The files of a folder: to train on, to hold out, and of the test split, which are not read."""

    train: list[Path]
    held_out: list[Path]
    test: list[Path]


def data_files(path: Path, split: Split = "train") -> list[Path]:
    """The files of one split of a path; see `split_files`.

    Raises:
        DiskError: there is no such file.
        ValueError: the folder or the pattern has no such file, or its names do not tell which files to train on.
    """
    files = split_files(path)
    return files.train if split == "train" else files.held_out


def held_out_path(path: Path, held_out: Path | None) -> tuple[Path, Split] | None:
    """The path, and its split, of held-out rows: those of `held_out`, if given, else those of the folder `path`; None
    if it has none. Raises as `data_files`."""
    if held_out is not None:
        return held_out, "train"
    return (path, "held_out") if split_files(path).held_out else None


def all_files(path: Path) -> list[Path]:
    """The files of a path, sorted by name: the file itself; those that match a pattern with `*` or `?`; or those of a
    folder with one of SUFFIXES (also compressed). Of a folder without such files, those of the folders in it.

    Raises: as `data_files`.
    """
    try:
        path.stat()
    except OSError as error:
        if not set("*?") & set(path.name):
            raise explain(error, path, "read") from error
        files = sorted(file for file in path.parent.glob(path.name) if file.is_file() and file.name[0] != ".")
        if not files:
            raise ValueError(f"no file matches {path}; check the pattern") from None
        return files
    if not path.is_dir():
        return [path]
    files = _files_of(path)
    files = files or [file for folder in sorted(path.iterdir()) if folder.is_dir() for file in _files_of(folder)]
    if not files:
        raise ValueError(f"{path} is a folder without a file of rows ({', '.join(SUFFIXES)}); name a file")
    return files


def split_files(path: Path) -> DataFiles:
    """`all_files` by split. Where the names of a folder's files, or of their folders, say several splits, such as
    `train-00000-of-00002.parquet`, the files of the validation split are held out, and those of the test split are not
    read. Else all are to train on.

    Raises: as `data_files`.
    """
    files = all_files(path)
    if not path.is_dir():
        return DataFiles(files, [], [])
    folders = dict.fromkeys(file.parent for file in files)
    if len(folders) > 1 and not all(split_of_name(folder.name) for folder in folders):
        raise ValueError(f"{path} has several folders of rows ({_names(path, folders)}); name one of them")
    parts: dict[str, list[Path]] = {"": [], "train": [], "held_out": [], "test": []}
    for file in files:
        split = "" if file.parent == path else split_of_name(file.parent.name)
        parts[split or split_of_name(_stem(file))].append(file)
    if sum(map(bool, parts.values())) == 1:
        return DataFiles(files, [], [])
    problem = "" if parts["train"] else "but none of the training split"
    if parts[""]:
        problem = f"but the name of {_names(path, parts[''])} says none"
    if problem:
        raise ValueError(
            f"{path} has files of several splits ({_names(path, files)}), {problem}; name the files to train on, such "
            f"as {path / 'train*'}, and those to hold out with --held-out"
        )
    return DataFiles(parts["train"], parts["held_out"], parts["test"])


def describe_splits(path: Path) -> str:
    """A sentence about the files of a folder with splits; "" for other paths. Raises as `data_files`."""
    files = split_files(path)
    if not files.held_out and not files.test:
        return ""
    parts = [("trained on", files.train), ("held out", files.held_out), ("not read", files.test)]
    return f"{path.name}: " + "; ".join(f"{what}: {_names(path, part)}" for what, part in parts if part)


def split_of_name(name: str) -> str:
    """The split that a name says; "" if it says none, or several."""
    words = set(_WORD.findall(name.lower()))
    found = [split for split, names in _SPLITS.items() if words.intersection(names)]
    return found[0] if len(found) == 1 else ""


def _names(path: Path, files: Collection[Path]) -> str:
    names = [str(file.relative_to(path)) for file in list(files)[:_NAMED]]
    return ", ".join(names) + (f" and {len(files) - _NAMED} more" if len(files) > _NAMED else "")


def _files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and is_data_file(file))


def _stem(file: Path) -> str:
    return Path(file.stem).stem if file.suffix in COMPRESSED else file.stem


def is_data_file(file: Path) -> bool:
    """Whether a file in a folder, by its name, has rows."""
    if file.name in _ABOUT_DATA or file.name.startswith((".", _CACHE)):
        return False
    return (Path(file.stem) if file.suffix in COMPRESSED else file).suffix in SUFFIXES
