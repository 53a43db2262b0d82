"""What was trained: real segments of a stage's first step, with their mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from tutelage.chat.token_page import packed_rows
from tutelage.html import Html, Token, heading, paragraph, section, tokens
from tutelage.model.hub import CONFIG
from tutelage.recipe import Run
from tutelage.records import Batch
from tutelage.report.abilities import last_of
from tutelage.report.read import Finished
from tutelage.stages.look import step_batches
from tutelage.stages.settings import PretrainedModel, parent_of
from tutelage.tokenizer import Tokenizer

LONGEST = 400  # tokens of a segment that are shown


def trained_row(run: Run, stages: Mapping[str, Finished]) -> Html | None:
    """A conversation of the first step of the run's last fine-tuned stage and a replayed text beside it, or a text of a
    base model; None where no stage is finished or the model it started from is gone."""
    if not stages:
        return None
    name = last_of(stages).name
    stage, at = run.recipe.stages[name], run.context(name)
    assert not isinstance(stage, PretrainedModel), "nothing was trained there, so it has not finished"
    parent = parent_of(stage)
    if not ((at.tokenizer if parent is None else at.folders[parent] / CONFIG).exists()):
        return None
    micro, tokenizer = step_batches(stage, at, 1)
    shown = _segments(micro, tokenizer)
    how = (
        "These are the tokens of the first step as the training loop got them. The model reads all of them, and learns "
        "to predict only those that are underlined: each from what stands before it."
    )
    parts = [part for title, row in shown.items() for part in (heading(title), row)]
    return section("What was trained", paragraph(how), *parts, note=f"Step 1 of {name}.")


def _segments(micro: list[Batch], tokenizer: Tokenizer) -> dict[str, Html]:
    """The longest conversation, and the longest text of which every token is trained, that are short enough to show."""
    found: dict[str, tuple[Batch, slice]] = {}
    for batch in micro:
        for start, end in pairwise(np.cumsum([0, *batch.lengths]).tolist()):
            title = "A conversation" if batch.streams["roles"][start] else "A text, every token trained"
            best = found[title][1] if title in found else slice(0, 0)
            if title not in found or best.stop - best.start < end - start <= LONGEST:
                found[title] = batch, slice(start, end)
    return {title: tokens(_tokens(*place, tokenizer)) for title, place in sorted(found.items())}


def _tokens(batch: Batch, at: slice, tokenizer: Tokenizer) -> Sequence[Token]:
    arrays = (batch.tokens_N, batch.labels_N, batch.weights_N, batch.streams["roles"])
    ids, labels, weights, roles = (array[at].numpy() for array in arrays)
    return packed_rows(ids, labels, weights, roles, (len(ids),), tokenizer)[0].tokens[:LONGEST]
