"""The `evaluate` command: the evaluation suites of a finished stage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.contamination import CONTAMINATION, check_sources
from tutelage.cli.open_run import check_finished, open_stage
from tutelage.cli.options import FILE, FOLDER, MODEL


@click.command(short_help="Evaluate a finished stage, or any model on benchmarks or your questions.")
@click.argument("model", metavar=MODEL)
@click.option("--force", is_flag=True, help="Repeat evaluations that have results.")
@click.option(
    "--suite",
    metavar="FILE|NAME,NAME",
    help="Questions with answers of your own, or published benchmarks by name, such as mmlu,gsm8k.",
)
@click.option("--data", type=FILE, metavar="FOLDER", help="The folder with the files of the benchmarks.")
@click.option(
    "--system", metavar="TEXT", help="With a FILE: system message; default: the one the model was trained with."
)
@click.option(
    "--by",
    type=click.Choice(["answer", "likelihood"]),
    help="Verify a written answer (default with a FILE), or take the likeliest choice (default of named sets).",
)
@click.option(
    "--form",
    type=click.Choice(["cloze", "letters"]),
    help="By likelihood: score the text of each choice, or its letter below a list.",
)
@click.option("--shots", type=click.IntRange(0), metavar="N", help="Examples before a question.")
@click.option(
    "--formats",
    is_flag=True,
    help="Also the range of the score over a fixed set of prompt formats; by likelihood letter bias too.",
)
@click.option(
    "--prompting",
    type=click.Choice(["zero-shot", "few-shot", "urial"]),
    help="With --suite: ask as plain text, so that base models answer too.",
)
@click.option("--rule-adapter", is_flag=True, help="With --prompting: three rules on the logits, without training.")
@CONTAMINATION
@click.option("--chat/--plain", default=None, help="Ask in the model's chat template, or as plain text.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="A stratified sample of the questions.")
@click.option("--budget-minutes", type=click.FloatRange(0, min_open=True), help="As many items as fit into this time.")
@click.option("--samples", type=click.IntRange(1), metavar="N", help="Answers to each prompt, for pass@k and maj@k.")
@click.option("--temperature", type=click.FloatRange(0), help="With --samples; default 0, or 0.8 with several.")
@click.option("--power", type=click.FloatRange(0, min_open=True), metavar="ALPHA",
              help="Power sampling: draw whole answers in proportion to this power of their probability.")  # fmt: skip
@click.option("--reward", metavar=MODEL, help="With --samples: a reward model that picks the best of them.")
@click.option(
    "--pmi", is_flag=True, default=None, help="Also score each choice against the choice without its question."
)
@click.option(
    "--think-tokens", metavar="N,N", help="Also end every thought after so many tokens: the score over their number."
)
@click.option("--think-at-least", metavar="N,N", help="Also prolong every thought to so many tokens with 'Wait'.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Limit of an answer.")
@click.option("--seed", type=int, help="Seed of samples and examples (default 0).")
@click.option("--out", type=FOLDER, metavar="DIR", help="Where results go; default: runs/evaluations/MODEL.")
@click.option("--inspect", type=FOLDER, metavar="DIR", help="Also write logs that inspect_ai reads into this folder.")
@click.option("--beside", type=FILE, metavar="DIR", help="Results of another model, to show its answers beside.")
@command
def evaluate(
    model: str,
    force: bool,
    suite: str | None,
    data: Path | None,
    system: str | None,
    by: str | None,
    prompting: Any,
    rule_adapter: bool,
    contamination: Sequence[Path],
    as_json: bool,
    **asked: Any,
) -> Any:
    """Run the evaluation suites that the recipe names for a finished stage; existing results are reused. With --suite
    score a model on a file of questions and answers, or on published benchmarks in a folder."""
    if suite is not None and _names_benchmarks(suite, data):
        of_files = {
            "--system": system,
            "--by likelihood": None if by == "answer" else by,
            "--force": force or None,
            "--prompting": prompting,
            "--rule-adapter": rule_adapter or None,
        }
        _refuse_options(of_files, "a FILE")
        check_sources(contamination)
        return _evaluate_benchmarks(model, suite, data, by == "answer", asked, contamination, as_json)
    by = by or "answer"
    _check_options(suite, data, system, by, asked)
    if contamination and suite is None:
        raise ValueError("--contamination is for the questions of --suite FILE; add it")
    if prompting and (suite is None or by != "answer" or system is not None or asked["formats"]):
        raise ValueError("--prompting asks the questions of --suite FILE as plain text, without --system or --formats")
    if rule_adapter and not prompting:
        raise ValueError("--rule-adapter is for answers of a base model; add --prompting zero-shot")
    check_sources(contamination)
    if suite is not None and by == "likelihood":
        from tutelage.cli.evaluate_choices import evaluate_choices

        form: Any = asked["form"] or "cloze"
        shots, seed = asked["shots"] or 0, asked["seed"] or 0
        chat, limit, formats = bool(asked["chat"]), asked["limit"], asked["formats"]
        return evaluate_choices(model, Path(suite), form, shots, limit, chat, formats, seed, contamination, as_json)
    if suite is not None and prompting:
        from tutelage.cli.evaluate_prompting import evaluate_prompting

        return evaluate_prompting(model, Path(suite), prompting, rule_adapter, contamination, as_json)
    if suite is not None:
        return _evaluate_questions(model, Path(suite), system, asked["formats"], contamination, as_json)
    return _evaluate_stage(Path(model).resolve(), force, as_json)


def _names_benchmarks(suite: str, data: Path | None) -> bool:
    """Whether --suite names benchmarks, and no file."""
    return data is not None or (
        not Path(suite).exists() and re.fullmatch(r"[a-z0-9_]+(,[a-z0-9_]+)*", suite) is not None
    )


def _evaluate_benchmarks(
    model: str,
    suite: str,
    data: Path | None,
    answered: bool,
    asked: Mapping[str, Any],
    contamination: Sequence[Path],
    as_json: bool,
) -> Any:
    from tutelage.cli.evaluate_benchmarks import evaluate_benchmarks
    from tutelage.evaluate.benchmarks.measured import AskSettings
    from tutelage.find_model import find_model

    if data is None:
        raise ValueError(
            f"there is no file {suite}; for benchmarks of that name add --data FOLDER, where their files are"
        )
    if answered and (asked["form"] or asked["pmi"]):
        raise ValueError("--form and --pmi score likelihoods; leave them out, or --by answer")
    samples, minutes = asked["samples"] or 1, asked["budget_minutes"]
    power, thinks_on = asked["power"], asked["think_at_least"]
    if power is not None and (asked["temperature"] is not None or asked["think_tokens"] or thinks_on):
        raise ValueError("--power draws whole answers; leave --temperature and the --think options out")
    temperature = asked["temperature"] if asked["temperature"] is not None else 0.8 if samples > 1 else 0.0
    if asked["reward"] is not None and samples == 1:
        raise ValueError("--reward picks the best of several answers; add --samples N")
    if samples > 1 and not temperature:
        raise ValueError("--samples of more than 1 need a --temperature above 0; else all are the same")
    settings = AskSettings(
        limit=asked["limit"],
        budget_seconds=None if minutes is None else 60 * minutes,
        shots=asked["shots"],
        form=asked["form"],
        chat=asked["chat"],
        max_tokens=asked["max_tokens"],
        samples=samples,
        temperature=temperature if power is None else 0.0,
        power=power,
        seed=asked["seed"] or 0,
        reward=None if asked["reward"] is None else str(find_model(asked["reward"])),
        by_answer=answered,
        pmi=bool(asked["pmi"]),
        think_tokens=_numbers("--think-tokens", asked["think_tokens"] or ""),
        think_at_least=_numbers("--think-at-least", thinks_on or ""),
    )
    names = [name for name in suite.split(",") if name]
    out, beside, logs, formats = asked["out"], asked["beside"], asked["inspect"], asked["formats"]
    return evaluate_benchmarks(model, names, data, settings, out, beside, logs, contamination, formats, as_json)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Numbers with commas between them. ValueError for another text."""
    if not re.fullmatch(r"([1-9]\d*(,[1-9]\d*)*)?", text):
        raise ValueError(f"{option} is {text!r}; it must be numbers from 1 on, such as 128,512")
    return tuple(int(part) for part in text.split(",") if part)


