"""Instruction reversal: a text becomes the answer to an instruction that leads back to it (2412.08905; 2308.06259)."""

from __future__ import annotations

from typing import ClassVar

from tutelage.synth.method import At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.passages import without_preamble
from tutelage.synth.rouge import rouge_l
from tutelage.synth.rows import conversation

WRITE = "Which instruction is this text, or this program, the answer to? Reply with that instruction alone."


class InstructionReversal(Method, tag="instruction_reversal", tag_field="kind", frozen=True, kw_only=True):
    """Make instructions for documents. least: the ROUGE-L F score of the text with what the instruction gives again."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "conversations"
    least: float = 0.3

    def steps(self, row: Row, at: At) -> Steps:
        [written] = yield [ask(f"{WRITE}\n\n<text>\n{row['text']}\n</text>", "instruction", row)]
        instruction = without_preamble(written.text)
        [regenerated] = yield [ask(instruction, "regenerate", row, sampling={"temperature": 0})]
        score = rouge_l(row["text"], regenerated.text)
        if score < self.least:
            raise Drop("does not lead back", f"{instruction}\n\n{regenerated.text}")
        return [New(conversation(instruction, row["text"]), written, {"rouge_l": round(score, 3)})]
