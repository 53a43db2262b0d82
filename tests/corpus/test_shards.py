from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    with pytest.raises(ValueError, match=r"some.jsonl.zst is damaged .* remove it and make it again"):
        list(read_documents(path))
    path.write_bytes(b"plain text\n" * 9)
    with pytest.raises(ValueError, match="some.jsonl.zst is damaged"):
        list(read_documents(path))
    with pytest.raises(ValueError, match="there is no file"):
        list(read_documents(tmp_path / "none"))
