"""Scores a sample of a corpus with an LLM judge: any OpenAI-compatible endpoint.

The sample depends on the texts and the seed alone, so the same command sends the same requests. All responses are
cached beside the scores, so a killed run resumes without paying for a request twice.
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
from tutelage.corpus.curation import Curation
from tutelage.corpus.input_shards import input_shards
from tutelage.corpus.page_text import HTML_TYPES
from tutelage.corpus.quality.rubric import HIGHEST, Judgement, judged_part, prompt, read_judgement
from tutelage.corpus.read import documents as read_input
from tutelage.corpus.shards import corpus_files, finished, read_documents
from tutelage.files import write_bytes, write_json
from tutelage.ledger import Ledger
from tutelage.process import Stopped, stop_requests
from tutelage.progress import track
from tutelage.records import Document

REQUEST = {"temperature": 0, "max_tokens": 512}
_PAGE = re.compile(r"<(!doctype|html|head|body)\b", re.IGNORECASE)
FIRST_ANSWERS = 20  # if none of this many first answers gives a score, stop


@dataclass(frozen=True)
class Scored:
    """One document with its judgement, or with the reason why it has none and the answer of the judge."""

    document: Document
    outcome: Judgement | str
    answer: str = ""


def judge(
    inputs: Sequence[str],
    endpoint: EndpointSettings,
    out: Path,
    rubric: str,
    sample: int,
    seed: int = 0,
    request: Mapping[str, Any] = REQUEST,
) -> dict[str, Any]:
    """Score a sample of documents. Writes OUT, rows {"id", "text", "score", "reason"}; and beside it the documents
    without a score (.rejected.jsonl), the cached responses (.responses.jsonl) and the summary (.ledger.json), which is
    also returned.

    inputs:  files and patterns, as for a curation; or folders of corpora.
    rubric:  the criteria.
    sample:  number of documents to draw.
    seed:    seed of the sample.
    request: further fields of every request.

    Raises:
        ValueError: there are no documents; or the judge gives no scores.
        EndpointError: the endpoint fails or the budget is spent. Finished scores are written first.
        Stopped: the run was interrupted. Finished scores are written first.
    """
    if out.suffix != ".jsonl":
        raise ValueError(f"out: {out} must end in .jsonl")
    read, sampled = Ledger("read"), Ledger("sample")
    failed: Exception | None = None
    with Client(endpoint, _beside(out, "responses.jsonl")) as client:
        with track("sampled", None, "documents") as bar:
            documents = draw(_counted(_documents(inputs, read), bar), sample, seed, sampled)
        if not documents:
            why = _reasons(sampled) or _reasons(read) or "they contain no documents"
            raise ValueError(f"there is no text to judge in {', '.join(inputs)}: {why}")
        scored: list[Scored | None] = [None] * len(documents)
        try:
            with stop_requests() as stop:
                _request_scores(client, documents, rubric, request, scored, stop)
        except (EndpointError, _NoScoresError) as error:
            failed = error
        summary = _write(out, scored, [read, sampled])
        settings = {"endpoint": to_plain(endpoint), "request": dict(request), "rubric": rubric, "seed": seed}
        summary |= {"usage": client.usage.to_dict(), "settings": settings}
    write_json(_beside(out, "ledger.json"), summary)
    done = sum(row is not None for row in scored)
    if failed is not None:
        message = f"{failed}; {summary['scored']:,} of {len(documents):,} documents are scored, in {out}"
        raise type(failed)(message) from failed
    if done < len(documents):
        raise Stopped(f"interrupted after {done:,} of {len(documents):,} documents; their scores are in {out}")
    return summary


class _NoScoresError(ValueError):
    """The judge answers, but never with a score."""


def draw(stream: Iterable[Document], count: int, seed: int, ledger: Ledger) -> list[Document]:
    """Draw `count` documents, cut to the part that is judged, each text once. The sample depends on the texts and the
    seed, not on their order."""
    heap: list[tuple[int, str, Document]] = []  # hashes negated, so that the largest is on top
    held: set[str] = set()
    key = str(seed).encode()[:64]
    for document in stream:
        ledger.read()
        text = judged_part(document.text)
        if not text or _is_page(document):
            ledger.drop("empty" if not text else "HTML, not text; curate it first", where=document.id)
            continue
        if text in held:
            ledger.drop("duplicate text", where=document.id)
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
    # content_type alone is not enough: text that another tool extracted from a page may still carry it.
    return document.meta.get("content_type") in HTML_TYPES and _PAGE.search(document.text, 0, 2000) is not None


def _request_scores(
    client: Client,
    documents: Sequence[Document],
    rubric: str,
    request: Mapping[str, Any],
    scored: list[Scored | None],
    stop: Any,
) -> None:
    """Fill `scored` as the answers arrive."""
    questions = (
        (place, {"messages": [{"role": "user", "content": prompt(rubric, document.text)}], **request})
        for place, document in enumerate(documents)
    )
    scores = answers = 0
    with track("judged", len(documents), "documents") as bar:
        for place, answer in client.ask_all(questions, stop):
            row = _scored(documents[place], answer)
            scored[place] = row
            scores += isinstance(row.outcome, Judgement)
            answers += isinstance(answer, Answer)
            bar.update(1, {"scored": scores, "tokens": client.usage.prompt_tokens + client.usage.completion_tokens})
            if answers >= FIRST_ANSWERS and not scores:
                raise _NoScoresError(
                    f"none of the first {answers} answers has a score (last: {row.outcome}); read the answers in the "
                    ".rejected.jsonl beside --out. The judge may need more tokens (--request max_tokens=...)"
                )


def _scored(document: Document, answer: Answer | Failure) -> Scored:
    if isinstance(answer, Failure):
        return Scored(document, f"no answer: {answer.reason}", answer.detail)
    outcome = read_judgement(answer.text)
    if isinstance(outcome, str) and answer.truncated:
        outcome = "answer truncated"
    return Scored(document, outcome, answer.text)


def _write(out: Path, scored: Sequence[Scored | None], ledgers: list[Ledger]) -> dict[str, Any]:
    """Write the finished scores and rejects. Returns the summary."""
    ledger = Ledger("judge")
    ledger.read(len(scored))
    counts, rows, rejected = [0] * (HIGHEST + 1), [], []
    for entry in scored:
        if entry is None:
            ledger.drop("not requested yet")
            continue
        row: dict[str, Any] = {"id": entry.document.id, "text": entry.document.text}
        if isinstance(entry.outcome, Judgement):
            ledger.keep()
            counts[entry.outcome.score] += 1
            rows.append(msgspec.json.encode(row | entry.outcome._asdict()))
        else:
            ledger.drop(entry.outcome, where=entry.document.id)
            rejected.append(msgspec.json.encode(row | {"reason": entry.outcome, "answer": entry.answer}))
    ledger.check()
    for path, lines in ((out, rows), (_beside(out, "rejected.jsonl"), rejected)):
        write_bytes(path, b"".join(line + b"\n" for line in lines))
    return {"scored": len(rows), "score_counts": counts, "ledgers": [step.to_dict() for step in (*ledgers, ledger)]}


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
            for source in shard.files:
                yield from read_input(source.path, ledger, part=source.part)


def _counted(stream: Iterable[Document], bar: Any) -> Iterator[Document]:
    for document in stream:
        yield document
        bar.update()


def _reasons(ledger: Ledger) -> str:
    return ", ".join(f"{entry.rows:,} rows: {reason}" for reason, entry in ledger.dropped.items())
