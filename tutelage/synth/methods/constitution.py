"""Constitutional AI, supervised: an answer is criticised by a principle and revised, in rounds (2212.08073, 3)."""

from __future__ import annotations

from typing import ClassVar

from tutelage.synth.method import Ask, At, Method, New, Row, RowKind, Steps
from tutelage.synth.passages import without_preamble
from tutelage.synth.principles import PRINCIPLES
from tutelage.synth.rows import prompt_of

CRITIQUE = "Criticise your last answer by this principle, in a few sentences: {principle}"
REVISE = "Now rewrite that answer so that the criticism no longer applies. Give only the new answer."


class Constitution(Method, tag="constitution", tag_field="kind", frozen=True, kw_only=True):
    """Answer prompts, criticise and revise. rounds: of revision, each by another principle; critique: ask for the
    criticism first; principles: in words, instead of the built-in ones."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "conversations"
    rounds: int = 4
    critique: bool = True
    principles: tuple[str, ...] = PRINCIPLES

    def steps(self, row: Row, at: At) -> Steps:
        prompt = tuple(prompt_of(row))
        [answer] = yield [Ask(prompt, "answer", {"temperature": 1.0}, about=row)]
        chosen = at.random("principles").shuffled(self.principles)[: self.rounds]
        for principle in chosen:
            turns = [*prompt, {"role": "assistant", "content": answer.text}]
            request = REVISE if self.critique else f"{REVISE} The principle: {principle}"
            if self.critique:
                turns.append({"role": "user", "content": CRITIQUE.replace("{principle}", principle)})
                [critique] = yield [Ask(tuple(turns), "critique", about=principle)]
                turns.append({"role": "assistant", "content": critique.text})
            [answer] = yield [Ask((*turns, {"role": "user", "content": request}), "revise", about=(row, answer.text))]
        talk = [*prompt, {"role": "assistant", "content": without_preamble(answer.text)}]
        return [New({"messages": talk}, answer, {"principles": chosen})]
