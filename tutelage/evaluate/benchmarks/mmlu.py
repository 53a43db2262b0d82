"""MMLU (Hendrycks et al. 2021, arXiv 2009.03300): 57 subjects, the letter of the right choice by likelihood. The
examples are the first of the subject's development questions.

Its files are one CSV for each subject, with or without a header and with a number or a letter as answer; a tar of them;
or rows with a `subject`.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tutelage.evaluate.benchmarks.benchmark import ChoiceBenchmark
from tutelage.evaluate.benchmarks.data_folder import read_rows
from tutelage.evaluate.choice_items import ChoiceItem, choice_item
from tutelage.evaluate.choice_rows import LETTERS, is_choice_row
from tutelage.files import explain

_CHOICES = 4


def header(subject: str) -> str:
    """What stands before the examples of a subject."""
    about = f" about {subject.replace('_', ' ')}" if subject else ""
    return f"The following are multiple choice questions (with answers){about}.\n\n"


def read_mmlu(files: Sequence[Path]) -> list[ChoiceItem]:
    """The questions of all subjects.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken; the message names file and row.
    """
    items: list[ChoiceItem] = []
    for file in files:
        if re.search(r"\.(tar|tgz|csv)\b", file.name):
            items += (item for name, text in _tables(file) for item in _table(file, name, text))
        else:
            items += read_rows([file], choice_item, is_choice_row)
    return items


def _tables(file: Path) -> Iterator[tuple[str, str]]:
    try:
        if ".tar" not in file.name and file.suffix != ".tgz":
            yield file.name, file.read_text(encoding="utf-8")
            return
        with tarfile.open(file) as archive:
            for member in sorted(archive.getmembers(), key=lambda member: member.name):
                content = archive.extractfile(member) if member.isfile() and member.name.endswith(".csv") else None
                if content is not None:
                    yield Path(member.name).name, content.read().decode()
    except OSError as error:
        raise explain(error, file, "read") from error
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is damaged ({error}); download it again") from error


def _table(file: Path, name: str, text: str) -> Iterator[ChoiceItem]:
    subject = re.sub(r"(_(test|dev|val))?\.csv.*\Z", "", name)
    rows = list(csv.reader(io.StringIO(text)))
    start = 1 if rows and rows[0][:1] == ["question"] else 0
    for number, row in enumerate(rows[start:], start + 1):
        if not row:
            continue
        try:
            if len(row) != _CHOICES + 2:
                raise ValueError(f"it has {len(row)} cells; a row is question, {_CHOICES} choices, answer")
            fields: dict[str, Any] = {"question": row[0], "choices": row[1:-1], "answer": row[-1]}
            if re.fullmatch(f"[{LETTERS[:_CHOICES]}]", row[-1]):  # also where a choice is "A"
                fields["answer"] = LETTERS.index(row[-1])
            elif row[-1] in "0123":
                fields["answer"] = int(row[-1])
            item = choice_item(fields, f"{name}:{number}")
        except ValueError as error:
            raise ValueError(f"{file}: {name}:{number}: {error}; fix the row or remove it") from error
        yield ChoiceItem(item.id, item.question, item.choices, item.gold, group=subject)


MMLU = ChoiceBenchmark(
    name="mmlu",
    title="MMLU",
    files=("mmlu_test.tar.gz", "mmlu/*test*.csv", "test/*_test.csv", "mmlu**test*.parquet", "mmlu.jsonl*",
           "mmlu_dev.tar.gz", "dev/*_dev.csv"),
    shot_files=("mmlu_dev.tar.gz", "mmlu/*dev*.csv", "dev/*_dev.csv", "mmlu**dev*.parquet"),
    form="letters",
    bare=frozenset({"letters"}),
    shots=5,
    read=read_mmlu,
    header=header,
    first=True,
)  # fmt: skip
