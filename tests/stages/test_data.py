from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.ledger import Ledger
from tutelage.records import Document
from tutelage.scoring import make_verifier
from tutelage.scoring.trial import check_verifier
from tutelage.stages.data import DataSettings, DataTable, conversations, documents, holds, identity, tasks
from tutelage.stages.data_files import ChatData, DocumentData
from tutelage.stages.data_world import CardTasks, SumTasks, WorldTasks, WorldText
from tutelage.stages.stores import Stores
from tutelage.tokenizer import TokenizerSettings, train

GOOD = {"prompt": "one", "completion": "two"}


def table(path: Path, **more: object) -> DataTable:
    return {"chat": ChatData(path=str(path), **more)}  # type: ignore[arg-type]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    asked, answered = {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}
    lines = [{"messages": [asked, answered]}, {"messages": [asked]}, {"messages": [asked, answered, asked]}]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "chat.jsonl"


def test_pain_15_rows_that_never_became_tokens_stand_in_the_ledger_of_the_tokens(rows: Path, tmp_path: Path) -> None:
    tokenizer = train(["onetw"], TokenizerSettings(kind="char")).extend(TEMPLATE_TOKENS)
    stores = Stores(tmp_path / "data", table(rows, max_broken=0.5), held_out=0.0)
    for _ in range(2):  # written, then opened
        ledger = stores.chat("chat", NativeRenderer(tokenizer), 64, "assistant", "error", 0.0).train.ledger
        ledger.check()
        assert (ledger.rows_read, ledger.rows_kept) == (3, 2)
        assert ledger.dropped["one-sided conversation"].examples == [
            "chat.jsonl:2: one-sided conversation (no message of the assistant)"
        ]
        assert ledger.noted["turns after the last answer, cut off"].examples == ["chat.jsonl:3"]


def test_a_format_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "chat.jsonl").write_text(json.dumps({**GOOD, "instruction": "three", "output": "four"}))
    ledger = Ledger("rows")
    with pytest.raises(ValueError, match="ambiguous fields"):
        list(conversations("chat", table(tmp_path / "chat.jsonl", format="prompt-completion"), ledger))
    with pytest.raises(ValueError, match="there is no format 'prompt'"):
        list(conversations("chat", table(tmp_path / "chat.jsonl", format="prompt"), ledger))


