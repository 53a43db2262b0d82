"""s1: well-formed rows that the model does not always solve; a source at random, then a long trace (2501.19393)."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tutelage.synth.selection.candidates import Candidates, Decision
from tutelage.synth.selection.limo import trace


def select(candidates: Candidates) -> Decision:
    """Sources have equal chances. Within one, traces are ranked by length, and each next rank is half as likely."""
    rates, decision = candidates.successes(), Decision()
    pools: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(candidates.rows):
        if not trace(row).strip() or "![" in trace(row):
            decision.dropped[number] = "malformed"
        elif rates[number] == 1:
            decision.dropped[number] = "always solved"
        else:
            pools[candidates.sources[number]].append(number)
    lengths = np.array([len(trace(row).split()) for row in candidates.rows])
    ranked = {name: sorted(pool, key=lambda number: -lengths[number]) for name, pool in sorted(pools.items())}
    rng = candidates.random("s1")
    while ranked and len(decision.kept) < candidates.keep:
        pool = ranked[rng.choice(list(ranked))]
        rank = 0
        while rank + 1 < len(pool) and rng.randbelow(2):
            rank += 1
        number = pool.pop(rank)
        decision.kept[number] = float(lengths[number])
        ranked = {name: pool for name, pool in ranked.items() if pool}
    return decision
