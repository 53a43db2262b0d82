"""`evaluate --suite FILE --by likelihood`: multiple choice without generating an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tutelage.evaluate.choice_items import ChoiceItem, Form
    from tutelage.evaluate.choices import ChoiceScore
    from tutelage.model.hub import Checkpoint


NOT_MEASURED = "format range not measured; --formats asks in several prompt formats"


def evaluate_choices(
    model: str,
    suite: Path,
    form: Form,
    shots: int,
    limit: int | None,
    chat: bool,
    formats: bool,
    seed: int,
    contamination: Sequence[Path],
    as_json: bool,
) -> Any:
    """The rates of the likeliest choices by each normaliser, and every question with its log-probabilities."""
    from tutelage.cli.contamination import with_contamination
    from tutelage.evaluate.answers import can_chat
    from tutelage.evaluate.choice_items import asked, read_choice_items, sample_items
    from tutelage.evaluate.choices import as_rows, choice_figures, choice_rates, score_choices
    from tutelage.evaluate.contamination import of_choices
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model
    from tutelage.report.labels import format_ci, format_pct

    items = read_choice_items(suite)
    chosen = sample_items(items, limit, seed)
    questions = [asked(item, form, items, shots, seed) for item in chosen]
    checkpoint = load_model(find_model(model))
    if chat and not can_chat(checkpoint):
        raise ValueError(f"{model} is a base model; leave --chat out")
    scores, too_long = score_choices(checkpoint, questions, chat)
    rates, figures = choice_rates(scores), choice_figures(scores, len(questions))
    name = f"{'chat' if chat else 'plain text'}, {form}, {shots} examples"
    if not as_json:
        for metric, rate in rates.items():
            click.echo(f"{metric}: {format_pct(rate.rate)} of {rate.count} ({format_ci(rate)}); {name}")
        if "majority" in figures:
            click.echo(f"always the most frequent number: {format_pct(figures['majority'])}")
        click.echo(f"loss of the right choice: {figures['right_nats_per_token']:.3f} nats per token")
        for metric, label in (
            ("too_long", "longer than the context, left out"),
            ("near_ties", "decided by less than 0.0001 nats"),
            ("straddling", "with a token that reaches over the border of question and choice"),
        ):
            if figures[metric]:
                click.echo(f"{label}: {figures[metric]:,} of {len(questions):,}")
    result = {
        "model": model,
        "suite": suite,
        "format": name,
        "rates": {metric: asdict(rate) for metric, rate in rates.items()},
        **figures,
        "too_long_ids": [one.item.id for one in too_long],
        "items": as_rows(scores),
    }
    result["format_range"] = _format_range(checkpoint, chosen, items, as_json) if formats else None
    if not formats and not as_json:
        click.echo(NOT_MEASURED)
    return with_contamination(result, contamination, of_choices(chosen), _outcomes(scores, rates), as_json)


def _outcomes(scores: Sequence[ChoiceScore], metrics: Iterable[str]) -> dict[str, dict[str, float]]:
    """Of each metric every item's outcome."""
    return {metric: {score.item.id: float(_is_right(score, metric)) for score in scores} for metric in metrics}


def _is_right(score: ChoiceScore, metric: str) -> bool:
    """Whether the right choice is the likeliest; of a single continuation whether every token is."""
    if len(score.logprob_C) == 1:
        return score.greedy_C is not None and bool(score.greedy_C[0])
    return score.picks()[metric] == score.item.gold


def _format_range(
    checkpoint: Checkpoint, items: Sequence[ChoiceItem], pool: Sequence[ChoiceItem], as_json: bool
) -> dict[str, Any]:
    from tutelage.evaluate.prompt_formats import format_range, range_lines

    found = format_range(checkpoint, items, pool)
    if not as_json:
        for line in range_lines(found):
            click.echo(line)
    return found
