"""The verbs. Only arguments are read here; the work is imported when a verb is called, so that help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tutelage import __version__
from tutelage.cli.command import verb
from tutelage.cli.diagnosing import diagnose_and_show, end_at_the_gate
from tutelage.cli.opening import open_run, open_stage
from tutelage.cli.talking import talk


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Raise a language model from raw text to an assistant."""


RECIPE = click.argument("recipe", type=click.Path(path_type=Path))
FILE = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, resolve_path=True)
TRAIN_ON = ["all", "last", "response-only", "everything"]
SETTINGS = click.argument("settings", nargs=-1, metavar="[out=DIR] [dotted.key=value ...]")


@main.command()
@RECIPE
@SETTINGS
@click.option("--only", metavar="STAGE", help="Run this stage alone; what it builds on must be finished.")
@verb
def run(recipe: Path, settings: tuple[str, ...], only: str | None, as_json: bool) -> Any:
    """Run every stage of RECIPE that is not finished, evaluate, and write DIR/summary.json (DIR: runs/NAME)."""
    opened = open_run(recipe, settings)
    summary = finish(opened, only, as_json)
    end_at_the_gate(opened, summary, as_json)
    return summary


def finish(opened: Any, only: str | None, as_json: bool) -> Any:
    """Run, write the report, and show the summary to a person."""
    from rich.console import Console

    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import diagnoses_section, print_diagnoses
    from tutelage.report.page import write_report
    from tutelage.report.terminal import print_summary

    summary = opened.run(only)
    diagnoses = diagnose_run(opened)
    report = write_report(opened, [diagnoses_section(diagnoses)])
    if not as_json:
        print_summary(summary, Console())
        print_diagnoses(diagnoses, Console())
        click.echo(f"the report, for a browser: {report}")
        click.echo(f"every figure: {opened.folder / 'summary.json'}")
    return summary


@main.command()
@SETTINGS
@verb
def demo(settings: tuple[str, ...], as_json: bool) -> Any:
    """The whole way on the built-in world; then offers a chat when a person is there."""
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


@main.command()
@RECIPE
@SETTINGS
@verb
def plan(recipe: Path, settings: tuple[str, ...], as_json: bool) -> Any:
    """What RECIPE costs: sizes, tokens, FLOPs, time and memory, and what is already done. Runs nothing."""
    from rich.console import Console

    from tutelage.plan import plan as make_plan
    from tutelage.report.terminal import print_plan

    result = make_plan(open_run(recipe, settings))
    if not as_json:
        print_plan(result, Console())
    return result


@main.command()
@RECIPE
@SETTINGS
@verb
def curate(recipe: Path, settings: tuple[str, ...], as_json: bool) -> Any:
    """Raw pages to clean training text, by the steps of RECIPE; goes on where it was stopped (DIR: corpora/NAME)."""
    from tutelage.cli.curating import curate_recipe

    return curate_recipe(recipe, settings, as_json)


