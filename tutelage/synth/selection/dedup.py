"""One row of every cluster of near duplicates, the first."""

from __future__ import annotations

from tutelage.synth.near_rows import NearRows
from tutelage.synth.selection.candidates import Candidates, Decision, answers


def select(candidates: Candidates) -> Decision:
    """In the order of the file."""
    near, decision = NearRows(), Decision()
    for number, row in enumerate(candidates.rows):
        users = "\n".join(turn.text for turn in row.messages if turn.role == "user")
        texts = "\n".join(answers(row))
        found = near.find(users, texts)
        if found is not None:
            decision.dropped[number] = found[0]
        elif len(decision.kept) < candidates.keep:
            near.add(users, texts)
            decision.kept[number] = 1.0
    return decision
