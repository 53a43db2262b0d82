"""The `evaluate` command: the evaluation suites of a finished stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.contamination import CONTAMINATION, check_sources
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
@click.option(
    "--by",
    type=click.Choice(["answer", "likelihood"]),
    default="answer",
    show_default=True,
    help="With --suite: verify a generated answer, or take the likeliest of the choices.",
)
@click.option(
    "--form",
    type=click.Choice(["cloze", "letters"]),
    help="With --by likelihood: score the text of each choice, or its letter below a list (default cloze).",
)
@click.option("--shots", type=click.IntRange(0), metavar="N", help="With --by likelihood: examples before a question.")
@click.option("--chat", is_flag=True, help="With --by likelihood: ask in the model's chat template, not as plain text.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="With --by likelihood: a sample of the questions.")
@click.option(
    "--formats",
    is_flag=True,
    help="With --by likelihood: also the range of the score over a fixed set of prompt formats, and letter bias.",
)
@click.option("--seed", type=int, help="Seed of the sample and of the examples (default 0).")
@click.option(
    "--prompting",
    type=click.Choice(["zero-shot", "few-shot", "urial"]),
    help="With --suite: ask as plain text, so that base models answer too.",
)
@click.option("--rule-adapter", is_flag=True, help="With --prompting: three rules on the logits, without training.")
@CONTAMINATION
@command
def evaluate(
    model: str,
    force: bool,
    suite: Path | None,
    system: str | None,
    by: str,
    prompting: Any,
    rule_adapter: bool,
    contamination: Sequence[Path],
    as_json: bool,
    **choices: Any,
) -> Any:
    """Run the evaluation suites that the recipe names for a finished stage; existing results are reused. With --suite
    score a model on a file of questions and answers."""
    _check_options(suite, system, by, choices)
    if contamination and suite is None:
        raise ValueError("--contamination is for the questions of --suite FILE; add it")
    if prompting and (suite is None or by != "answer" or system is not None):
        raise ValueError("--prompting asks the questions of --suite FILE as plain text, without --system")
    if rule_adapter and not prompting:
        raise ValueError("--rule-adapter is for answers of a base model; add --prompting zero-shot")
    check_sources(contamination)
    if suite is not None and by == "likelihood":
        from tutelage.cli.evaluate_choices import evaluate_choices

        form: Any = choices["form"] or "cloze"
        shots, seed = choices["shots"] or 0, choices["seed"] or 0
        chat, limit, formats = choices["chat"], choices["limit"], choices["formats"]
        return evaluate_choices(model, suite, form, shots, limit, chat, formats, seed, contamination, as_json)
    if suite is not None and prompting:
        from tutelage.cli.evaluate_prompting import evaluate_prompting

        return evaluate_prompting(model, suite, prompting, rule_adapter, contamination, as_json)
    if suite is not None:
        return _evaluate_questions(model, suite, system, contamination, as_json)
    return _evaluate_stage(Path(model).resolve(), force, as_json)


def _check_options(suite: Path | None, system: str | None, by: str, choices: Mapping[str, Any]) -> None:
    """ValueError for an option that would do nothing."""
    given = [f"--{name}" for name, value in choices.items() if value not in (None, False)]
    if given and (suite is None or by != "likelihood"):
        raise ValueError(f"{given[0]} is for --suite FILE --by likelihood; add them, or leave it out")
    if by == "likelihood" and (suite is None or system is not None):
        raise ValueError("--by likelihood scores the choices of --suite FILE, without --system")
    if system is not None and suite is None:
        raise ValueError("--system is for the questions of --suite FILE; add it")


def _evaluate_questions(
    model: str, suite: Path, system: str | None, contamination: Sequence[Path], as_json: bool
) -> Any:
    """The rates of a model's answers, and every answer with its outcome."""
    from tutelage.cli.evaluate_prompting import question_result
    from tutelage.evaluate.answers import can_chat
    from tutelage.evaluate.questions import answer_questions, read_questions
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model

    questions = read_questions(suite)
    checkpoint = load_model(find_model(model))
    if not can_chat(checkpoint):
        raise ValueError(f"{model} is a base model and answers no questions; give a fine-tuned one")
    own = checkpoint.chat_config.settings.system if system is None else system
    answered = answer_questions(checkpoint, questions, own)
    return question_result({"model": model, "suite": suite, "system": own}, questions, answered, contamination, as_json)


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