@main.command()
@click.option("--model", required=True, metavar="DIR|OWNER/NAME", help="The model to start from; on the hub, or here.")
@click.option("--data", required=True, type=FILE, metavar="FILE", help="Conversations: JSON lines, JSON or Parquet.")
@click.option("--out", required=True, type=FOLDER, metavar="DIR", help="Where the run is written.")
@click.option(
    "--train-on",
    type=click.Choice(TRAIN_ON),
    default="all",
    show_default=True,
    help="What is graded: all answers, the last, answers without what they answer, or users' words too.",
)
@click.option(
    "--max-refused",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Go on though up to this share of the conversations cannot be proven with the model's template.",
)
@click.option(
    "--max-broken",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Go on though up to this share of the rows cannot be read; each is counted with its reason.",
)
@click.option(
    "--too-long",
    type=click.Choice(["error", "split", "drop"]),
    default="error",
    show_default=True,
    help="What becomes of a conversation longer than the model's context.",
)
@click.option(
    "--replay",
    metavar="[FILE=]SHARE",
    help="Share of the graded tokens that is text of the pre-training (a half where that text is known), or of FILE.",
)
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate; a third of the model's own.")
@click.option(
    "--lora",
    type=click.IntRange(min=1),
    metavar="RANK",
    help="Train matrices of this rank beside the weights (LoRA) and leave the weights as they are; 16 is usual.",
)
@click.option("--find-lr", is_flag=True, help="Find the learning rate by a short sweep over rates before training.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the data; 3, and more where rows are few.")
@click.option(
    "--max-forgetting",
    type=click.FloatRange(0),
    metavar="SHARE",
    help="Exit status 3 where the loss on the model's held-out text has surely risen by more, such as 0.1.",
)
@click.option("--seed", default=0, show_default=True)
@verb
def sft(
    model: str,
    data: Path,
    out: Path,
    train_on: Any,
    max_refused: float,
    max_broken: float,
    too_long: Any,
    replay: str | None,
    lr: float | None,
    lora: int | None,
    find_lr: bool,
    epochs: int | None,
    max_forgetting: float | None,
    seed: int,
    as_json: bool,
) -> Any:
    """Fine-tune a model on a file of conversations: every default is the safe one."""
    from tutelage.cli.auditing import audit_before_training
    from tutelage.finetune import finetune_recipe, publish, replay_of
    from tutelage.recipe import Run

    replay_file, share = (None, None) if replay is None else replay_of(replay)
    recipe = finetune_recipe(
        model,
        data,
        train_on=train_on,
        max_refused=max_refused,
        max_broken=max_broken,
        too_long=too_long,
        replay=share,
        replay_file=replay_file,
        max_forgetting=max_forgetting,
        lr=lr,
        lora=lora,
        find_lr=find_lr,
        epochs=epochs,
        seed=seed,
    )
    audit_before_training(data, max_broken, as_json)
    run = Run(recipe, out)
    summary = finish(run, None, as_json)
    publish(run)
    if not as_json:
        click.echo(f"chat with it: tutelage chat {out}")
    end_at_the_gate(run, summary, as_json)
    return summary


@main.command()
@click.argument("target", type=click.Path(path_type=Path), metavar="RUN/STAGE|FILE|CORPUS")
@click.option("--model", metavar="DIR|OWNER/NAME", help="For a file: the model that would be fine-tuned on it.")
@click.option("--train-on", type=click.Choice(TRAIN_ON), default="all", help="For a file: what is graded.")
@click.option("--step", default=1, show_default=True, help="For a stage: which optimizer step to show.")
@click.option("--ask", multiple=True, metavar="TEXT", help="For a stage: answer this, and show how sure it was.")
@click.option("--rows", type=click.IntRange(min=1), help="How many rows to show; 3, and 100 in a page.")
@click.option("--text", is_flag=True, help="Running text instead of a table.")
@click.option("--svg", type=FILE, help="Also save what is shown as a picture.")
@click.option("--html", type=FILE, help="Save a page to walk through with the keyboard instead.")
@verb
def look(target: Path, as_json: bool, **options: Any) -> Any:
    """Tokens as they are: what a stage trains on, what a file of conversations would train, what a model answers. Of a
    corpus, its funnel and what its steps dropped."""
    from tutelage.cli.looking import look_at

    return look_at(target, as_json=as_json, **options)


@main.command()
@click.argument("data", type=FILE, metavar="FILE")
@click.option("--model", metavar="DIR|OWNER/NAME", help="The model to be trained; it proves and measures each row.")
@click.option("--train-on", type=click.Choice(TRAIN_ON), default="all", show_default=True, help="What would be graded.")
@click.option("--context", type=click.IntRange(min=1), help="Tokens of the training's context; the model's own.")
@click.option("--too-long", type=click.Choice(["error", "split", "drop"]), default="error", show_default=True)
@click.option("--held-out", type=FILE, metavar="FILE", help="Conversations that FILE must share nothing with.")
@click.option("--against", type=FILE, multiple=True, metavar="FILE", help="An evaluation set; may be given many times.")
@click.option("--max-broken", type=click.FloatRange(0, 1), default=0.0, metavar="SHARE", help="As in tutelage sft.")
@click.option("--max-refused", type=click.FloatRange(0, 1), default=0.0, metavar="SHARE", help="As in tutelage sft.")
@click.option("--fix", type=FILE, metavar="FILE", help="Write what is left when the faulty rows are taken out.")
@click.option("--html", type=FILE, help="Also save the findings as a page, with examples.")
@verb
def audit(data: Path, as_json: bool, **options: Any) -> Any:
    """What is wrong with a file of conversations, before it is trained on; exit status 1 if it must not be."""
    from tutelage.cli.auditing import audit_and_show
    from tutelage.files import to_json

    found, good = audit_and_show(data, as_json=as_json, **options)
    if not good:
        if as_json:
            click.echo(to_json(found))
        sys.exit(1)
    return found


