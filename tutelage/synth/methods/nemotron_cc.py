"""Nemotron-CC's five rephrasings of a document (2412.02595; the released pipelines of NeMo Curator)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tutelage.synth.method import Ask, At, Made, Method, New, Reply, Row, RowKind, Unparsable, ask, each
from tutelage.synth.passages import without_preamble

TASKS = {
    "wikipedia": "Rewrite the text in high quality English like the sentences of Wikipedia.",
    "distill": "Make the text concise: keep all facts and numbers, leave out what carries none, explain nothing new.",
    "extract_knowledge": "Extract the knowledge of the text as a passage of a textbook; leave out all else.",
    "knowledge_list": 'List the facts, concepts and numbers of the text, each in a line that begins with "- ".',
    "diverse_qa": "Ask up to 8 questions about the text: yes/no, open, multiple choice, comparison and others. "
    'Write each as a line "Question: ..." and a line "Answer: ...".',
}
TOKENS_A_PAIR, MOST_A_PAIR = 150, 10


class NemotronCc(Method, tag="nemotron_cc", tag_field="kind", frozen=True, kw_only=True):
    """Rephrase documents in five ways. tasks: of TASKS."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "documents"
    partial: ClassVar[bool] = True
    tasks: tuple[str, ...] = tuple(TASKS)

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        sampling = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 1024}
        return [
            ask(
                f"{TASKS[task]} Output only that.\n\n<text>\n{row['text']}\n</text>",
                f"nemotron {task}",
                row,
                sampling=sampling,
            )
            for task in self.tasks
        ]

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        return each(replies, lambda reply: self._row(row, reply, at))

    def _row(self, row: Row, reply: Reply, at: At) -> New:
        task, text = reply.ask.purpose.removeprefix("nemotron "), without_preamble(reply.text)
        if task == "diverse_qa":
            pairs = [f"Question: {pair.strip()}" for pair in text.split("Question:")[1:] if "\nAnswer:" in pair]
            if not pairs:
                raise Unparsable("it has no pair of question and answer", reply.raw)
            most = max(1, MOST_A_PAIR * len(row["text"].split()) // TOKENS_A_PAIR)
            rng = at.random("pairs")
            text = "\n\n".join([row["text"], *rng.shuffled(pairs)[: 1 + rng.randbelow(most)]])
        elif task == "knowledge_list" and not all(line.startswith("- ") for line in text.splitlines() if line.strip()):
            raise Unparsable("it is no list", reply.raw)
        return New({"text": text}, reply, {"task": task})
