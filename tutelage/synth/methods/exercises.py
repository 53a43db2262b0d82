"""Phi-4's seeds: a passage becomes an exercise; kept if an answer from the passage agrees (2412.08905, section 2.2)."""

from __future__ import annotations

from typing import ClassVar

from tutelage.synth.method import At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.parse import labelled, verdict
from tutelage.synth.rows import conversation

WRITE = """Write one exercise that a reader of the passage learns from. It must be understood without the passage, \
and its answer must follow from the passage. Reply in two parts, "Question:" and "Answer:"."""
SEED = "Does the passage teach facts or reasoning? End with one line, [[yes]] or [[no]]."
CHECK = "Do the two answers to the question say the same? End with one line, [[yes]] or [[no]]."


class Exercises(Method, tag="exercises", tag_field="kind", frozen=True, kw_only=True):
    """Make exercises of documents. filter_seeds: first ask whether a passage teaches something."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "conversations"
    filter_seeds: bool = True

    def steps(self, row: Row, at: At) -> Steps:
        passage = f"<passage>\n{row['text']}\n</passage>"
        if self.filter_seeds:
            [seed] = yield [ask(f"{SEED}\n\n{passage}", "educational", row, model="judge", sampling={"temperature": 0})]
            if verdict(seed.text, ("yes", "no")) == "no":
                raise Drop("seed teaches nothing", row["text"])
        [written] = yield [ask(f"{WRITE}\n\n{passage}", "exercise", row)]
        question, key = labelled(written.text, ("Question", "Answer"))
        again = f"Answer by the passage alone.\n\n{passage}\n\nQuestion: {question}"
        [solved] = yield [ask(again, "answer", {"question": question}, sampling={"temperature": 0})]
        text = f"{CHECK}\n\nQuestion: {question}\n\nA: {key}\n\nB: {solved.text}"
        [check] = yield [ask(text, "same", (key, solved.text), model="judge", sampling={"temperature": 0})]
        if verdict(check.text, ("yes", "no")) == "no":
            raise Drop("key and answer differ", f"{question}\nkey: {key}\nanswer: {solved.text}")
        return [New(conversation(question, key), written, {"same": "yes"})]