@main.command()
@click.argument("first", type=FOLDER, metavar="RUN[/STAGE]")
@click.argument("second", type=FOLDER, metavar="RUN[/STAGE]")
@click.option("--html", type=FILE, help="Also save the comparison as a page.")
@verb
def compare(first: Path, second: Path, html: Path | None, as_json: bool) -> Any:
    """Two runs, or two stages, side by side; "better" is said only where the paired interval says so."""
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


@main.command()
@click.argument("target", type=FOLDER, metavar="RUN[/STAGE]")
@verb
def doctor(target: Path, as_json: bool) -> Any:
    """What is wrong with a finished run, from its own numbers: symptom, cause and cure, each with its evidence."""
    return diagnose_and_show(target, as_json)


@main.command()
@click.argument("number", type=int, required=False)
@click.option("--quick", is_flag=True, help="In seconds, with a model that learns nothing: whether it runs at all.")
@click.option("--cache", type=FOLDER, metavar="DIR", help="Where finished stages are kept; runs/lab.")
@click.option("--results", type=FOLDER, metavar="DIR", help="Where results are written; docs/lab.")
@verb
def lab(number: int | None, quick: bool, cache: Path | None, results: Path | None, as_json: bool) -> Any:
    """The findings on fine-tuning that can be tried here; with a NUMBER tries one and says what came of it."""
    from rich.console import Console

    from tutelage.lab.run import CACHE, RESULTS, try_finding
    from tutelage.lab.terminal import overview, print_overview, print_record

    if number is None:
        rows = overview(results or RESULTS)
        if not as_json:
            print_overview(rows, Console())
        return rows
    record = try_finding(number, cache or CACHE, results, quick)
    if not as_json:
        print_record(record, Console())
    return record


STAGE_FOLDER = click.argument("folder", type=FOLDER, metavar="RUN/STAGE")


@main.command()
@STAGE_FOLDER
@verb
def evaluate(folder: Path, as_json: bool) -> Any:
    """Run the evaluations that the recipe asks for on a finished stage; those measured before are shown again."""
    from rich.console import Console

    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import diagnoses_section
    from tutelage.report.page import write_report
    from tutelage.report.terminal import print_summary

    opened, name = open_stage(folder)
    if opened.stage_done(name) is None:
        raise ValueError(f"stage {name} is not finished; run its recipe first")
    summary = opened.summarise()
    write_report(opened, [diagnoses_section(diagnose_run(opened))])
    if not as_json:
        print_summary(summary, Console())
    return {key: value for key, value in summary.items() if key.startswith(f"evaluate.{name}.")}


@main.command()
@click.argument("model", metavar="RUN[/STAGE]|DIR|OWNER/NAME")
@click.option("--temperature", default=0.0, show_default=True, help="0 takes the most likely token.")
@click.option("--seed", default=0, show_default=True)
@verb
def chat(model: str, temperature: float, seed: int, as_json: bool) -> Any:
    """Talk with a fine-tuned model. With --json messages are read a line each and the replies come at the end."""
    return talk(model, temperature, seed, as_json)


@main.command()
@click.argument("model", metavar="RUN[/STAGE]|DIR")
@click.option("--merge", is_flag=True, help="The whole model: the base with what was trained merged into it.")
@click.option("--out", type=FOLDER, metavar="DIR", help="Where it is written; beside the run.")
@verb
def export(model: str, merge: bool, out: Path | None, as_json: bool) -> Any:
    """What a LoRA run trained, as other programs load it: an adapter for peft, or with --merge a model for all."""
    from tutelage.cli.exporting import export_model

    return export_model(model, merge, out, as_json)