def test_what_data_is_hangs_on_every_file_and_on_its_format(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(json.dumps(GOOD))
    known = [identity("chat", table(tmp_path)), identity("chat", table(tmp_path, format="prompt-completion"))]
    (tmp_path / "b.jsonl").write_text(json.dumps({**GOOD, "completion": "three"}))
    known.append(identity("chat", table(tmp_path)))
    (tmp_path / "b.jsonl").rename(tmp_path / "c.jsonl")
    known.append(identity("chat", table(tmp_path)))
    known.append(identity("chat", table(tmp_path / "a.jsonl")))
    assert all(one != other for number, one in enumerate(known) for other in known[:number])
    assert identity("chat", table(tmp_path / "*.jsonl")) == known[3]


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    for name in ("train", "validation", "test"):
        rows = [{**GOOD, "text": f"{name} {number}"} for number in range(2)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_f08_the_validation_split_of_a_folder_is_held_out_and_the_test_split_is_not_read(splits: Path) -> None:
    found = [(row.id, row.split) for row in conversations("chat", table(splits))]
    train = [("train.jsonl:1", "train"), ("train.jsonl:2", "train")]
    assert found == [*train, ("validation.jsonl:1", "held_out"), ("validation.jsonl:2", "held_out")]
    found = [(row.id, row.split) for row in conversations("chat", table(splits, held_out=str(splits / "test.jsonl")))]
    assert found == [*train, ("test.jsonl:1", "held_out"), ("test.jsonl:2", "held_out")]
    texts = [(document.text, document.split) for document in documents_of(splits)]
    held_out = [("validation 0", "held_out"), ("validation 1", "held_out")]
    assert texts == [("train 0", "train"), ("train 1", "train"), *held_out]


def test_f08_what_data_is_hangs_on_its_splits(splits: Path) -> None:
    docs: DataTable = {"docs": DocumentData(path=str(splits))}
    known = identity("chat", table(splits)), identity("docs", docs)
    (splits / "test.jsonl").write_text("changed")
    assert (identity("chat", table(splits)), identity("docs", docs)) == known
    (splits / "validation.jsonl").write_text(json.dumps({**GOOD, "text": "changed"}))
    assert identity("chat", table(splits)) != known[0]
    assert identity("docs", docs) != known[1]


def documents_of(path: Path, **more: str) -> list[Document]:
    return list(documents("docs", {"docs": DocumentData(path=str(path), **more)}))


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_rows_of_text_are_documents_of_which_every_tenth_is_held_out(tmp_path: Path, suffix: str) -> None:
    texts = [{"text": f"number {number}", "url": "x"} for number in range(25)]
    path = tmp_path / f"docs.{suffix}"
    if suffix == "parquet":
        parquet.write_table(pa.Table.from_pylist(texts), path)
    else:
        path.write_text(json.dumps(texts) if suffix == "json" else "\n\n".join(map(json.dumps, texts)))
    found = documents_of(path)
    assert [document.text for document in found] == [row["text"] for row in texts]
    assert [number for number, document in enumerate(found) if document.split == "held_out"] == [0, 10, 20]
    assert len({document.id for document in found}) == 25
    assert holds(DocumentData(path=str(path))) == "documents"


def test_a_row_without_the_text_names_its_place_and_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text('{"text": "one"}\n{"body": "two"}\n')
    with pytest.raises(ValueError, match=r"docs\.jsonl:2 has no text 'text' \(its fields: 'body'\)$"):
        documents_of(path)
    with pytest.raises(ValueError, match=r"docs\.jsonl:1 has no text 'body'"):
        documents_of(path, column="body")
    path.write_text('{"text": "one"}\n{"text": \n')
    with pytest.raises(ValueError, match=r"docs\.jsonl:2: not JSON .*; fix the row or remove it$"):
        documents_of(path)


def test_documents_are_known_by_their_content_and_column(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text('{"text": "one", "body": "two"}\n')
    known = [identity("docs", {"docs": DocumentData(path=str(path), column=name)}) for name in ("text", "body")]
    moved = path.rename(tmp_path / "moved.jsonl")
    assert identity("docs", {"docs": DocumentData(path=str(moved))}) == known[0] != known[1]
    moved.write_text('{"text": "three", "body": "two"}\n')
    assert identity("docs", {"docs": DocumentData(path=str(moved))}) != known[0]


@pytest.mark.parametrize(
    ("data", "verifier"),
    [
        (CardTasks(held_out_rule="ranks"), "numeric"),
        (SumTasks(), "numeric"),
        (WorldTasks(hops="two-step"), "tutelage.world.tasks:names_value"),
    ],
)
def test_tasks_of_the_world_are_prompts_whose_gold_their_verifier_accepts(data: DataSettings, verifier: str) -> None:
    table: DataTable = {"world": WorldText(people=20), "tasks": data}
    rows = list(tasks("tasks", table))
    check_verifier(verifier, make_verifier(verifier), [row.gold for row in rows])
    assert holds(data) == "prompts"
    assert {row.split for row in rows} == {"train", "held_out"}
    assert [chat.messages for chat in conversations("tasks", table)] == [row.prompt for row in rows]
    assert identity("tasks", table) != identity("tasks", {**table, "tasks": other_settings(data)})


def other_settings(data: DataSettings) -> DataSettings:
    """The same kind of data with its first setting changed."""
    if isinstance(data, WorldTasks):
        return msgspec.structs.replace(data, hops="one-step")
    return msgspec.structs.replace(data, start=0.3)
