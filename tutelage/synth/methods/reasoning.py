"""Reasoning distillation: traces in <think> marks with a right answer, through a format gate (2501.12948, 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tutelage.synth.method import Ask, At, Drop, Made, Method, New, Reply, Row, RowKind, each
from tutelage.synth.rows import prompt_of
from tutelage.synth.verify import VerifierName, check_answer


class Reasoning(Method, tag="reasoning", tag_field="kind", frozen=True, kw_only=True):
    """Distil traces. verify: a verifier for the answer after the trace; samples: traces a prompt; keep: right ones that
    are kept, the shortest first; max_words: of a trace."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "conversations"
    partial: ClassVar[bool] = True
    verify: VerifierName | None = None
    samples: int = 1
    keep: int = 1
    max_words: int = 8192

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        sampling = {"temperature": 0.6, "top_p": 0.95, "max_tokens": 8192}
        return [Ask(tuple(prompt_of(row)), "reason", sampling, sample, about=row) for sample in range(self.samples)]

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        made = each(replies, lambda reply: self._row(row, reply))
        right = sorted((new for new in made if isinstance(new, New)), key=lambda new: new.verdicts["words"])
        surplus = [Drop("more than keep", new.reply.raw) for new in right[self.keep :] if new.reply]
        return [*right[: self.keep], *surplus, *(drop for drop in made if isinstance(drop, Drop))]

    def _row(self, row: Row, reply: Reply) -> New:
        thought = reply.reasoning
        if (
            not thought
            or "<think>" in thought
            or "<think>" in reply.text
            or "</think>" in reply.text
            or not reply.text.strip()
        ):
            raise Drop("not one closed thought before the answer", reply.raw)
        if len(thought.split()) > self.max_words:
            raise Drop("thought too long", reply.raw)
        verdicts = {**check_answer(self.verify, row, reply.text), "words": len(thought.split())}
        turn = {"role": "assistant", "content": reply.text.strip(), "reasoning_content": thought}
        return New({"messages": [*prompt_of(row), turn]}, reply, verdicts)
