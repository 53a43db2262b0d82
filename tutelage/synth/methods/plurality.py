"""Phi-4's questions: several answers each; too easy if all agree, too open if none do, else the plurality answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from tutelage.chat.audit.final_answers import final_answer
from tutelage.synth.method import Ask, At, Drop, Made, Method, New, Reply, Row, RowKind
from tutelage.synth.rows import prompt_of, question_of


class Plurality(Method, tag="plurality", tag_field="kind", frozen=True, kw_only=True):
    """Answer prompts by the most frequent of several answers (2412.08905, 2.2). samples: answers a prompt."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "conversations"
    partial: ClassVar[bool] = True
    samples: int = 5

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        prompt = tuple(prompt_of(row))
        return [Ask(prompt, "answer", {"temperature": 0.8}, sample, about=row) for sample in range(self.samples)]

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        usable = [reply for reply in replies if not reply.drop]
        finals = [(final_answer(reply.text, question_of(row)) or reply.text.strip().lower(), reply) for reply in usable]
        counts = Counter(final for final, _ in finals).most_common()
        if len(usable) < self.samples or len(counts) == 1:
            raise Drop("too few answers" if len(usable) < self.samples else "all answers agree")
        if counts[0][1] == 1 or counts[0][1] == counts[1][1]:
            raise Drop("no plurality", "\n".join(final for final, _ in counts))
        best = next(reply for final, reply in finals if final == counts[0][0])
        turns = [*prompt_of(row), {"role": "assistant", "content": best.text.strip()}]
        return [New({"messages": turns}, best, {"share": counts[0][1] / len(usable)})]
