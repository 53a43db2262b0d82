"""StackExchange posts: one document per post, or per question with its answers."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from tutelage.corpus.page_text import html_text
from tutelage.files import DiskError
from tutelage.io.batches import batches
from tutelage.io.byte_reader import MAX_RECORD_BYTES
from tutelage.ledger import Ledger
from tutelage.records import Document

_KINDS = {"1": "question", "2": "answer"}
_WRITTEN_AT_ONCE = 1000
_LONGEST_BODY = 1 << 20  # characters; StackExchange allows no more than thirty thousand
_NO_ID = "post without an id, or answer without a parent id"


class Post(msgspec.Struct, frozen=True):
    """A question or an answer as text. `number` is its id, `question` the id of the question it belongs to."""

    where: str
    kind: str
    number: int
    question: int
    text: str
    score: int | None
    title: str = ""
    tags: str = ""
    accepted: str = ""
    date: str = ""
    license: str = ""


def read_post(row: ElementTree.Element, where: str) -> Post | str:
    """A row of Posts.xml as a post, or the reason why it is not one."""
    kind = _KINDS.get(row.get("PostTypeId", ""))
    if kind is None:
        return "neither question nor answer"
    number = _number(row.get("Id", ""))
    question = number if kind == "question" else _number(row.get("ParentId", ""))
    if number is None or question is None:
        return _NO_ID
    body = row.get("Body", "")
    if len(body) > _LONGEST_BODY:
        return f"larger than {_LONGEST_BODY >> 20} MiB"
    text = html_text(body, main=False)
    if not text:
        return "empty"
    return Post(
        where,
        kind,
        number,
        question,
        text,
        _number(row.get("Score", "")),
        title=row.get("Title", ""),
        tags=" ".join(part for part in row.get("Tags", "").replace("<", "|").replace(">", "|").split("|") if part),
        accepted=row.get("AcceptedAnswerId", ""),
        date=row.get("CreationDate", ""),
        license=row.get("ContentLicense", "").replace(" ", "-"),  # the SPDX spelling
    )


def _number(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if abs(number) < 1 << 62 else None


def post_document(post: Post) -> Document:
    """A post as a document of its own."""
    answered = "" if post.kind == "question" else str(post.question)
    meta = _meta(post) | {"type": post.kind, "post": str(post.number), "answers": answered, "accepted": post.accepted}
    facts: dict[str, str | bool | int | float] = {} if post.score is None else {"score": post.score}
    return Document(_whole(post), post.where, {name: value for name, value in meta.items() if value}, facts=facts)


def _meta(post: Post) -> dict[str, str]:
    return {
        "title": post.title,
        "tags": post.tags,
        "date": post.date,
        "license": post.license,
        "content_type": "text/plain",
    }


def _whole(post: Post) -> str:
    return f"{post.title}\n\n{post.text}" if post.title else post.text


def threads(posts: Iterable[Post], path: str, ledger: Ledger) -> Iterator[Document]:
    """Each question with its answers, best first (as in RedPajama), the accepted one marked; in the order of question
    ids. Posts come in any order and are sorted on disk, in the system's temporary folder, so memory does not grow with
    their number.

    Raises:
        DiskError: the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="tutelage-posts-") as folder:
        try:
            with closing(sqlite3.connect(Path(folder) / "posts.db", isolation_level=None)) as base:
                _store(base, posts)
                ordered = base.execute("select question, post from posts order by question, answer, score desc, number")
                for _, rows in groupby(ordered, key=lambda row: row[0]):
                    document = _thread((msgspec.msgpack.decode(row[1], type=Post) for row in rows), ledger)
                    if document:
                        yield document
        except sqlite3.Error as error:
            message = f"cannot sort the posts of {path} in {tempfile.gettempdir()}: {error}"
            raise DiskError(f"{message}; free space there, or set TMPDIR to a larger disk") from error


def _store(base: sqlite3.Connection, posts: Iterable[Post]) -> None:
    # The database does not outlive the process, so durability is off.
    for setting in ("journal_mode = off", "synchronous = off", "temp_store = file", "cache_size = -65536"):
        base.execute(f"pragma {setting}")
    base.execute("create table posts (question integer, answer integer, score integer, number integer, post blob)")
    rows = (
        (post.question, post.kind == "answer", post.score or 0, post.number, msgspec.msgpack.encode(post))
        for post in posts
    )
    for chunk in batches(rows, _WRITTEN_AT_ONCE):
        base.execute("begin")
        base.executemany("insert into posts values (?, ?, ?, ?, ?)", chunk)
        base.execute("commit")
    base.execute("create index in_order on posts (question, answer, score desc, number)")


def _thread(posts: Iterator[Post], ledger: Ledger) -> Document | None:
    """The document of one question from its posts, the question first. Counts all of them in the ledger."""
    question: Post | None = None
    answers: list[Post] = []
    size = 0
    for post in posts:
        if question is None and post.kind == "question":
            question = post
        elif post.kind == "question":
            ledger.drop("duplicate question id", where=post.where)
            continue
        elif question is None:
            ledger.drop("answer without its question", where=post.where)
            continue
        elif size + len(post.text) > MAX_RECORD_BYTES:
            ledger.drop(f"answers beyond {MAX_RECORD_BYTES >> 20} MiB", where=post.where)
            continue
        else:
            answers.append(post)
        size += len(post.text)
    if question is None:
        return None
    ledger.join(1 + len(answers))
    if not answers:
        ledger.note("question without an answer", where=question.where)
    parts = [_whole(question)]
    for answer in answers:
        head = "Accepted answer:" if str(answer.number) == question.accepted else "Answer:"
        parts.append(f"{head}\n\n{answer.text}")
    licences = sorted({post.license for post in (question, *answers) if post.license})
    meta = _meta(question) | {"type": "thread", "post": str(question.number), "license": " AND ".join(licences)}
    facts: dict[str, str | bool | int | float] = {"answers": len(answers)}
    if question.score is not None:
        facts["score"] = question.score
    text = "\n\n".join(parts)
    return Document(text, question.where, {name: value for name, value in meta.items() if value}, facts=facts)
