"""Teacher swap: the prompts of existing rows, answered by another model (2304.03277; Alpaca's prompts by GPT-4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tutelage.synth.method import Ask, At, Made, Method, New, Reply, Row, RowKind
from tutelage.synth.rows import prompt_of
from tutelage.synth.verify import VerifierName, check_answer


class TeacherSwap(Method, tag="teacher_swap", tag_field="kind", frozen=True, kw_only=True):
    """Answer prompts.

    verify: a verifier, as rewards name it; answers that it does not find right are dropped. Rows need a gold answer.
    """

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "conversations"
    verify: VerifierName | None = None

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        return [Ask(tuple(prompt_of(row)), "answer", {"temperature": 0.7, "max_tokens": 1024}, about=row)]

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        verdicts = check_answer(self.verify, row, replies[0].text)
        turns = [*prompt_of(row), {"role": "assistant", "content": replies[0].text.strip()}]
        return [New({"messages": turns}, verdicts=verdicts)]
