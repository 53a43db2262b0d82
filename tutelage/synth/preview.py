"""The first questions of a synthesis, to read before anything is asked."""

from __future__ import annotations

from itertools import count, islice
from typing import Any

from tutelage.ledger import Ledger
from tutelage.synth.method import At, Row
from tutelage.synth.recipe import SynthRecipe
from tutelage.synth.replies import request_body
from tutelage.synth.rows import read_rows
from tutelage.world import World


def first_questions(recipe: SynthRecipe, items: int) -> list[dict[str, Any]]:
    """The first questions about each of the first items, of the first method: purpose, model, messages, sampling.

    Raises: as `read_rows`.
    """
    method = recipe.make
    assert recipe.input is not None
    rows: Any = read_rows(recipe.input, method.takes, Ledger("preview"), World(recipe.world), recipe.limit)
    seeds: list[Row] = []
    if method.draws:
        seeds = list(rows)
        rows = ({"id": str(number)} for number in count())
    found = []
    for number, row in enumerate(islice(rows, items)):
        for asked in next(method.steps(row, At(number, recipe.seed, seeds))):
            body = request_body(asked, method.sampling, recipe.seed)
            sampling = {name: value for name, value in body.items() if name != "messages"}
            found.append(
                {"purpose": asked.purpose, "model": asked.model, "messages": body["messages"], "sampling": sampling}
            )
    return found
