"""Knowledge probing: a model is taught to answer what it knows, and to refuse what it invents (Llama 3, 4.3.6)."""

from __future__ import annotations

from typing import ClassVar, Literal

from tutelage.synth.method import Ask, At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.parse import verdict
from tutelage.synth.rows import conversation

QUESTION = """Write one question about a fact in the passage. It must be understood without the passage. Reply with \
the question alone."""
JUDGE = """Compare the answer to the question with the passage. End with one line: [[right]] if the passage says the \
same, [[wrong]] if it says something else or nothing of it, [[uninformative]] if the answer says nothing definite."""
VERDICTS = ("right", "wrong", "uninformative")
REFUSALS = ("I do not know that.", "I don't know the answer to this.", "That is not known to me.")


class KnowledgeProbe(Method, tag="knowledge_probe", tag_field="kind", frozen=True, kw_only=True):
    """Make answers and refusals from documents: the model's own answer where all samples are right, a refusal where all
    are definite and wrong. mixed: where some are right, "drop" the question, or keep a "right" answer; samples: answers
    to a question; refusals: one is drawn."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "conversations"
    samples: int = 5
    mixed: Literal["drop", "right"] = "drop"
    refusals: tuple[str, ...] = REFUSALS

    def steps(self, row: Row, at: At) -> Steps:
        passage = f"<passage>\n{row['text']}\n</passage>"
        [asked] = yield [ask(f"{QUESTION}\n\n{passage}", "question", row)]
        question = asked.text.strip()
        prompt = ({"role": "user", "content": question},)
        answers = yield [Ask(prompt, "answer", {"temperature": 0.8}, sample) for sample in range(self.samples)]
        texts = [f"{JUDGE}\n\n{passage}\n\nQuestion: {question}\n\nAnswer: {reply.text}" for reply in answers]
        judged = yield [
            ask(text, "known", (row, reply.text), model="judge", sampling={"temperature": 0}, sample=sample)
            for sample, (text, reply) in enumerate(zip(texts, answers, strict=True))
        ]
        found = [verdict(reply.text, VERDICTS) for reply in judged]
        counts = {name: found.count(name) for name in VERDICTS}
        if counts["wrong"] == self.samples:
            return [New(conversation(question, at.random("refusal").choice(self.refusals)), answers[0], counts)]
        if counts["right"] == self.samples or (counts["right"] and self.mixed == "right"):
            right = answers[found.index("right")]
            return [New(conversation(question, right.text.strip()), right, counts)]
        raise Drop("some answers are right" if counts["right"] else "uninformative answers", question)
