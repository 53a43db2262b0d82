"""WRAP: web pages rephrased in four styles (2401.16380, section 3), to train on beside the originals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tutelage.synth.method import Ask, At, Made, Method, New, Reply, Row, RowKind, ask, each
from tutelage.synth.passages import pieces, without_preamble

STYLES = {
    "toddler": "a short text with very few and simple words that a toddler understands",
    "hard": "terse and abstruse language that only an erudite scholar understands, with rare words",
    "wikipedia": "high quality English like the sentences of Wikipedia",
    "dialogue": 'a conversation: several times "Question:" and then "Answer:"',
}


class Wrap(Method, tag="wrap", tag_field="kind", frozen=True, kw_only=True):
    """Rephrase documents. styles: of STYLES; max_words: of a piece; longer ones lose information."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "documents"
    partial: ClassVar[bool] = True
    styles: tuple[str, ...] = ("wikipedia",)
    max_words: int = 220

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        parts = [(piece, style) for piece in pieces(row["text"], self.max_words) for style in self.styles]
        return [
            ask(
                f"Rewrite the passage in {STYLES[style]}. Give only the new text.\n\n<passage>\n{piece}\n</passage>",
                "rewrite", {"text": piece, "style": style}, sampling={"temperature": 0.7, "max_tokens": 512},
            )
            for piece, style in parts
        ]  # fmt: skip

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        return each(replies, self._row)

    def _row(self, reply: Reply) -> New:
        source, text = reply.ask.about["text"], without_preamble(reply.text)
        share = len(text.split()) / len(source.split())
        return New({"text": text}, reply, {"style": reply.ask.about["style"], "length_share": round(share, 2)})
