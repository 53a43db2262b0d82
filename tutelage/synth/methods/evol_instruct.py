"""Evol-Instruct: instructions made harder or rarer in rounds, with the paper's elimination (2304.12244, section 3)."""

from __future__ import annotations

import re
from typing import ClassVar

from tutelage.synth.method import Ask, At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.passages import without_preamble
from tutelage.synth.rows import conversation, question_of

DEPTH = (
    "adding one more constraint or requirement",
    "asking more deeply and broadly about the matter it is about",
    "replacing general concepts with more specific ones",
    "asking explicitly for several steps of reasoning",
    "complicating its input, such as data, code or a table",
)
EVOLVE = """Rewrite this prompt into one that is harder for an assistant, by {how}. Add only 10 to 20 words; a person \
must still understand it and be able to answer it. Reply with the new prompt alone."""
BREADTH = """Write a new prompt of the same domain, length and difficulty as this one, but rarer. Reply with it \
alone."""
EQUAL = """Do these two prompts ask for the same, with the same requirements, depth and breadth? End with one line, \
[[equal]] or [[different]]."""
LEAKED = re.compile(r"\b(given|new|rewritten|created) prompt\b|#", re.IGNORECASE)


class EvolInstruct(Method, tag="evol_instruct", tag_field="kind", frozen=True, kw_only=True):
    """Evolve prompts and answer them. rounds: of evolution; a prompt that fails one does not go on."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "conversations"
    partial: ClassVar[bool] = True
    rounds: int = 4

    def steps(self, row: Row, at: At) -> Steps:
        prompt, made, rng = question_of(row), list[New | Drop](), at.random("operation")
        for number in range(self.rounds):
            operation = rng.randbelow(len(DEPTH) + 1)
            text = EVOLVE.replace("{how}", DEPTH[operation]) if operation < len(DEPTH) else BREADTH
            [evolved] = yield [ask(f"{text}\n\n{prompt}", "evolve", (prompt, number), sampling={"temperature": 1.0})]
            if evolved.drop:
                made.append(evolved.drop)
                break
            new = without_preamble(evolved.text)
            question = f"{EQUAL}\n\nFirst: {prompt}\n\nSecond: {new}"
            [judged] = yield [ask(question, "equal", (prompt, new), model="judge", sampling={"temperature": 0})]
            [answer] = yield [
                Ask(({"role": "user", "content": new},), "answer", {"temperature": 1.0, "max_tokens": 2048})
            ]
            if cut := judged.drop or answer.drop:
                made.append(cut)
                break
            short = len(answer.text.split()) < 80 and "sorry" in answer.text.lower()
            if not judged.text.strip().endswith("[[different]]"):
                made.append(Drop("no gain", f"{prompt}\n-> {new}\n{judged.text}"))
            elif LEAKED.search(new):
                made.append(Drop("words of the request", new))
            elif short or not re.search(r"\w{4}", answer.text):
                made.append(Drop("no answer in it", answer.text))
            else:
                made.append(New(conversation(new, answer.text.strip()), answer, {"round": number + 1}))
                prompt = new
                continue
            break
        return made
