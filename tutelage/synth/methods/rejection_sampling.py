"""Rejection sampling: verified answers to prompts that are neither too easy nor too hard (Llama 3, 2407.21783)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tutelage.synth.method import Ask, At, Drop, Made, Method, New, Reply, Row, RowKind
from tutelage.synth.rows import prompt_of
from tutelage.synth.verify import VerifierName, outcome_of


class RejectionSampling(Method, tag="rejection_sampling", tag_field="kind", frozen=True, kw_only=True):
    """Keep right answers to prompts. verify: a verifier; samples: answers a prompt; keep: right and distinct ones that
    are kept; easy: keep prompts too whose answers are all right (section 4.2.2)."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "conversations"
    partial: ClassVar[bool] = True
    verify: VerifierName
    samples: int = 8
    keep: int = 1
    easy: bool = False

    def asks(self, row: Row, at: At) -> Sequence[Ask]:
        prompt, sampling = tuple(prompt_of(row)), {"temperature": 0.8}
        return [Ask(prompt, "answer", sampling, sample, about=row) for sample in range(self.samples)]

    def reads(self, row: Row, replies: list[Reply], at: At) -> Made:
        usable = [reply for reply in replies if not reply.drop]
        outcomes = [outcome_of(self.verify, row, reply.text) for reply in usable]
        voted = [(reply, outcome) for reply, outcome in zip(usable, outcomes, strict=True) if outcome != "timed out"]
        right = {reply.text.strip(): reply for reply, outcome in reversed(voted) if outcome == "right"}
        share = sum(outcome == "right" for _, outcome in voted) / max(len(voted), 1)
        if not right or (share == 1 and not self.easy):
            raise Drop(
                "all answers right" if right else "no right answer" if voted else "no verdict",
                usable[0].raw if usable else "",
            )
        turns = prompt_of(row)
        return [
            New({"messages": [*turns, {"role": "assistant", "content": text}]}, reply, {"right_share": round(share, 3)})
            for text, reply in list(right.items())[::-1][: self.keep]
        ]
