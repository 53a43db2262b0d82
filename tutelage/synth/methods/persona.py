"""Personas: a problem that only this person would pose, then its solution (2406.20094; Tulu 3, 2411.15124, 3.1.2)."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from tutelage.chat.audit.final_answers import final_answer
from tutelage.synth.method import At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.parse import labelled
from tutelage.synth.rows import conversation

KINDS = {
    "math": "a challenging mathematics problem",
    "grade_school": "a word problem for grade school, solved in a few steps",
    "algebra": "an intermediate algebra problem",
    "code": "a programming task that a Python function solves",
    "instruction": "an instruction for an assistant",
}


class Persona(Method, tag="persona", tag_field="kind", frozen=True, kw_only=True):
    """Make problems of personas, which are documents. problem: of KINDS; votes: solutions to each, of which the
    majority's is kept."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "conversations"
    problem: str = "instruction"
    votes: int = 1

    def steps(self, row: Row, at: At) -> Steps:
        person = f"that this person would pose, and hardly anyone else: {row['text']}"
        text = f'Write {KINDS[self.problem]} {person}\n\nDo not solve it. Begin with "Problem:".'
        sampling = {"temperature": 0.7, "max_tokens": 1024}
        [posed] = yield [ask(text, "problem", row, sampling=sampling)]
        [problem] = labelled(posed.text, ("Problem",))
        solved = yield [ask(problem, "answer", sampling=sampling, sample=vote) for vote in range(self.votes)]
        finals = [final_answer(reply.text, problem) or reply.text.strip().lower() for reply in solved]
        final, count = Counter(finals).most_common(1)[0]
        if 2 * count <= self.votes:
            raise Drop("no majority", "\n".join(finals))
        best = solved[finals.index(final)]
        return [New(conversation(problem, best.text.strip()), best, {"votes": f"{count}/{self.votes}"})]
