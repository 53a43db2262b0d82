"""Self-Instruct: instructions that follow from earlier ones, then answers to them (2212.10560, section 2)."""

from __future__ import annotations

from typing import ClassVar

from tutelage.synth.instruction_filters import echoes, unusable
from tutelage.synth.method import Ask, At, Drop, Method, New, Reply, Row, RowKind, Steps, ask, read_of
from tutelage.synth.parse import numbered
from tutelage.synth.rows import conversation, question_of

# The paper leaves the next number of a list open, which only a model without a chat template continues. A chat model
# copies a numbered list, numbers and all.
TASKS = "Here are tasks that people gave to an assistant:"
RULES = """Write {new} new tasks of other kinds and on other subjects, as a numbered list that begins with 1. Each \
begins with a verb or is a question. Write no answers, and repeat none of the tasks above."""
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
        lines = "\n".join(f"- {' '.join(question_of(seed).split())}" for seed in shown)
        text = f"{TASKS}\n\n{lines}\n\n{RULES.replace('{new}', str(self.new))}"
        asked = ask(text, "instructions", (at, 1, self.new), sampling=INSTRUCTIONS, sample=at.number)
        listed = (yield from read_of(asked, _instructions, self.ask_again))[: self.new]
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


def _instructions(reply: Reply) -> list[str]:
    if reply.drop:
        raise reply.drop  # one cut at its end is thrown away whole, as in the paper's code
    return numbered(reply.text)
