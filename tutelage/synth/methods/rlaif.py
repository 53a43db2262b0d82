"""RLAIF: a model labels pairs of answers by principles, in both orders, with soft labels (2212.08073; 2309.00267)."""

from __future__ import annotations

from typing import Any, ClassVar

from tutelage.synth.labels import p_of_first
from tutelage.synth.method import Ask, At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.principles import PRINCIPLES
from tutelage.synth.rows import as_text, pair, prompt_of

CHOOSE = "Which answer to the conversation follows this principle better? {principle}\nReply with one letter, A or B."
LABEL = {"temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}


class Rlaif(Method, tag="rlaif", tag_field="kind", frozen=True, kw_only=True):
    """Label two answers to prompts. principles: asked for each pair, each in both orders; min_margin: by how much the
    mean probability must differ from one half."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "preferences"
    partial: ClassVar[bool] = True
    principles: int = 2
    min_margin: float = 0.1

    def steps(self, row: Row, at: At) -> Steps:
        prompt = tuple(prompt_of(row))
        answers = yield [Ask(prompt, "answer", {"temperature": 1.0}, sample, about=row) for sample in range(2)]
        if drop := next((answer.drop for answer in answers if answer.drop), None):
            raise drop
        texts = [answer.text.strip() for answer in answers]
        if texts[0] == texts[1]:
            raise Drop("equal answers", texts[0])
        chosen = at.random("principles").shuffled(PRINCIPLES)[: self.principles]
        orders = [(principle, order) for principle in chosen for order in (texts, texts[::-1])]
        labels = yield [self._question(prompt, principle, order, row) for principle, order in orders]
        shares = [p_of_first(reply) for reply in labels]
        first = [1 - share if number % 2 else share for number, share in enumerate(shares)]
        mean = sum(first) / len(first)
        if abs(mean - 0.5) < self.min_margin:
            raise Drop("no clear label", f"{first}")
        better, worse = texts if mean > 0.5 else texts[::-1]
        return [New(pair(prompt, better, worse), answers[0], {"probability": max(mean, 1 - mean), "labels": first})]

    def _question(self, prompt: tuple[Any, ...], principle: str, order: list[str], row: Row) -> Ask:
        shown = f"<conversation>\n{as_text(prompt)}\n</conversation>\n\n(A) {order[0]}\n\n(B) {order[1]}"
        text = f"{CHOOSE.replace('{principle}', principle)}\n\n{shown}"
        return ask(text, "choice", (row, order), model="judge", sampling=LABEL)
