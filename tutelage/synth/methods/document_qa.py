"""Questions and answers from documents, each with a quotation that must be in the document (knowledge injection)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tutelage.config import Settings
from tutelage.synth.method import Ask, At, Drop, Made, Method, New, Reply, Row, RowKind, ask
from tutelage.synth.parse import json_value
from tutelage.synth.rows import conversation

WRITE = """Write {n} questions that the document answers, each about another fact, understood without the document, \
with its answer and the exact words of the document that prove it. Reply with a JSON list only: [{"question": "...", \
"answer": "...", "quote": "..."}]"""


class Qa(Settings, frozen=True, kw_only=True):
    """A question, its answer, and the words that prove it."""

    question: str
    answer: str
    quote: str


class DocumentQa(Method, tag="document_qa", tag_field="kind", frozen=True, kw_only=True):
    """Ask about documents. questions: asked for in a document."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "conversations"
    questions: int = 5

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        text = f"{WRITE.replace('{n}', str(self.questions))}\n\n<document>\n{row['text']}\n</document>"
        return [ask(text, "document_qa", (row, self.questions))]

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        page = " ".join(row["text"].split())
        return [self._pair(pair, page) for pair in json_value(replies[0].text, list[Qa])]

    def _pair(self, pair: Qa, page: str) -> New | Drop:
        if not pair.quote.strip() or " ".join(pair.quote.split()) not in page:
            return Drop("quotation not in the document", f"{pair.question}\n{pair.answer}\n{pair.quote}")
        return New(conversation(pair.question, pair.answer), verdicts={"quote": pair.quote})
