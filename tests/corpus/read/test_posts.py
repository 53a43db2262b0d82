from __future__ import annotations

import random
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.read import posts
from tutelage.corpus.read.dumps import xml_documents
from tutelage.ledger import Ledger
from tutelage.records import Document


def question(number: int, title: str = "How?", accepted: int | str = "", score: int | str = 5) -> str:
    more = f'AcceptedAnswerId="{accepted}" Tags="|a|b|" ContentLicense="CC BY-SA 4.0" CreationDate="2020-01-02"'
    body = quoteattr(f"<p>Question {number}</p>")
    return f'<row Id="{number}" PostTypeId="1" Title={quoteattr(title)} Score="{score}" {more} Body={body} />'


def answer(number: int, parent: int | str, score: int | str = 0, text: str = "") -> str:
    body = quoteattr(f"<p>{text or f'Answer {number}'}</p>")
    return f'<row Id="{number}" PostTypeId="2" ParentId="{parent}" Score="{score}" Body={body} />'


def read(folder: Path, *rows: str) -> tuple[list[Document], Ledger]:
    (folder / "Posts.xml").write_text("<posts>\n" + "\n".join(rows) + "\n</posts>")
    ledger = Ledger("read")
    documents = list(xml_documents(str(folder / "Posts.xml"), ledger))
    ledger.check()
    assert ledger.rows_out == len(documents)
    return documents, ledger


def reasons(ledger: Ledger) -> dict[str, int]:
    return {reason: dropped.rows for reason, dropped in ledger.dropped.items()}


def test_a_question_stands_with_its_answers_the_best_first(tmp_path: Path) -> None:
    rows = [
        question(1, accepted=5), question(2, "Why?"), answer(3, 1, 2), answer(4, 2, -1), answer(5, 1, 7),
        answer(6, 1, 9),
    ]  # fmt: skip
    documents, ledger = read(tmp_path, *rows)
    assert [document.text for document in documents] == [
        "How?\n\nQuestion 1\n\nAnswer:\n\nAnswer 6\n\nAccepted answer:\n\nAnswer 5\n\nAnswer:\n\nAnswer 3",
        "Why?\n\nQuestion 2\n\nAnswer:\n\nAnswer 4",
    ]
    assert documents[0].meta == {
        "title": "How?", "tags": "a b", "date": "2020-01-02", "license": "CC-BY-SA-4.0", "content_type": "text/plain",
        "type": "thread", "post": "1",
    }  # fmt: skip
    assert documents[0].facts == {"answers": 3, "score": 5}
    assert documents[0].id.endswith("Posts.xml:8")
    assert (ledger.rows_read, ledger.rows_kept) == (6, 6)


def test_posts_whose_question_is_not_there_are_counted(tmp_path: Path) -> None:
    rows = [
        question(2), question(9), answer(10, 1), answer(11, 2), answer(12, 3), question(2, "Again?"), answer(13, "x"),
        answer(1 << 80, 2), '<row Id="14" PostTypeId="5" Body="a wiki" />', answer(15, 9, text="&nbsp;"),
        answer(16, 9, text="w" * (1 << 20)),
    ]  # fmt: skip
    documents, ledger = read(tmp_path, *rows)
    assert [document.facts["answers"] for document in documents] == [1, 0]
    assert reasons(ledger) == {
        "answer without its question": 2,
        "duplicate question id": 1,
        "post without an id, or answer without a parent id": 2,
        "neither question nor answer": 1,
        "empty": 1,
        "larger than 1 MiB": 1,
    }
    assert ledger.dropped["answer without its question"].examples[0].rpartition(":")[2].isdecimal()
    assert ledger.noted["question without an answer"].rows == 1


def test_a_question_with_more_than_a_record_may_have_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "MAX_RECORD_BYTES", 1 << 20)
    rows = [question(1), *(answer(number, 1, number, "w" * 300_000) for number in range(2, 9))]
    documents, ledger = read(tmp_path, *rows)
    assert [document.facts["answers"] for document in documents] == [3]
    assert reasons(ledger) == {"answers beyond 1 MiB": 4}


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(-3, 3)), max_size=30), st.randoms())
def test_every_answer_comes_to_its_question_in_whatever_order(
    tmp_path_factory: pytest.TempPathFactory, answers: list[tuple[int, int]], draw: random.Random
) -> None:
    rows = [question(number) for number in range(1, 7)]
    rows += [answer(100 + place, parent, score) for place, (parent, score) in enumerate(answers)]
    draw.shuffle(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posts, "_WRITTEN_AT_ONCE", 4)
        documents, _ = read(tmp_path_factory.mktemp("dump"), *rows)
    for number, document in enumerate(documents, 1):
        own = [(-score, 100 + place) for place, (parent, score) in enumerate(answers) if parent == number]
        found = [int(line.split()[1]) for line in document.text.splitlines() if line.startswith("Answer 1")]
        assert found == [place for _, place in sorted(own)]
