"""`evaluate --suite FILE --prompting WAY`: answers of a base model; and what both ways of asking print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.contamination import with_contamination

if TYPE_CHECKING:
    from tutelage.evaluate.prompting import Way
    from tutelage.evaluate.questions import Answered, Question


def evaluate_prompting(
    model: str, suite: Path, way: Way, rules: bool, contamination: Sequence[Path], as_json: bool
) -> Any:
    """The rates of a model's answers to plain prompts, and every answer with its outcome."""
    from tutelage.evaluate.prompting import SHOTS, answer_by_prompting
    from tutelage.evaluate.questions import read_questions
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model

    questions = read_questions(suite)
    answered = answer_by_prompting(load_model(find_model(model)), questions, way, rules)
    shots = f", {SHOTS} examples" if way == "few-shot" else ""
    name = f"plain text, {way}{shots}{', rule adapter' if rules else ''}"
    if not as_json:
        click.echo(name)
    return question_result(
        {"model": model, "suite": suite, "format": name}, questions, answered, None, contamination, as_json
    )


def question_result(
    opening: dict[str, Any],
    questions: Sequence[Question],
    answered: Sequence[Answered],
    ranged: Mapping[str, Any] | None,
    contamination: Sequence[Path],
    as_json: bool,
) -> Any:
    """The result of questions with answers after the fields of `opening`: rates, each item, the range over wordings
    where it was measured, and contamination."""
    from tutelage.evaluate.answer_formats import answer_range_lines
    from tutelage.evaluate.contamination import of_questions
    from tutelage.evaluate.questions import question_rates
    from tutelage.report.labels import format_ci, format_pct, rate_label

    rates = question_rates(answered)
    if not as_json:
        for one in answered:
            click.echo(f"{one.outcome}: {one.question.prompt.messages[-1].text}\n    {one.answer.strip()}")
        for name, rate in rates.items():
            click.echo(
                f"{rate_label(f'questions.{name}')}: {format_pct(rate.rate)} of {rate.count} ({format_ci(rate)})"
            )
        for line in ["format range not measured"] if ranged is None else answer_range_lines(ranged):
            click.echo(line)
    items = [{"id": one.question.id, "outcome": one.outcome, "answer": one.answer} for one in answered]
    result = {**opening, "rates": {name: asdict(rate) for name, rate in rates.items()}, "items": items}
    result["format_range"] = ranged
    right = {one.question.id: float(one.outcome == "right") for one in answered}
    return with_contamination(result, contamination, of_questions(questions), {"right": right}, as_json)
