"""Non-instructional fine-tuning: the second half of a document, by a teacher, answers the first (2409.00096)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tutelage.synth.method import Ask, At, Drop, Made, Method, New, Reply, Row, RowKind
from tutelage.synth.passages import pieces
from tutelage.synth.rows import conversation

SYSTEM = "Continue the user's text. Write only what follows it."


class Continuation(Method, tag="continuation", tag_field="kind", frozen=True, kw_only=True):
    """Continue documents. original: keep the document's own second half instead, as a control; nothing is asked for it
    but a word. min_words: shorter documents are left out."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "conversations"
    original: bool = False
    min_words: int = 40

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        parts = pieces(row["text"], 1)
        if len(parts) < 2 or len(row["text"].split()) < self.min_words:
            raise Drop("document too short", row["text"])
        first = " ".join(parts[: len(parts) // 2])
        turns = ({"role": "system", "content": SYSTEM}, {"role": "user", "content": first})
        limit = {"max_tokens": 1 if self.original else 1024}
        return [Ask(turns, "continue", {"temperature": 0.7, **limit}, about=row)]

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        first, reply = replies[0].ask.messages[1]["content"], replies[0].text.strip()
        rest = " ".join(pieces(row["text"], 1)[len(pieces(row["text"], 1)) // 2 :])
        return [New(conversation(first, rest if self.original else reply), replies[0])]
