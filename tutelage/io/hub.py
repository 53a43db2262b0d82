"""Models and data sets of the Hugging Face hub: names such as "owner/name" or "owner/name@revision" to folders of the
hub's local cache, downloaded with `huggingface_hub` (extra `hub`) where they are missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tutelage.io.data_files import COMPRESSED, SUFFIXES, is_data_file, split_of_name
from tutelage.progress import status

Kind = Literal["model", "dataset"]
NOUNS: dict[Kind, str] = {"model": "model", "dataset": "data set"}
CONVERTED = "refs/convert/parquet"  # the branch of a data set in which the hub keeps its rows as Parquet
_DATA_NAME = re.compile(r"([\w-][\w.-]*/[\w.-]+)(?:@([\w.-]+))?((?:/[\w.-]+)*)")
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class HubError(ValueError):
    """A download failed. The message is the end of a sentence, such as "the hub has no model of that name"."""


def download(name: str, kind: Kind, revision: str | None, patterns: Sequence[str]) -> Path:
    """The local folder of a model or a data set of the hub, with the files that match a pattern; what is missing is
    downloaded, after a message with its size.

    Raises:
        HubError: the package is missing, there is no such repository, or it cannot be downloaded.
    """
    hub = _hub()
    snapshot_download = hub.snapshot_download
    options: dict[str, Any] = {"repo_type": kind, "revision": revision, "allow_patterns": list(patterns)}
    hub.utils.disable_progress_bars()
    with suppress(Exception):  # the download itself tells what is wrong
        files = [file for file in snapshot_download(name, **options, dry_run=True) if file.will_download]
        if files:
            status(f"downloading {name}: {len(files)} files, {size_in_words(sum(file.file_size for file in files))}")
    hub.utils.enable_progress_bars()
    return _tried(kind, lambda: Path(snapshot_download(name, **options)))


def upload(folder: Path, name: str, private: bool) -> str:
    """Upload a folder to a model of the hub, which is made if there is none, in one commit; returns its address.

    Raises:
        HubError: the package is missing, nobody is logged in, or the hub refuses.
    """
    hub = _hub()
    api = hub.HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        status(f"uploading {folder.name} to {name}")
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload a model trained with Tutelage")
    except Exception as error:  # any error of the network or the hub
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise HubError(
            f"{folder} could not be uploaded to {name} ({reason}); log in with: hf auth login, and check that you may "
            "write there"
        ) from error
    return str(address)


def size_in_words(size: int) -> str:
    """A number of bytes, such as "269.1 MB"."""
    value = float(size)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == _UNITS[0] else f"{value:.1f} {unit}"


def find_data_set(path: Path, folder: Path = Path()) -> Path:
    """A path of data itself; or, if there is no such file and it is a name such as "owner/name",
    "owner/name@revision" or "owner/name/part", the local copy of that data set of the hub: its Parquet files, else its
    other files of rows, else the Parquet files that the hub made of them. `folder` is what the path is relative to.

    Raises:
        ValueError: the data set cannot be downloaded, or has several parts and none is named.
    """
    match = _DATA_NAME.fullmatch(str(path))
    is_file = path.suffix in (*SUFFIXES, *COMPRESSED)
    if match is None or is_file or (folder / path).exists() or (folder / path.parts[0]).is_dir():
        return path
    name, revision, part = match[1], match[2], match[3].strip("/")
    try:
        return _download_data(name, revision, part)
    except HubError as error:
        raise ValueError(
            f"there is no file {path}, and {error}. To get the files yourself: https://huggingface.co/datasets/{name}"
            "/tree/main"
        ) from error


def _download_data(name: str, revision: str | None, part: str) -> Path:
    api = _hub().HfApi()
    for branch in dict.fromkeys((revision, revision or CONVERTED)):
        try:
            names = _tried("dataset", partial(api.list_repo_files, name, repo_type="dataset", revision=branch))
        except HubError as error:
            names = _cached_files(name, branch, part, error)
        names = [file for file in names if is_data_file(Path(file)) and f"{file}/".startswith(f"{part}/" * bool(part))]
        names = [file for file in names if file.endswith(".parquet")] or names
        if names:
            root = _root(name, [Path(file) for file in names], Path(part))
            return download(name, "dataset", branch, names) / root
    raise HubError(f"the data set of that name on the hub has no files of rows{f' under {part}' * bool(part)}")


def _cached_files(name: str, revision: str | None, part: str, problem: HubError) -> list[str]:
    """The files of a data set in the local cache, where the hub cannot be asked; raises `problem` if there are none."""
    start = f"{part}/" * bool(part)
    for patterns in ([f"{start}*.parquet"], [f"{start}*{suffix}*" for suffix in SUFFIXES]):
        with suppress(HubError):
            folder = download(name, "dataset", revision, patterns)
            if names := [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]:
                return names
    raise problem


def _root(name: str, files: Sequence[Path], part: Path) -> Path:
    """The folder within a data set that holds the files, or their splits."""
    if list(files) == [part]:
        return part
    root = part
    while True:
        inner = [file.relative_to(root) for file in files]
        folders = sorted({file.parts[0] for file in inner if len(file.parts) > 1})
        if len(folders) < len({file.parts[0] for file in inner}) or all(map(split_of_name, folders)):
            return root
        if len(folders) > 1:
            names = ", ".join(folders)
            raise HubError(
                f"the data set of that name has several parts ({names}); name one: {name}/{root / folders[0]}"
            )
        root = root / folders[0]


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise HubError("for the hub, one package is missing: pip install 'tutelage[hub]'") from None
    return huggingface_hub


def _tried(kind: Kind, action: Callable[[], Any]) -> Any:
    """The result of a request to the hub; HubError if it fails."""
    from huggingface_hub import errors

    noun = NOUNS[kind]
    try:
        return action()
    except errors.GatedRepoError as error:
        raise HubError(
            f"the {noun} of that name on the hub is gated; accept its terms on its page there, and log in with: hf "
            "auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"the hub has no {noun} of that name, or you have no access to it; check the name") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"the {noun} of that name on the hub has no such revision; check what follows the @") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise HubError(
            f"no {noun} of that name is in the hub's local cache, and the hub cannot be reached; check the path or the "
            "network"
        ) from error
    except Exception as error:  # any error of the network or the hub
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise HubError(
            f"no {noun} of that name could be downloaded from the hub ({reason}); run the command again to resume"
        ) from error
