"""MGA: a document retold for several genres and audiences, kept where a judge finds its facts in it (2502.04235)."""

from __future__ import annotations

from typing import ClassVar

from tutelage.config import Settings
from tutelage.synth.method import At, Drop, Method, New, Row, RowKind, Steps, Unparsable, ask
from tutelage.synth.parse import json_value, score
from tutelage.synth.passages import without_preamble

PAIRS = """Name {n} pairs of a genre and an audience for whom the text below could be retold, each unlike the others. \
Reply with a JSON list only: [{"genre": "...", "audience": "..."}]"""
JUDGE = """Does text B keep the facts of text A? It may leave out and rearrange, and must be worded differently. 1: \
it invents or contradicts; 2: hardly related; 3: same facts, some lost; 4: faithful and new in form; 5: faithful and \
complete. A copy of A is 1. End with one line "Score: N"."""


class Pair(Settings, frozen=True, kw_only=True):
    """Whom a text is retold for."""

    genre: str
    audience: str


class Mga(Method, tag="mga", tag_field="kind", frozen=True, kw_only=True):
    """Retell documents. pairs: of genre and audience; least: the score from which a text is kept."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "documents"
    partial: ClassVar[bool] = True
    pairs: int = 5
    least: float = 3.0

    def steps(self, row: Row, at: At) -> Steps:
        text = f"<text>\n{row['text']}\n</text>"
        [listed] = yield [ask(f"{PAIRS.replace('{n}', str(self.pairs))}\n\n{text}", "pairs", self.pairs)]
        if listed.drop:
            raise listed.drop
        wanted = [f"{pair.genre}, for {pair.audience}" for pair in json_value(listed.text, list[Pair])[: self.pairs]]
        told = yield [
            ask(f"Retell this text as {way}. Give only the new text.\n\n{text}", "rewrite", row) for way in wanted
        ]
        judged = yield [
            ask(f"{JUDGE}\n\nA:\n{row['text']}\n\nB:\n{reply.text}", "consistency", (row, reply.text), model="judge",
                sampling={"temperature": 0}) for reply in told
        ]  # fmt: skip
        made: list[New | Drop] = []
        for way, reply, judge in zip(wanted, told, judged, strict=True):
            try:
                if drop := reply.drop or judge.drop:
                    raise drop
                points = score(judge.text, 1, 5)
                verdicts = {"consistency": points, "for": way}
                kept = points >= self.least
                made.append(
                    New({"text": without_preamble(reply.text)}, reply, verdicts)
                    if kept
                    else Drop("inconsistent", reply.text)
                )
            except Drop as drop:
                made.append(Drop("no verdict", drop.raw) if isinstance(drop, Unparsable) else drop)
        return made
