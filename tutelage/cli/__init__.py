"""The commands. Only arguments are read here; the work is imported when a command runs, so that help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tutelage import __version__
from tutelage.cli.command import Verbs, verb
from tutelage.cli.curate import curate
from tutelage.cli.diagnosing import diagnose_and_show
from tutelage.cli.finishing import end_at_the_gate, finish
from tutelage.cli.judge import judge
from tutelage.cli.opening import open_run, open_stage, refuse_unfinished
from tutelage.cli.options import FILE, FOLDER, MODEL, RECIPE, SETTINGS, SHARE, TOO_LONG, TRAIN_ON
from tutelage.cli.scorer import scorer
from tutelage.cli.sft import sft
from tutelage.cli.talking import talk


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Raise a language model from raw text to an assistant. `tutelage demo` goes the whole way on a built-in world;
    `tutelage VERB --help` says what a verb takes."""


main.add_command(sft)
main.add_command(curate)
main.add_command(judge)
main.add_command(scorer)


@main.command(short_help="Train and evaluate all that a recipe asks for.")
@RECIPE
@SETTINGS
@click.option("--only", metavar="STAGE", help="Run this stage alone; the stage it goes on from must be finished.")
@verb
def run(recipe: Path, settings: tuple[str, ...], only: str | None, as_json: bool) -> Any:
    """Run every stage of a recipe that is not finished, evaluate, and write DIR/summary.json and DIR/report.html.

    DIR is runs/NAME, by the recipe's name, unless out=DIR says otherwise. Anything else in the recipe can be set by its
    dotted name, as in stages.chat.epochs=2.
    """
    opened = open_run(recipe, settings)
    summary = finish(opened, only, as_json)
    end_at_the_gate(opened, summary, as_json)
    return summary


@main.command(short_help="The whole way on a built-in world, in minutes; then a chat.")
@SETTINGS
@verb
def demo(settings: tuple[str, ...], as_json: bool) -> Any:
    """Train a small model on a built-in world, fine-tune it and evaluate it, in minutes; then chat with it, where the
    command is given on a terminal. Written to runs/demo, unless out=DIR says otherwise."""
    from tutelage.config import recipes_folder

    opened = open_run(recipes_folder() / "demo.toml", settings)
    summary = finish(opened, None, as_json)
    last = opened.folder / list(opened.recipe.stages)[-1]
    if not as_json and sys.stdin.isatty():
        talk(str(last), temperature=0.0, seed=0)
    elif not as_json:
        click.echo(f"chat with it: tutelage chat {last}")
    end_at_the_gate(opened, summary, as_json)
    return summary


@main.command(short_help="What a recipe costs: tokens, time, memory. Runs nothing.")
@RECIPE
@SETTINGS
@verb
def plan(recipe: Path, settings: tuple[str, ...], as_json: bool) -> Any:
    """What a recipe costs: parameters, tokens, FLOPs, time and memory, and how much of it is done. Runs nothing."""
    from rich.console import Console

    from tutelage.plan import plan as make_plan
    from tutelage.report.terminal import print_plan

    result = make_plan(open_run(recipe, settings))
    if not as_json:
        print_plan(result, Console())
    return result


@main.command(short_help="Tokens as they are: what is trained, and what is answered.")
@click.argument("target", type=click.Path(path_type=Path), metavar="RUN[/STAGE]|FILE|CORPUS")
@click.option("--model", metavar=MODEL, help="For a file: the model that would be fine-tuned on it.")
@click.option(
    "--train-on",
    type=TRAIN_ON,
    default="assistant",
    show_default=True,
    help="For a file: which tokens would be trained.",
)
@click.option("--explain", is_flag=True, help="For a file: also why each row is rendered as it is, or refused.")
@click.option("--step", default=1, show_default=True, metavar="NUMBER", help="For a stage: the training step to show.")
@click.option("--ask", multiple=True, metavar="TEXT", help="For a stage: let it answer this; may be given many times.")
@click.option(
    "--rows", type=click.IntRange(min=1), metavar="COUNT", help="How many rows to show, at most; 3, and 100 in a page."
)
@click.option("--text", is_flag=True, help="Running text instead of a table.")
@click.option("--svg", type=FILE, metavar="FILE", help="Also save what is shown as a picture.")
@click.option("--html", type=FILE, metavar="FILE", help="Save a page for a browser, and show nothing here.")
@verb
def look(target: Path, as_json: bool, **options: Any) -> Any:
    """Tokens as they are: what a step of a stage trains on; with --model, what a file of conversations would train;
    with --ask, what a stage's model answers and how sure it was of each token. Of a corpus, what each step dropped."""
    from tutelage.cli.looking import look_at

    return look_at(target, as_json=as_json, **options)