def _refuse_options(given: Mapping[str, Any], what: str) -> None:
    """ValueError for an option that would do nothing."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is for --suite with {what}; leave it out")


# Options of benchmarks that a file of questions has not.
_OF_BENCHMARKS = (
    "budget_minutes",
    "samples",
    "temperature",
    "power",
    "reward",
    "pmi",
    "think_tokens",
    "think_at_least",
    "max_tokens",
    "out",
    "inspect",
    "beside",
)


def _check_options(suite: str | None, data: Path | None, system: str | None, by: str, asked: Mapping[str, Any]) -> None:
    """ValueError for an option that would do nothing."""
    named = {f"--{name.replace('_', '-')}": asked[name] for name in _OF_BENCHMARKS}
    _refuse_options({**named, "--data": data}, "names of benchmarks")
    given = {name: value for name, value in asked.items() if value is not None and name not in _OF_BENCHMARKS}
    if given.pop("formats", False) and suite is None:
        raise ValueError("--formats is for --suite; add it, or leave it out")
    others = [f"--{name}" for name in given]
    if others and (suite is None or by != "likelihood"):
        raise ValueError(f"{others[0]} is for --suite FILE --by likelihood; add them, or leave it out")
    if by == "likelihood" and (suite is None or system is not None):
        raise ValueError("--by likelihood scores the choices of --suite FILE, without --system")
    if system is not None and suite is None:
        raise ValueError("--system is for the questions of --suite FILE; add it")


def _evaluate_questions(
    model: str, suite: Path, system: str | None, formats: bool, contamination: Sequence[Path], as_json: bool
) -> Any:
    """The rates of a model's answers, and every answer with its outcome."""
    from tutelage.cli.evaluate_prompting import question_result
    from tutelage.evaluate.answer_formats import answer_format_range
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
    ranged = answer_format_range(checkpoint, questions, own, answered) if formats else None
    opening = {"model": model, "suite": suite, "system": own}
    return question_result(opening, questions, answered, ranged, contamination, as_json)


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
