"""The `scaling` commands: fit scaling laws to points, train a ladder of small models, compare baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FILE, FOLDER, SETTINGS, split_out


@click.group(short_help="Scaling laws: fits, a ladder, baselines.")
def scaling() -> None:
    """Scaling laws of loss against parameters, tokens and compute."""


@scaling.command(name="fit", short_help="Fit scaling laws to a table of points or to finished runs.")
@click.argument("points", type=FILE, nargs=-1, required=True, metavar="POINTS.csv|RUN...")
@click.option(
    "--count",
    type=click.Choice(["matrices", "total", "no_embedding"]),
    help="What N counts; default: the first of these that the points have.",
)
@click.option(
    "--drop-lowest", type=click.IntRange(min=0), default=0, metavar="K", help="Leave out K points of the lowest D / N."
)
@click.option("--made", multiple=True, metavar="DATA", help="Of runs: a data set of made (synthetic) text.")
@click.option("--at", type=float, multiple=True, metavar="FLOPS", help="Show the compute-optimal model of this budget.")
@click.option("--model", "models", multiple=True, metavar="N:D", help="Predict the loss of N parameters on D tokens.")
@click.option("--bootstraps", type=click.IntRange(min=20), default=1000, show_default=True, help="Resamples.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the resamples.")
@click.option("--html", type=FILE, metavar="FILE", help="Also save the result as a page with plots.")
@command
def fit(
    points: tuple[Path, ...],
    count: Any,
    drop_lowest: int,
    made: tuple[str, ...],
    at: tuple[float, ...],
    models: tuple[str, ...],
    bootstraps: int,
    seed: int,
    html: Path | None,
    as_json: bool,
) -> Any:
    """Fit L(N, D) = E + A / N^alpha + B / D^beta, isoFLOP parabolas and the compute-efficient frontier, with 95%
    intervals. A table has the columns loss, tokens, and parameters_matrices, parameters_total, parameters_no_embedding
    or parameters; optional flops, budget, epochs, finished, made. Of a run, every stage of pre-training is a point."""
    from tutelage.files import write_text
    from tutelage.scaling.analysis import analyse
    from tutelage.scaling.lines import analysis_lines
    from tutelage.scaling.page import scaling_page
    from tutelage.scaling.points import drop_lowest_ratios, load_points

    asked = [parse_model(model) for model in models]
    if any(not budget > 0 for budget in at):
        raise ValueError(f"--at {min(at):g} is no budget; give FLOPs above 0, such as --at 1e21")
    analysis = analyse(drop_lowest_ratios(load_points(points, count, made), drop_lowest), bootstraps, seed)
    result = analysis.to_plain(at, asked)
    if html is not None:
        write_text(html, scaling_page(analysis, at, asked, ", ".join(path.name for path in points)))
    if not as_json:
        for line in analysis_lines(analysis, at, asked):
            click.echo(line)
        if html is not None:
            click.echo(f"page: {html}")
    return result


@scaling.command(name="ladder", short_help="Train a ladder of small models and fit scaling laws to it.")
@click.argument("file", type=FILE, metavar="LADDER.toml")
@SETTINGS
@click.option(
    "--hours", type=float, metavar="H", help="Stop before a training that would end later; default: train all."
)
@command
def ladder(file: Path, settings: tuple[str, ...], hours: float | None, as_json: bool) -> Any:
    """Train every model of a ladder that is not finished, cheapest first, then its baselines, and write DIR/points.csv,
    DIR/sweeps.csv and DIR/index.html. DIR defaults to runs/NAME. Run the same command again to resume."""
    from tutelage.scaling.climb import climb
    from tutelage.scaling.ladder import load_ladder
    from tutelage.scaling.ladder_result import ladder_lines, ladder_result

    overrides, out = split_out(settings)
    loaded = load_ladder(file, overrides)
    folder = out or Path("runs") / loaded.name
    left = climb(loaded, folder, hours)
    result = ladder_result(loaded, folder, left)
    if not as_json:
        for line in ladder_lines(result):
            click.echo(line)
    return result.to_plain()


@scaling.command(name="baselines", short_help="Compare a pre-trained stage with an LSTM and an n-gram model.")
@click.argument("stage", type=FOLDER, metavar="RUN[/STAGE]")
@click.option("--order", type=click.IntRange(2, 8), default=5, show_default=True, help="Order of the n-gram model.")
@click.option("--layers", type=click.IntRange(min=1), default=2, show_default=True, help="Layers of the LSTM.")
@click.option("--lr", type=float, default=3e-3, show_default=True, help="Peak learning rate of the LSTM.")
@click.option("--html", type=FILE, metavar="FILE", help="Also save the result as a page with a plot.")
@command
def baselines(stage: Path, order: int, layers: int, lr: float, html: Path | None, as_json: bool) -> Any:
    """Train an LSTM of as many parameters on the batches of a finished stage of pre-training, and an n-gram model with
    Kneser-Ney smoothing on its text. Shows the held-out loss of all three, also by position."""
    from tutelage.cli.open_run import check_finished, open_stage
    from tutelage.files import write_text
    from tutelage.scaling.baselines import compare_baselines, comparison, comparison_lines
    from tutelage.scaling.page import baselines_page

    run, name = open_stage(stage)
    check_finished(run, name)
    result = comparison(compare_baselines(run, name, order=order, layers=layers, lr=lr))
    if html is not None:
        write_text(html, baselines_page(result))
    if not as_json:
        for line in comparison_lines(result):
            click.echo(line)
    return result


def parse_model(text: str) -> tuple[float, float]:
    """Parameters and tokens of N:D; ValueError if they are no positive numbers."""
    try:
        parameters, tokens = (float(part) for part in text.split(":"))
    except ValueError:
        parameters = tokens = 0.0
    if not (parameters > 0 and tokens > 0):
        raise ValueError(f"--model {text} is no model; write parameters and tokens as N:D, such as --model 8e9:15e12")
    return parameters, tokens
