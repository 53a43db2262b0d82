"""The `evaluate` command: the evaluation suites of a finished stage."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.open_run import check_finished, open_stage
from tutelage.cli.options import FILE, MODEL


@click.command(short_help="Evaluate a finished stage, or any model on your questions.")
@click.argument("model", metavar=MODEL)
@click.option("--force", is_flag=True, help="Repeat evaluations that have results.")
@click.option(
    "--suite", type=FILE, metavar="FILE", help="Questions with answers: score any model on them (docs/evaluation.md)."
)
@click.option(
    "--system", metavar="TEXT", help="With --suite: system message; default: the one the model was trained with."
)
@command
def evaluate(model: str, force: bool, suite: Path | None, system: str | None, as_json: bool) -> Any:
    """Run the evaluation suites that the recipe names for a finished stage; existing results are reused. With --suite
    score a model on a file of questions and answers."""
    if suite is not None:
        return _evaluate_questions(model, suite, system, as_json)
    if system is not None:
        raise ValueError("--system is for the questions of --suite FILE; add it")
    return _evaluate_stage(Path(model).resolve(), force, as_json)


def _evaluate_questions(model: str, suite: Path, system: str | None, as_json: bool) -> Any:
    """The rates of a model's answers, and every answer with its outcome."""
    from tutelage.evaluate.answers import can_chat
    from tutelage.evaluate.questions import answer_questions, question_rates, read_questions
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model
    from tutelage.report.labels import format_ci, format_pct, rate_label

    questions = read_questions(suite)
    checkpoint = load_model(find_model(model))
    if not can_chat(checkpoint):
        raise ValueError(f"{model} is a base model and answers no questions; give a fine-tuned one")
    own = checkpoint.chat_config.settings.system if system is None else system
    answered = answer_questions(checkpoint, questions, own)
    rates = question_rates(answered)
    if not as_json:
        for one in answered:
            click.echo(f"{one.outcome}: {one.question.prompt.messages[-1].text}\n    {one.answer.strip()}")
        for name, rate in rates.items():
            click.echo(
                f"{rate_label(f'questions.{name}')}: {format_pct(rate.rate)} of {rate.count} ({format_ci(rate)})"
            )
    items = [{"id": one.question.id, "outcome": one.outcome, "answer": one.answer} for one in answered]
    return {
        "model": model,
        "suite": suite,
        "system": own,
        "rates": {n: asdict(r) for n, r in rates.items()},
        "items": items,
    }


def _evaluate_stage(folder: Path, force: bool, as_json: bool) -> Any:
    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import diagnoses_section
    from tutelage.report.page import write_report
    from tutelage.report.terminal import print_summary

    opened, name = open_stage(folder)
    check_finished(opened, name)
    summary = opened.summarise(again=name if force else None)
    write_report(opened, [diagnoses_section(diagnose_run(opened))])
    if not as_json:
        print_summary(summary, new_console())
    return {key: value for key, value in summary.items() if key.startswith(f"evaluate.{name}.")}
