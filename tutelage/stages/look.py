"""What a stage really trains on: the packed rows of a step, exactly as the loop gets them."""

from __future__ import annotations

from itertools import islice
from typing import Any

from rich.console import Console

from tutelage.chat.look import packed_table, packed_text_view
from tutelage.records import ROLES, Batch
from tutelage.stages.prepare import Setting, prepare
from tutelage.stages.settings import TrainedStage
from tutelage.tokenizer import Tokenizer


def step_batches(stage: TrainedStage, at: Setting, step: int) -> tuple[list[Batch], Tokenizer]:
    """The micro-batches of step `step`, counted from 1, and the tokenizer to read them with.

    Raises:
        ValueError: the stage has fewer steps.
    """
    if step < 1:
        raise ValueError(f"step {step} does not exist; steps are counted from 1")
    prepared = prepare(stage, at)
    for micro, _ in islice(prepared.batches(stage), step - 1, step):
        return micro, prepared.checkpoint.tokenizer
    raise ValueError(f"stage {at.name} has fewer than {step} steps; choose an earlier one")


def _first_segments(batch: Batch, segments: int) -> tuple[slice, tuple[int, ...]]:
    lengths = batch.lengths[:segments]
    return slice(0, sum(lengths)), lengths


def show_rows(micro: list[Batch], tokenizer: Tokenizer, segments: int, as_text: bool, console: Console) -> None:
    """The first segments of every micro-batch as a coloured table, or as running text."""
    for number, batch in enumerate(micro, 1):
        part, lengths = _first_segments(batch, segments)
        tokens, labels, weights, roles = (
            column[part].numpy() for column in (batch.tokens_N, batch.labels_N, batch.weights_N, batch.streams["roles"])
        )
        console.print(
            f"micro-batch {number} of {len(micro)}: {len(batch.tokens_N):,} tokens in {len(batch.lengths)} segments, "
            f"{batch.count:,.0f} graded; the first {len(lengths)}:"
        )
        if as_text:
            console.print(packed_text_view(tokens, weights, roles, lengths, tokenizer))
        else:
            console.print(packed_table(tokens, labels, weights, roles, lengths, tokenizer))


def rows_as_data(micro: list[Batch], tokenizer: Tokenizer, segments: int) -> list[list[dict[str, Any]]]:
    """The first segments of every micro-batch as plain data, one table a position."""
    rows = []
    for batch in micro:
        part, lengths = _first_segments(batch, segments)
        segment_of = [number for number, length in enumerate(lengths) for _ in range(length)]
        columns = zip(
            segment_of,
            batch.positions_N[part].tolist(),
            batch.tokens_N[part].tolist(),
            batch.labels_N[part].tolist(),
            batch.weights_N[part].tolist(),
            batch.streams["roles"][part].tolist(),
            strict=True,
        )
        rows.append(
            [
                {
                    "segment": segment,
                    "position": position,
                    "token": tokenizer.token_text(token),
                    "label": tokenizer.token_text(label) if weight else None,
                    "weight": weight,
                    "label_role": ROLES[role],
                }
                for segment, position, token, label, weight, role in columns
            ]
        )
    return rows
