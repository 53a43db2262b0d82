"""Tokens to look at: the packed rows of a stage as the loop gets them, the rows of a file, a model's answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.chat import ChatConfig, Rendered, TrainOn, chat_tokenizer, make_renderer, read_conversations
from tutelage.chat.render.renderer import Explanation
from tutelage.chat.token_page import Row, generation_row, packed_rows
from tutelage.chat.token_view import packed_table, packed_text_view, token_table, token_text_view
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.top_logprobs import top_logprobs
from tutelage.evaluate.answers import Answer, ask
from tutelage.ledger import Ledger
from tutelage.model.hub import Checkpoint
from tutelage.model.transformer import Transformer
from tutelage.records import ROLES, Batch, Conversation, message
from tutelage.stages.base import StageContext
from tutelage.stages.train_stage import TrainStage, set_up
from tutelage.tokenizer import Tokenizer

ALTERNATIVES = 5
COUNTED = 100_000  # conversations of a file beyond those that are shown: a second or so, and enough to say "many"


def step_batches(stage: TrainStage, at: StageContext, step: int) -> tuple[list[Batch], Tokenizer]:
    """The micro-batches of step `step`, counted from 1, and the tokenizer to read them with.

    Raises:
        ValueError: the stage has fewer steps, or its labels are not tokens.
    """
    if stage.reads == "labelled":
        raise ValueError(f"stage {at.name} learns labels of texts, not tokens; read the files of its data")
    if step < 1:
        raise ValueError(f"step {step} does not exist; steps are counted from 1")
    setup = set_up(stage, at)
    for micro, _ in islice(setup.stream.batches(None, False), step - 1, step):
        return micro, setup.checkpoint.tokenizer
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
            f"{batch.count:,.0f} trained; the first {len(lengths)}:"
        )
        if as_text:
            console.print(packed_text_view(tokens, weights, roles, lengths, tokenizer))
        else:
            console.print(packed_table(tokens, labels, weights, roles, lengths, tokenizer))


def page_rows(micro: list[Batch], tokenizer: Tokenizer, segments: int) -> list[Row]:
    """The first segments of every micro-batch as rows of a page."""
    rows: list[Row] = []
    for batch in micro:
        part, lengths = _first_segments(batch, segments)
        columns = batch.tokens_N, batch.labels_N, batch.weights_N, batch.streams["roles"]
        tokens, labels, weights, roles = (column[part].numpy() for column in columns)
        rows += packed_rows(tokens, labels, weights, roles, lengths, tokenizer)
    return rows


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


@dataclass(frozen=True, eq=False)
class FileRows:
    """The first conversations of a file as a fine-tuning would train them, each with its name.

    refused:   why others of the first are none.
    first:     how many conversations those are, of how many the file has; `more` where they were not all counted.
    tokenizer: the model's, with the template's tokens.
    explained: how each of the first is rendered, where that is asked for.
    """

    rendered: list[tuple[str, Rendered]]
    refused: list[ValueError]
    first: int
    count: int
    more: bool
    tokenizer: Tokenizer
    explained: list[tuple[str, Explanation]]

    def counted(self) -> str:
        """How much of the file this is, in words."""
        return f"{self.first:,} of {'more than ' * self.more}{self.count:,} conversations"


def rendered_file(
    path: Path,
    tokenizer: Tokenizer,
    config: ChatConfig,
    count: int,
    train_on: TrainOn,
    ledger: Ledger,
    explain: bool = False,
) -> FileRows:
    """The first `count` conversations of a file. A row that is broken is passed over, and counted in the ledger."""
    extended = chat_tokenizer(tokenizer, config)
    renderer = make_renderer(extended, config)
    conversations = read_conversations(path, ledger, max_broken=1.0)
    rows = list(islice(conversations, count))
    total = len(rows) + sum(1 for _ in islice(conversations, COUNTED))
    more = total == len(rows) + COUNTED and next(conversations, None) is not None
    explained = [(row.id, renderer.explain(row, train_on)) for row in rows] if explain else []
    made = renderer.render_rows(rows, train_on)
    shown = [(row.id, one) for row, ones in zip(rows, made, strict=True) if isinstance(ones, list) for one in ones]
    refused = [one for one in made if isinstance(one, ValueError)]
    return FileRows(shown, refused, len(rows), total, more, extended, explained)


def show_file(rendered: Sequence[tuple[str, Rendered]], tokenizer: Tokenizer, as_text: bool, console: Console) -> None:
    """Conversations as coloured tables, or as running text."""
    for name, row in rendered:
        console.print(f"{name}: {len(row.ids):,} tokens, {float(row.weights.sum()):,.0f} trained", highlight=False)
        console.print(token_text_view(row, tokenizer) if as_text else token_table(row, tokenizer))
        for note in row.notes:
            console.print(f"noted: {note}", style="yellow", highlight=False)


@dataclass(frozen=True, eq=False)
class Shown:
    """An answer with what else the model might have written at every place, likeliest first."""

    question: str
    prompt: Rendered
    answer: Answer
    others: list[list[tuple[int, float]]]

    def row(self, tokenizer: Tokenizer) -> Row:
        """The answer as a row of a page."""
        written = self.answer.generation
        ended = {"finish reason": written.finish_reason}
        return generation_row(
            self.prompt,
            written.content,
            written.logprobs[: len(written.content)],
            self.others,
            tokenizer,
            self.question,
            ended,
        )


def answer_rows(checkpoint: Checkpoint, questions: Sequence[str], settings: SamplingSettings) -> list[Shown]:
    """A model's answers to questions of one user turn."""
    conversations = [Conversation((message("user", text),)) for text in questions]
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    prompts = renderer.render_prompts(conversations)
    answers = ask(checkpoint, conversations, settings, "answers", renderer)
    return [
        Shown(question, prompt, answer, _top_probabilities(checkpoint.model, prompt.ids, answer))
        for question, prompt, answer in zip(questions, prompts, answers, strict=True)
    ]


def _top_probabilities(model: Transformer, prompt: np.ndarray, answer: Answer) -> list[list[tuple[int, float]]]:
    positions = top_logprobs(model, prompt, answer.generation.content, ALTERNATIVES)
    return [[(token, math.exp(logprob)) for token, logprob in top] for top in positions]


def answers_as_data(answers: Sequence[Shown], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Answers as plain data, one table a token."""
    return [
        {
            "question": shown.question,
            "answer": shown.answer.text,
            "finish_reason": shown.answer.generation.finish_reason,
            "tokens": [
                {
                    "token": tokenizer.token_text(token),
                    "probability": math.exp(logprob),
                    "others": {tokenizer.token_text(other): share for other, share in others if other != token},
                }
                for token, logprob, others in zip(written.content, written.logprobs, shown.others, strict=False)
            ],
        }
        for shown in answers
        for written in [shown.answer.generation]  # `others` are of its content, without the stop token
    ]


def show_answers(answers: Sequence[Shown], tokenizer: Tokenizer, console: Console) -> None:
    """Answers as tables: each token, how sure the model was of it, and what else it might have written."""
    for answer in answers_as_data(answers, tokenizer):
        table = Table("token", "probability", "alternatives", title=answer["question"], title_justify="left")
        table.columns[0].overflow, table.columns[1].justify = "fold", "right"
        for place in answer["tokens"]:
            others = ", ".join(f"{token!r} {share:.0%}" for token, share in place["others"].items() if share >= 0.01)
            table.add_row(Text(repr(place["token"])), f"{place['probability']:.1%}", Text(others))
        console.print(table)
