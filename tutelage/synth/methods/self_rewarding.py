"""Self-rewarding: a model scores its own answers by an additive rubric; best against worst (2401.10020)."""

from __future__ import annotations

from statistics import fmean
from typing import ClassVar

from tutelage.synth.labels import points_of
from tutelage.synth.method import Ask, At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.rows import as_text, pair, prompt_of

RUBRIC = """Score the answer with points that add up, one for each: it is relevant; it answers a good part of the \
question; it answers its basic elements in a useful way; it is written from an assistant's view, clear and complete; \
it is excellent, with nothing superfluous. Explain in at most 100 words, then end with one line "Score: N", N from 0 \
to 5."""


class SelfRewarding(Method, tag="self_rewarding", tag_field="kind", frozen=True, kw_only=True):
    """Compare own answers to prompts. answers: to a prompt; votes: scores of each, which are averaged. The teacher
    judges itself unless there is a model "judge"; what evaluates the result must be another."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "preferences"
    partial: ClassVar[bool] = True
    answers: int = 4
    votes: int = 3

    def steps(self, row: Row, at: At) -> Steps:
        prompt, sampling = tuple(prompt_of(row)), {"temperature": 0.7, "top_p": 0.9}
        replies = yield [Ask(prompt, "answer", sampling, sample, about=row) for sample in range(self.answers)]
        usable = [reply for reply in replies if not reply.drop]
        if len(usable) < 2:
            raise Drop("too few answers")
        shown = [
            f"{RUBRIC}\n\n<conversation>\n{as_text(prompt)}\n</conversation>\n\n<answer>\n{reply.text}\n</answer>"
            for reply in usable
        ]
        votes = yield [
            ask(text, "score", (row, reply.text), model="judge", sampling=sampling, sample=vote)
            for text, reply in zip(shown, usable, strict=True) for vote in range(self.votes)
        ]  # fmt: skip
        rated = []
        for number, reply in enumerate(usable):
            points = [
                points_of(vote.text) for vote in votes[number * self.votes : (number + 1) * self.votes] if not vote.drop
            ]
            given = [value for value in points if value is not None]
            if given:  # a score that was not given is no score, and never the worst one
                rated.append((fmean(given), reply))
        rated.sort(key=lambda item: -item[0])
        if len(rated) < 2 or rated[0][0] == rated[-1][0]:
            raise Drop("tie" if len(rated) > 1 else "no scores")
        best, worst = rated[0], rated[-1]
        verdicts = {
            "scores": [round(value, 2) for value, _ in rated],
            "words": [len(r.text.split()) for _, r in (best, worst)],
        }
        return [New(pair(prompt, best[1].text.strip(), worst[1].text.strip()), best[1], verdicts)]
