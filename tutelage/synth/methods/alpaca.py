"""Alpaca: whole tasks from a few examples, many in one reply (stanford_alpaca, 2023; no stop string inside answers)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tutelage.synth.instruction_filters import echoes, unusable
from tutelage.synth.method import Ask, At, Drop, Made, Method, New, Reply, Row, RowKind, Unparsable, ask
from tutelage.synth.parse import labelled, numbered
from tutelage.synth.rows import answer_of, conversation, question_of

LABELS = ("Instruction", "Input", "Output")
RULES = """Write {count} different tasks for an assistant, and do each of them. Rules:
- No verb twice; questions and commands in turn; open questions, classification, editing, writing and so on.
- A language model must be able to do the task: nothing to see, hear or do, and no calendar.
- An instruction has one or two sentences. Its input is a realistic example of at most 100 words, or <no input>.
- An output has at most 100 words.
Each task is numbered and has three parts: Instruction, Input, Output. Continue the list."""


class Alpaca(Method, tag="alpaca", tag_field="kind", frozen=True, kw_only=True):
    """Make conversations from seeds. tasks: in one reply; examples: seeds that are shown."""

    takes: ClassVar[RowKind] = "conversations"
    makes: ClassVar[RowKind] = "conversations"
    draws: ClassVar[bool] = True
    max_rouge: float | None = 0.7
    tasks: int = 20
    examples: int = 3

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        seeds = at.random("seeds").shuffled(at.seeds)[: self.examples]
        texts = [f"{question_of(seed)}\nInput: <no input>\nOutput: {answer_of(seed)}" for seed in seeds]
        shown = "\n\n".join(f"{place}. Instruction: {text}" for place, text in enumerate(texts, 1))
        text = f"{RULES.replace('{count}', str(self.tasks))}\n\n{shown}\n\n{len(seeds) + 1}. Instruction:"
        return [ask(text, "tasks", (at, len(seeds) + 1, self.tasks), sampling={"max_tokens": 3072}, sample=at.number)]

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        first = min(self.examples, len(at.seeds)) + 1
        text = replies[0].text.strip()
        opened = text if text.startswith(f"{first}.") else f"{first}. Instruction: {text.removeprefix('Instruction:')}"
        return [self._task(item) for item in numbered(opened, first)]

    def _task(self, item: str) -> New | Drop:
        try:
            instruction, given, output = labelled(item, LABELS)
        except Unparsable as error:
            return Drop("unparsable task", error.raw)
        prompt = instruction if given.strip("<>").lower() in ("no input", "noinput") else f"{instruction}\n\n{given}"
        reason = unusable(instruction)
        if not reason and echoes(prompt, output):
            reason = "copied prompt"
        return Drop(reason, item) if reason else New(conversation(prompt, output))
