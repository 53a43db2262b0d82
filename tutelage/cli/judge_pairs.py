"""The `judge-pairs` command: an LLM judge compares two models' answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.endpoint_options import ENDPOINT, endpoint_settings, request_fields
from tutelage.cli.fine_tune import with_options
from tutelage.cli.options import FILE


@click.command(name="judge-pairs", short_help="Compare two models' answers with an LLM judge.")
@click.argument("first", type=FILE, metavar="A.jsonl")
@click.argument("second", type=FILE, metavar="B.jsonl")
@click.option("--out", required=True, type=FILE, metavar="BATTLES.jsonl", help="The verdicts, for `tutelage arena`.")
@click.option("--names", nargs=2, metavar="A B", help="Names of the two models; default: the names of the files.")
@click.option(
    "--human", type=FILE, metavar="BATTLES", help="People's verdicts on the same prompts: how far does the judge agree?"
)
@click.option(
    "--questions", type=FILE, metavar="FILE", help="For answers in FastChat's form: the questions, as of MT-Bench."
)
@click.option("--reference", type=FILE, metavar="FILE", help="With --questions: reference answers for the judge.")
@with_options(ENDPOINT)
@command
def judge_pairs(
    first: Path,
    second: Path,
    out: Path,
    names: tuple[str, str] | None,
    human: Path | None,
    questions: Path | None,
    reference: Path | None,
    as_json: bool,
    **given: Any,
) -> Any:
    """Compare the answers of two models to the same prompts with an LLM judge at an OpenAI-compatible endpoint.

    Each pair is asked in both orders. Printed are the win rate of A, raw and at equal length, how often the verdict
    flips with the order, how often the first seat and the longer answer win, and what had no verdict. A row is
    {"prompt": ..., "answer": ...}; an `id` pairs rows, otherwise the prompt does. A `reference` answer is shown to the
    judge; questions of several turns are judged as a whole. Beside BATTLES.jsonl are the cached responses; rerun the
    same command to resume.
    """
    from tutelage.evaluate.judge_figures import figures, same_family
    from tutelage.evaluate.judge_pairs import REQUEST, read_answers, write_battles
    from tutelage.evaluate.judge_pairs import judge_pairs as judge
    from tutelage.evaluate.turns import read_turn_questions
    from tutelage.report.judge import figure_lines

    named = names or (first.stem, second.stem)
    if named[0] == named[1]:
        raise ValueError(f"both models are named '{named[0]}'; give --names A B")
    cache = out.with_suffix(".responses.jsonl")
    fields, endpoint = request_fields(REQUEST, given), endpoint_settings(given)
    if reference is not None and questions is None:
        raise ValueError("--reference is for the questions of --questions FILE; otherwise rows have their 'reference'")
    asked = None if questions is None else read_turn_questions(questions, reference)
    answers = [read_answers(path, asked) for path in (first, second)]
    judged, usage = judge(answers[0], answers[1], endpoint, cache, fields, named)
    write_battles(out, judged, named)
    found = {"names": list(named), "judge": given["model"], **figures(judged), "usage": usage}
    found["family"] = [name for name in named if same_family(given["model"], name)]
    if human is not None:
        found["human"] = _agreement(judged, human, named)
    if not as_json:
        for line in figure_lines(found):
            click.echo(line)
        click.echo(f"rate several models: tutelage arena {out}")
    return found


def _agreement(judged: Any, human: Path, names: tuple[str, str]) -> Any:
    """How far the judge agrees with people's battles of these two models."""
    from tutelage.evaluate.arena import prompt_shares
    from tutelage.evaluate.judge_figures import agreement_with_people

    return agreement_with_people(judged, prompt_shares(human, names))
