from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tutelage.corpus import shards
from tutelage.corpus.shards import read_documents, write_documents
from tutelage.records import Document

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
DOCUMENTS = st.lists(
    st.builds(
        Document,
        TEXT,
        TEXT,
        st.dictionaries(TEXT, TEXT, max_size=2),
        st.sampled_from([None, "train", "held_out"]),
        st.dictionaries(TEXT, TEXT | st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    ),
    max_size=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(DOCUMENTS, DOCUMENTS)
def test_what_was_written_is_read(tmp_path: Path, first: list[Document], second: list[Document]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "GROUP_DOCUMENTS", 4)
        assert write_documents(tmp_path / "some.parquet", first) == len(first)
    assert list(read_documents(tmp_path / "some.parquet")) == first
    paths = [tmp_path / "first.jsonl.zst", tmp_path / "second.jsonl.zst"]
    for path, documents in zip(paths, (first, second), strict=True):
        assert write_documents(path, documents) == len(documents)
        assert list(read_documents(path)) == documents
    both = tmp_path / "both.jsonl.zst"
    both.write_bytes(paths[0].read_bytes() + paths[1].read_bytes())
    assert list(read_documents(both)) == first + second


def test_a_file_that_is_cut_off_or_no_documents_is_told(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl.zst"
    write_documents(path, [Document("words " * 1000, str(number)) for number in range(50)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"some.jsonl.zst is corrupt .* delete the corpus and curate it again"):
        list(read_documents(path))
    path.write_bytes(b"plain text\n" * 9)
    with pytest.raises(ValueError, match="some.jsonl.zst is corrupt"):
        list(read_documents(path))
    for name in ("none", "none.parquet"):
        with pytest.raises(ValueError, match="there is no file"):
            list(read_documents(tmp_path / name))
    path = tmp_path / "some.parquet"
    write_documents(path, [Document("words " * 1000, str(number)) for number in range(50)])
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:4] + b"\0" * 99 + whole[103:], b"plain text"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"some.parquet is corrupt .* delete the corpus and curate it again"):
            list(read_documents(path))


def test_parquet_is_written_and_read_in_groups(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    facts = {"language": "en", "language_score": 0.5, "words": 3}
    documents = [Document("long words " * 400_000, str(number), {"url": "x"}, facts=facts) for number in range(5)]
    write_documents(path, documents)
    about = parquet.ParquetFile(path)
    assert [about.metadata.row_group(group).num_rows for group in range(about.num_row_groups)] == [4, 1]
    kinds = {name: str(about.schema_arrow.field(name).type.item_type) for name in ("meta", "facts", "scores")}
    assert kinds == {"meta": "string", "facts": "string", "scores": "double"}
    assert about.metadata.row_group(0).column(1).compression == "ZSTD"
    row = about.read_row_group(1).to_pylist(maps_as_pydicts="strict")[0]
    assert (row["facts"], row["scores"], row["split"]) == (
        {"language": "en"},
        {"language_score": 0.5, "words": 3},
        None,
    )
