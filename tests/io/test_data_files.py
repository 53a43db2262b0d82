from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tutelage.io.data_files import all_files, data_files, describe_splits, held_out_path, split_files
from tutelage.io.rows import rows


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"prompt": "Q?", "completion": "A"}\n')
    return folder


def names(folder: Path) -> list[list[str]]:
    return [[str(file.relative_to(folder)) for file in files] for files in split_files(folder)]


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["train.jsonl", "validation.jsonl", "test.jsonl"], [["train.jsonl"], ["validation.jsonl"], ["test.jsonl"]]),
        (
            ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "val.json.gz"],
            [["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"], ["val.json.gz"], []],
        ),
        (["my_Train_set.csv", "my_dev_set.csv"], [["my_Train_set.csv"], ["my_dev_set.csv"], []]),
        (["train1.jsonl", "eval.jsonl"], [["train1.jsonl"], ["eval.jsonl"], []]),
        (["train/a.arrow", "test/a.arrow", "dataset_dict.json"], [["train/a.arrow"], [], ["test/a.arrow"]]),
        (["data/train.jsonl", "data/test.jsonl", "README.md"], [["data/train.jsonl"], [], ["data/test.jsonl"]]),
        (["a.jsonl", "trained.jsonl", "latest.jsonl"], [["a.jsonl", "latest.jsonl", "trained.jsonl"], [], []]),
        (["test_a.jsonl", "test_b.jsonl"], [["test_a.jsonl", "test_b.jsonl"], [], []]),
    ],
)
def test_f08_the_splits_of_a_folder_are_told_by_names(
    files: list[str], splits: list[list[str]], tmp_path: Path
) -> None:
    folder = make(tmp_path, *files)
    assert names(folder) == splits
    assert data_files(folder) == split_files(folder).train
    assert data_files(folder, "held_out") == split_files(folder).held_out
    assert len(all_files(folder)) == sum(map(len, splits))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["train.jsonl", "extra.jsonl"], "has files of several splits .*but the name of extra.jsonl says none"),
        (["train_test.jsonl", "train.jsonl"], "but the name of train_test.jsonl says none"),
        (["validation.jsonl", "test.jsonl"], "but none of the training split; name the files to train on"),
        (["main/train.jsonl", "socratic/train.jsonl"], r"has several folders of rows \(main, socratic\); name one"),
        (["README.md"], "is a folder without a file of rows"),
    ],
)
def test_f08_an_ambiguous_folder_is_an_error(files: list[str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=problem):
        data_files(make(tmp_path, *files))


def test_f08_the_splits_are_described(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", *(f"train-{number}.jsonl" for number in range(6)), "dev.jsonl", "test.jsonl")
    first = ", ".join(f"train-{number}.jsonl" for number in range(4))
    assert describe_splits(folder) == (
        f"set: trained on: {first} and 2 more; held out: dev.jsonl; not read: test.jsonl"
    )
    assert describe_splits(folder / "test.jsonl") == describe_splits(folder / "*.jsonl") == ""
    assert held_out_path(folder, None) == (folder, "held_out")
    assert held_out_path(folder, folder / "test.jsonl") == (folder / "test.jsonl", "train")
    assert held_out_path(folder / "dev.jsonl", None) is None


MESSAGES = [
    {"messages": [{"role": "user", "content": f"Q{n}?"}, {"role": "assistant", "content": "A"}]} for n in (1, 2)
]


def save(folder: Path, content: list[dict[str, Any]], stream: bool = True) -> Path:
    """As `save_to_disk` of the library `datasets`."""
    table = pa.Table.from_pylist(content)
    folder.mkdir(parents=True)
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / "data-00000-of-00001.arrow").write_bytes(sink.getvalue().to_pybytes())
    (folder / "dataset_info.json").write_text(json.dumps({"citation": "", "features": {}}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "cache-0123.arrow").write_bytes(b"")
    return folder


@pytest.mark.parametrize("stream", [True, False])
def test_f07_a_data_set_saved_to_disk_is_read(stream: bool, tmp_path: Path) -> None:
    (file,) = data_files(save(tmp_path / "saved", MESSAGES, stream))
    places, read = zip(*rows(file, lambda row: True), strict=True)
    assert places == ("data-00000-of-00001.arrow#1", "data-00000-of-00001.arrow#2")
    assert list(read) == MESSAGES
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is damaged before its first row .not an Arrow file, or truncated"):
        list(rows(file, lambda row: True))


def test_f07_a_saved_dictionary_of_data_sets_has_splits(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        save(tmp_path / split, MESSAGES)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    assert names(tmp_path) == [["train/data-00000-of-00001.arrow"], ["validation/data-00000-of-00001.arrow"], []]
