"""What was trained: real segments of a stage's first step, with their mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from tutelage.chat.token_page import packed_rows
from tutelage.html import Html, Token, heading, paragraph, section, tokens
from tutelage.model.hub import CONFIG
from tutelage.records import Batch
from tutelage.report.evaluation import last_of
from tutelage.report.read import Finished
from tutelage.runner import Run
from tutelage.stages.look import step_batches
from tutelage.tokenizer import Tokenizer

LONGEST = 400  # tokens of a segment that are shown


def trained_row(run: Run, stages: Mapping[str, Finished]) -> Html | None:
    """A conversation and a replayed text of the first step of the run's last fine-tuned stage, or a text of a base
    model; None where no stage is finished, the model it started from is missing, or it does not learn next tokens."""
    if not stages:
        return None
    name = last_of(stages).name
    stage, at = run.trained_stage(name), run.context(name)
    if stage.reads == "labelled":
        return None
    parent = stage.parent
    if not ((at.tokenizer if parent is None else at.folders[parent] / CONFIG).exists()):
        return None
    micro, tokenizer = step_batches(stage, at, 1)
    if not any(any(batch.shifts) for batch in micro):
        return None
    shown = _segments(micro, tokenizer)
    intro = (
        "These are the tokens of the first step as the training loop got them. The model reads all of them, and is "
        "trained to predict only the underlined ones, each from the tokens before it."
    )
    parts = [part for title, row in shown.items() for part in (heading(title), row)]
    return section("What was trained", paragraph(intro), *parts, note=f"Step 1 of {name}.")


def _segments(micro: list[Batch], tokenizer: Tokenizer) -> dict[str, Html]:
    """The longest conversation, and the longest text of which every token is trained, that are short enough to show."""
    longest: dict[str, tuple[Batch, slice]] = {}
    for batch in micro:
        for start, end in pairwise(np.cumsum([0, *batch.lengths]).tolist()):
            title = "A conversation" if batch.streams["roles"][start] else "A text, every token trained"
            best = longest[title][1] if title in longest else slice(0, 0)
            if title not in longest or best.stop - best.start < end - start <= LONGEST:
                longest[title] = batch, slice(start, end)
    return {title: tokens(_tokens(*place, tokenizer)) for title, place in sorted(longest.items())}


def _tokens(batch: Batch, at: slice, tokenizer: Tokenizer) -> Sequence[Token]:
    arrays = (batch.tokens_N, batch.labels_N, batch.weights_N, batch.streams["roles"])
    ids, labels, weights, roles = (array[at].numpy() for array in arrays)
    return packed_rows(ids, labels, weights, roles, (len(ids),), tokenizer)[0].tokens[:LONGEST]
