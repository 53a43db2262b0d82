"""Self-Instruct: instructions that follow from earlier ones, then answers to them (2212.10560, section 2)."""

from __future__ import annotations

from typing import ClassVar

from tutelage.synth.instruction_filters import echoes, unusable
from tutelage.synth.method import Ask, At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.parse import numbered
from tutelage.synth.rows import conversation, question_of

INSTRUCTIONS = {"temperature": 0.7, "top_p": 0.5, "presence_penalty": 2.0, "max_tokens": 1024}
ANSWERS = {"temperature": 0.0, "presence_penalty": 1.5, "max_tokens": 350}


class SelfInstruct(Method, tag="self_instruct", tag_field="kind", frozen=True, kw_only=True):
    """Make conversations from seeds. human, machine: instructions that are shown, of the seeds and of those made; new:
    instructions that are asked for."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "conversations"
    draws: ClassVar[bool] = True
    partial: ClassVar[bool] = True
    max_rouge: float | None = 0.7
    human: int = 6
    machine: int = 2
    new: int = 8

    def steps(self, row: Row, at: At) -> Steps:
        made = at.random("machine").shuffled(at.pool)[: self.machine]
        seeds = at.random("human").shuffled(at.seeds)[: self.human + self.machine - len(made)]
        shown = at.random("order").shuffled([*seeds, *made])
        lines = "\n".join(f"{n}. {' '.join(question_of(seed).split())}" for n, seed in enumerate(shown, 1))
        text = f"Come up with a series of tasks:\n\n{lines}\n\nContinue the list with {self.new} more, one on a line."
        about = (at, len(shown) + 1, self.new)
        [reply] = yield [ask(text, "instructions", about, sampling=INSTRUCTIONS, sample=at.number)]
        if reply.drop:
            raise reply.drop  # one cut at its end is thrown away whole, as in the paper's code
        listed = numbered(reply.text, 1 if reply.text.lstrip().startswith("1") else len(shown) + 1)[: self.new]
        faults = [Drop(why, text) if (why := unusable(text)) else at.known(text) for text in listed]
        made_rows: list[New | Drop] = [fault for fault in faults if fault]
        usable = [instruction for fault, instruction in zip(faults, listed, strict=True) if not fault]
        if not usable:
            return made_rows
        answers = yield [Ask(({"role": "user", "content": text},), "answer", ANSWERS) for text in usable]
        for instruction, answer in zip(usable, answers, strict=True):
            echo = Drop("copied prompt", answer.text) if echoes(instruction, answer.text) else None
            made_rows.append(answer.drop or echo or New(conversation(instruction, answer.text.strip()), answer))
        return made_rows
