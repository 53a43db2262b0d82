"""The `look` command: shows trained tokens, answers or a corpus, on the terminal, as JSON, SVG or HTML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.open_run import open_stage
from tutelage.cli.options import FILE, MODEL, TRAIN_ON

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.chat import TrainOn
    from tutelage.chat.token_page import Row

ROWS_ON_TERMINAL, ROWS_IN_PAGE = 3, 100
SPIKES, SHOWN_TEXT = 5, 200


@click.command(short_help="Show trained tokens, answers or a corpus.")
@click.argument("target", type=click.Path(path_type=Path), metavar="RUN[/STAGE]|FILE|CORPUS")
@click.option("--model", metavar=MODEL, help="For a file: the model to be fine-tuned on it.")
@click.option(
    "--train-on",
    type=TRAIN_ON,
    default="assistant",
    show_default=True,
    help="For a file: which tokens would be trained.",
)
@click.option("--step", default=1, show_default=True, metavar="NUMBER", help="For a stage: the training step to show.")
@click.option("--spikes", is_flag=True, help="For a stage: the rows of the steps at which the loss jumped.")
@click.option("--ask", multiple=True, metavar="TEXT", help="For a stage: show its answer to this; repeatable.")
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Maximum number of rows to show; default: 3, in a page 100.",
)
@click.option("--explain", is_flag=True, help="For a file: also why each row is rendered as it is, or refused.")
@click.option("--text", is_flag=True, help="Running text instead of a table.")
@click.option("--svg", type=FILE, metavar="FILE", help="Also save the output as a picture.")
@click.option("--html", type=FILE, metavar="FILE", help="Save a page instead of printing.")
@command
def look(
    target: Path,
    model: str | None,
    train_on: TrainOn,
    explain: bool,
    step: int,
    spikes: bool,
    ask: tuple[str, ...],
    rows: int | None,
    text: bool,
    svg: Path | None,
    html: Path | None,
    as_json: bool,
) -> Any:
    """Show tokens and loss weights: of a stage, those of a training step; of a file of conversations, with --model,
    those that would be trained. With --ask, show the answers of a stage with the probability of each token. Of a
    corpus, show what each step dropped."""

    from tutelage.io.hub import find_data_set

    if as_json and (svg or html):
        raise ValueError("--json prints data, and --svg and --html save a file; give one of them")
    if svg and html:
        raise ValueError("--svg saves the terminal output, and --html prints none; give one of the two")
    if explain and not target.is_file():
        raise ValueError("--explain is for the rows of a file; give a file of conversations, and --model")
    if (target / "curation.json").is_file():
        from tutelage.cli.curate import show_corpus

        return show_corpus(target, rows or ROWS_ON_TERMINAL, html, as_json)
    if spikes:
        return _spikes(target, rows or ROWS_ON_TERMINAL, bool(ask or text or svg or html or explain), as_json)
    console = new_console(record=svg is not None)
    count = rows or (ROWS_IN_PAGE if html else ROWS_ON_TERMINAL)
    if ask:
        title, lead, page, result = _answers(target, ask, console, shown=not (as_json or html))
    elif target.is_file() or model is not None:
        title, lead, page, result = _file(
            find_data_set(target), model, train_on, explain, count, text, console, shown=not (as_json or html)
        )
    else:
        title, lead, page, result = _step(target, step, count, text, console, shown=not (as_json or html))
    if svg:
        _save_picture(svg, f"tutelage look {title}", console)
    if html:
        _save_page(html, title, lead, page)
    return result


def _spikes(target: Path, count: int, other: bool, as_json: bool) -> Any:
    """The rows of the steps at which the loss of a stage jumped, those least like the rows around first."""
    from dataclasses import asdict

    from tutelage.report.read import column, read_log
    from tutelage.report.spikes import find_spikes
    from tutelage.stages.base import LOG
    from tutelage.stages.step_losses import model_before, unlike_rows

    if other:
        raise ValueError("--spikes prints the rows of steps; give no other option than --rows and --json with it")
    opened, name = open_stage(target.resolve())
    stage = opened.trained_stages().get(name)
    if stage is None:
        raise ValueError(f"stage {name} is an external checkpoint; it has no training steps")
    folder = opened.folder / name
    found = []
    for spike in find_spikes(*column(read_log(folder / LOG)[0], "loss"))[:SPIKES]:
        checkpoint, whose = model_before(folder, spike.step)
        losses = unlike_rows(stage, opened.context(name), spike.step, checkpoint)
        found.append({**asdict(spike), "model": whose, "rows": [asdict(row) for row in losses[:count]]})
        if not as_json:
            click.echo(f"step {spike.step:,}: loss {spike.loss:.3f}, {spike.usual:.3f} around it; rows under {whose}:")
            for row in losses[:count]:
                shown = row.text if len(row.text) <= SHOWN_TEXT else f"{row.text[:SHOWN_TEXT]}..."
                click.echo(f"    {row.nats_per_token:.2f} nats per token, {row.tokens:,} tokens: {shown!r}")
    if not found and not as_json:
        click.echo(f"the loss of {name} never jumped")
    return found


View = tuple[str, str, list["Row"], Any]


def _step(target: Path, step: int, count: int, text: bool, console: Console, shown: bool) -> View:
    from tutelage.stages.look import page_rows, rows_as_data, show_rows, step_batches

    opened, name = open_stage(target.resolve())
    stage = opened.trained_stages().get(name)
    if stage is None:
        raise ValueError(f"stage {name} is an external checkpoint; it has no training steps")
    micro, tokenizer = step_batches(stage, opened.context(name), step)
    if shown:
        show_rows(micro, tokenizer, count, text, console)
    title = f"{opened.folder.name}/{name}, step {step}"
    lead = "What this step trains on: packed segments exactly as the training loop gets them."
    return title, lead, page_rows(micro, tokenizer, count), rows_as_data(micro, tokenizer, count)


def _file(
    target: Path,
    model: str | None,
    train_on: TrainOn,
    explain: bool,
    count: int,
    text: bool,
    console: Console,
    shown: bool,
) -> View:
    from dataclasses import asdict

    from rich.text import Text

    from tutelage.chat.formats import FORMATS, find_format
    from tutelage.chat.token_page import rendered_row
    from tutelage.chat.token_view import explanation_view
    from tutelage.find_model import find_model
    from tutelage.io.data_files import describe_splits
    from tutelage.ledger import Ledger
    from tutelage.model.hub import load_chat_files
    from tutelage.records import ROLES
    from tutelage.stages.look import rendered_file, show_file

    if model is None:
        raise ValueError(f"the tokens of {target} depend on the model; give --model RUN/STAGE, or any model's folder")
    ledger = Ledger(f"{target}: rows of the file")
    folder = find_model(model)
    file = rendered_file(target, *load_chat_files(folder), count, train_on, ledger, explain)
    found, tokenizer = find_format(target), file.tokenizer
    if shown:
        if splits := describe_splits(target):
            console.print(splits, highlight=False, markup=False, soft_wrap=True)
        console.print(f"format: {found} ({FORMATS[found].fields})", highlight=False)
        for name, explanation in file.explained:
            console.print(explanation_view(name, explanation), highlight=False, soft_wrap=True)
        show_file(file.rendered, tokenizer, text or explain, console)
        for error in file.refused:
            console.print(f"refused: {error}", style="bold red", highlight=False)
            if text_of_error := getattr(error, "text", ""):
                console.print(Text(text_of_error, style="dim"))
        if ledger.rows_dropped or ledger.noted:
            console.print(ledger.table())
        rest = "" if file.first == file.count else "; --rows shows more"
        console.print(f"{file.counted()} of {target.name}{rest}", highlight=False)
    rows = [rendered_row(row, tokenizer, name) for name, row in file.rendered]
    data = [
        {
            "id": name,
            "tokens": [tokenizer.token_text(int(token)) for token in row.ids],
            "weights": row.weights.tolist(),
            "roles": [ROLES[role] for role in row.roles.tolist()],
            "notes": row.notes,
        }
        for name, row in file.rendered
    ]
    if explain:
        data = [
            {"id": name, **asdict(explanation), "examples": [row for row in data if row["id"] == name]}
            for name, explanation in file.explained
        ]
    what = f"What fine-tuning {folder.name} on {target.name} would train"
    lead = f"{what}: {file.counted()}; format: {found}; trained: {train_on}."
    return target.name, lead, rows, data


def _answers(target: Path, questions: tuple[str, ...], console: Console, shown: bool) -> View:
    from tutelage.engine.sampling import SamplingSettings
    from tutelage.evaluate.answers import can_chat
    from tutelage.model.hub import load_model
    from tutelage.stages.look import answer_rows, answers_as_data, show_answers

    opened, name = open_stage(target.resolve())
    checkpoint = load_model(opened.folder / name)
    if not can_chat(checkpoint):
        raise ValueError(f"{opened.folder / name} is a base model and cannot chat; give a fine-tuned stage")
    answers = answer_rows(checkpoint, questions, SamplingSettings())
    if shown:
        show_answers(answers, checkpoint.tokenizer, console)
    lead = "What the model wrote, shaded by the probability of each token: dark is high, pale is low."
    title = f"{opened.folder.name}/{name}, answers"
    rows = [answer.row(checkpoint.tokenizer) for answer in answers]
    return title, lead, rows, answers_as_data(answers, checkpoint.tokenizer)


def _save_picture(path: Path, title: str, console: Console) -> None:
    from tutelage.files import write_text

    picture = console.export_svg(title=title)
    # rich links a font on the network; the viewer's own monospaced font is good enough.
    write_text(path, re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL))


def _save_page(path: Path, title: str, lead: str, rows: list[Row]) -> None:
    from tutelage.chat.token_page import rows_page
    from tutelage.files import write_text

    write_text(path, rows_page(title, lead, rows))
    click.echo(f"page with {len(rows)} rows: {path}")
