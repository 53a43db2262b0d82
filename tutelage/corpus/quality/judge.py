"""A sample of a corpus, scored by a judge: any endpoint that speaks the layout of OpenAI's API.

Which documents are drawn hangs on their words alone, so the same command asks the same questions again. All answers are
kept beside the scores, so what was killed goes on, and what was paid for once is not paid again.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from tutelage.client import Answer, Client, EndpointError, EndpointSettings, Failure
from tutelage.config import to_plain
from tutelage.corpus.curation import Curation, input_shards
from tutelage.corpus.page_text import HTML_TYPES
from tutelage.corpus.quality.rubric import HIGHEST, Judgement, judged_part, prompt, read_judgement
from tutelage.corpus.read import documents
from tutelage.corpus.shards import corpus_files, finished, read_documents
from tutelage.files import write_bytes, write_json
from tutelage.ledger import Ledger
from tutelage.process import Stopped, stop_requests
from tutelage.progress import track
from tutelage.records import Document

REQUEST = {"temperature": 0, "max_tokens": 512}
_PAGE = re.compile(r"<(!doctype|html|head|body)\b", re.IGNORECASE)
ENOUGH_TO_TELL = 20  # answers; where none of so many first ones gives a score, none will


@dataclass(frozen=True)
class Judged:
    """One document and what became of it: a judgement, or why there is none and what the judge said."""

    document: Document
    found: Judgement | str
    said: str = ""


def judge(
    inputs: Sequence[str],
    endpoint: EndpointSettings,
    out: Path,
    rubric: str,
    sample: int,
    seed: int = 0,
    request: Mapping[str, Any] = REQUEST,
) -> dict[str, Any]:
    """Has a judge score documents, and writes OUT, rows {"id", "text", "score", "reason"}; beside it what got no score
    (.aside.jsonl), the judge's answers (.answers.jsonl) and the account of it all (.ledger.json), which is returned.

    inputs:  files and patterns, as of a curation; or folders of corpora.
    rubric:  what a document gets points for.
    sample:  how many documents are drawn.
    seed:    of the draw.
    request: what else every request says.

    Raises:
        ValueError: there is nothing to judge; or the judge gives no scores.
        EndpointError: it cannot be asked any more, or the budget is spent; what is done is written before.
        Stopped: the run was asked to stop; what is done is written before.
    """
    if out.suffix != ".jsonl":
        raise ValueError(f"out: {out} must end in .jsonl, for rows of JSON are written to it")
    read, drawn_of = Ledger("read"), Ledger("sample")
    failed: Exception | None = None
    with Client(endpoint, _beside(out, "answers.jsonl")) as client:
        with track("sampled", None, "documents") as bar:
            drawn = draw(_counted(_documents(inputs, read), bar), sample, seed, drawn_of)
        if not drawn:
            why = _reasons(drawn_of) or _reasons(read) or "they hold no documents"
            raise ValueError(f"there is no text to judge in {', '.join(inputs)}: {why}")
        found: list[Judged | None] = [None] * len(drawn)
        try:
            with stop_requests() as stop:
                _ask(client, drawn, rubric, request, found, stop)
        except (EndpointError, _NoScoresError) as error:
            failed = error
        account = _write(out, found, [read, drawn_of])
        asked = {"endpoint": to_plain(endpoint), "request": dict(request), "rubric": rubric, "seed": seed}
        account |= {"usage": client.usage.to_dict(), "asked": asked}
    write_json(_beside(out, "ledger.json"), account)
    done = sum(one is not None for one in found)
    if failed is not None:
        told = f"{failed}; {account['scored']:,} of {len(drawn):,} documents are scored, in {out}"
        raise type(failed)(told) from failed
    if done < len(drawn):
        raise Stopped(f"stopped after {done:,} of {len(drawn):,} documents; their scores are in {out}")
    return account


class _NoScoresError(ValueError):
    """The judge answers, and never with a score."""


def draw(stream: Iterable[Document], count: int, seed: int, ledger: Ledger) -> list[Document]:
    """`count` documents, cut to the part that is judged; always the same ones of the same texts, in whatever order they
    come, and each text once."""
    heap: list[tuple[int, str, Document]] = []  # the largest hash on top, as a negative number
    held: set[str] = set()
    key = str(seed).encode()[:64]
    for document in stream:
        ledger.read()
        text = judged_part(document.text)
        if not text or _is_page(document):
            ledger.drop("empty" if not text else "HTML and no text; curate it first", where=document.id)
            continue
        if text in held:
            ledger.drop("same text as another", where=document.id)
            continue
        number = -int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8, key=key).digest(), "little")
        if len(heap) == count and number <= heap[0][0]:
            ledger.drop("not drawn")
            continue
        held.add(text)
        entry = (number, text, Document(text, document.id))
        if len(heap) < count:
            heapq.heappush(heap, entry)
        else:
            held.remove(heapq.heappushpop(heap, entry)[1])
            ledger.drop("not drawn")
    ledger.keep(len(heap))
    ledger.check()
    return [document for _, _, document in sorted(heap, key=lambda entry: (-entry[0], entry[1]))]


def _is_page(document: Document) -> bool:
    # What was extracted from a page still says that it came as one.
    return document.meta.get("content_type") in HTML_TYPES and _PAGE.search(document.text, 0, 2000) is not None


def _ask(
    client: Client,
    drawn: Sequence[Document],
    rubric: str,
    request: Mapping[str, Any],
    found: list[Judged | None],
    stop: Any,
) -> None:
    """Fills `found` as the answers come."""
    questions = (
        (place, {"messages": [{"role": "user", "content": prompt(rubric, document.text)}], **request})
        for place, document in enumerate(drawn)
    )
    scored = answers = 0
    with track("judged", len(drawn), "documents") as bar:
        for place, answer in client.ask_all(questions, stop):
            one = _judged(drawn[place], answer)
            found[place] = one
            scored += isinstance(one.found, Judgement)
            answers += isinstance(answer, Answer)
            bar.update(1, {"scored": scored, "tokens": client.usage.prompt_tokens + client.usage.completion_tokens})
            if answers >= ENOUGH_TO_TELL and not scored:
                raise _NoScoresError(
                    f"of {answers} answers none gives a score, the last one because: {one.found}; read what the judge "
                    "says in the .aside.jsonl beside --out: it may need more tokens (--request max_tokens=...), or be "
                    "no judge"
                )


def _judged(document: Document, answer: Answer | Failure) -> Judged:
    if isinstance(answer, Failure):
        return Judged(document, f"no answer: {answer.reason}", answer.detail)
    found = read_judgement(answer.text)
    if isinstance(found, str) and answer.truncated:
        found = "answer cut off"
    return Judged(document, found, answer.text)


def _write(out: Path, found: Sequence[Judged | None], ledgers: list[Ledger]) -> dict[str, Any]:
    """Writes what is done; gives the account."""
    ledger = Ledger("judge")
    ledger.read(len(found))
    scores, rows, aside = [0] * (HIGHEST + 1), [], []
    for one in found:
        if one is None:
            ledger.drop("not asked yet")
        elif isinstance(one.found, Judgement):
            ledger.keep()
            scores[one.found.score] += 1
            row = {"id": one.document.id, "text": one.document.text, **one.found._asdict()}
            rows.append(msgspec.json.encode(row))
        else:
            ledger.drop(one.found, where=one.document.id)
            row = {"id": one.document.id, "text": one.document.text, "why": one.found, "said": one.said}
            aside.append(msgspec.json.encode(row))
    ledger.check()
    for path, lines in ((out, rows), (_beside(out, "aside.jsonl"), aside)):
        write_bytes(path, b"".join(line + b"\n" for line in lines))
    return {"scored": len(rows), "scores": scores, "ledgers": [one.to_dict() for one in (*ledgers, ledger)]}


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.stem}.{ending}")


def _documents(inputs: Sequence[str], ledger: Ledger) -> Iterator[Document]:
    for given in inputs:
        if "://" not in given and finished(Path(given)) is not None:
            for file in corpus_files(Path(given)):
                for document in read_documents(file):
                    ledger.read()
                    ledger.keep()
                    yield document
            continue
        for shard in input_shards(Curation(name="judge", input=given, steps={})):
            for path in shard.paths:
                yield from documents(path, ledger)


def _counted(stream: Iterable[Document], bar: Any) -> Iterator[Document]:
    for document in stream:
        yield document
        bar.update()


def _reasons(ledger: Ledger) -> str:
    return ", ".join(f"{entry.rows:,} rows: {reason}" for reason, entry in ledger.dropped.items())