@main.command(short_help="Check a file of conversations for faults.")
@click.argument("data", type=FILE, metavar="FILE")
@click.option("--model", metavar=MODEL, help="The model to be trained: also verifies and measures every row.")
@click.option("--train-on", type=TRAIN_ON, default="assistant", show_default=True, help="As in tutelage sft.")
@click.option(
    "--context", type=click.IntRange(min=1), metavar="TOKENS", help="Context length; default: the model's own."
)
@click.option(
    "--too-long",
    type=TOO_LONG,
    default="error",
    show_default=True,
    help="As in tutelage sft.",
)
@click.option("--held-out", type=FILE, metavar="FILE", help="Conversations that must not be in FILE.")
@click.option("--against", type=FILE, multiple=True, metavar="FILE", help="A benchmark; may be given several times.")
@click.option("--max-broken", type=SHARE, default=0.0, metavar="SHARE", help="As in tutelage sft.")
@click.option("--max-refused", type=SHARE, default=0.0, metavar="SHARE", help="As in tutelage sft.")
@click.option("--fix", type=FILE, metavar="FILE", help="Write the rows without fixable findings to FILE; audit it too.")
@click.option("--html", type=FILE, metavar="FILE", help="Also save the findings as a page, with examples.")
@verb
def audit(data: Path, as_json: bool, **options: Any) -> Any:
    """Check a file of conversations before training. Exit status 1 if there is an error; with --fix, if there is one in
    the fixed file.
    """
    from tutelage.cli.audit import audit_and_show
    from tutelage.files import to_json

    report, ready = audit_and_show(data, as_json=as_json, **options)
    if not ready:
        if as_json:
            click.echo(to_json(report))
        sys.exit(1)
    return report


@main.command(short_help="Two runs or stages side by side.")
@click.argument("first", type=FOLDER, metavar="RUN[/STAGE]")
@click.argument("second", type=FOLDER, metavar="RUN[/STAGE]")
@click.option("--html", type=FILE, metavar="FILE", help="Also save the comparison as a page.")
@verb
def compare(first: Path, second: Path, html: Path | None, as_json: bool) -> Any:
    """Two runs, or two stages, side by side. The second is called better or worse only where the 95% interval of the
    difference, question by question, leaves out zero."""
    from rich.console import Console

    from tutelage.files import write_text
    from tutelage.report.compare import compare as compare_runs
    from tutelage.report.compare_page import compare_page
    from tutelage.report.terminal import print_comparison

    comparison = compare_runs(first, second)
    if html is not None:
        write_text(html, compare_page(comparison))
    if not as_json:
        print_comparison(comparison, Console())
    return comparison


@main.command(short_help="Diagnose a run: symptom, cause, fix.")
@click.argument("target", type=FOLDER, metavar="RUN[/STAGE]")
@verb
def doctor(target: Path, as_json: bool) -> Any:
    """What is wrong with the finished stages of a run, from their own numbers: symptom, cause and fix, each with its
    evidence."""
    return diagnose_and_show(target, as_json)


@main.command(short_help="Published findings on fine-tuning, replicated.")
@click.argument("number", type=int, required=False)
@click.option("--quick", is_flag=True, help="A tiny model that learns nothing, to test that it runs.")
@click.option("--cache", type=FOLDER, metavar="DIR", help="Folder of finished stages (default runs/lab).")
@click.option(
    "--results",
    type=FOLDER,
    metavar="DIR",
    help="Folder of results; their page is DIR.md (default docs/lab, with --quick a folder in --cache).",
)
@verb
def lab(number: int | None, quick: bool, cache: Path | None, results: Path | None, as_json: bool) -> Any:
    """List the findings on fine-tuning and their verdicts. With a NUMBER, replicate that one (about 15 minutes)."""
    from rich.console import Console

    from tutelage.lab.run import CACHE, RESULTS, run_finding
    from tutelage.lab.terminal import overview, print_overview, print_result

    if number is None:
        rows = overview(results or RESULTS)
        if not as_json:
            print_overview(rows, Console())
        return rows
    result = run_finding(number, cache or CACHE, results, quick)
    if not as_json:
        print_result(result, Console())
    return result


@main.command(short_help="What a finished stage can do.")
@click.argument("folder", type=FOLDER, metavar="RUN[/STAGE]")
@click.option("--force", is_flag=True, help="Measure again what was measured before.")
@verb
def evaluate(folder: Path, force: bool, as_json: bool) -> Any:
    """What a finished stage can do: the evaluations that its recipe asks for. What was measured before is shown, the
    rest is measured."""
    from rich.console import Console

    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import diagnoses_section
    from tutelage.report.page import write_report
    from tutelage.report.terminal import print_summary

    opened, name = open_stage(folder)
    refuse_unfinished(opened, name)
    summary = opened.summarise(again=name if force else None)
    write_report(opened, [diagnoses_section(diagnose_run(opened))])
    if not as_json:
        print_summary(summary, Console())
    return {key: value for key, value in summary.items() if key.startswith(f"evaluate.{name}.")}


@main.command(short_help="Talk with a fine-tuned model.")
@click.argument("model", metavar=MODEL)
@click.option(
    "--temperature", default=0.0, show_default=True, help="0 always takes the likeliest token; higher ones draw."
)
@click.option("--seed", default=0, show_default=True, help="Another seed draws other answers.")
@verb
def chat(model: str, temperature: float, seed: int, as_json: bool) -> Any:
    """Talk with a fine-tuned model. With --json, messages are read a line each, and the replies come at the end."""
    return talk(model, temperature, seed, as_json)


@main.command(short_help="What LoRA trained, for other programs.")
@click.argument("model", metavar="RUN[/STAGE]|DIR")
@click.option("--merge", is_flag=True, help="The whole model: the base with what was trained merged into it.")
@click.option("--out", type=FOLDER, metavar="DIR", help="A new folder; RUN-adapter or RUN-merged beside the run.")
@verb
def export(model: str, merge: bool, out: Path | None, as_json: bool) -> Any:
    """What LoRA trained, as other programs load it: an adapter for peft, or with --merge a whole model."""
    from tutelage.cli.exporting import export_model

    return export_model(model, merge, out, as_json)
