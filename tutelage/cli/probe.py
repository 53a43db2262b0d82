"""The `probe` command: what a model knows, and rows that teach it to refuse the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FILE, MODEL, SHARE

if TYPE_CHECKING:
    from tutelage.probing.probe import AnswerScorer, Probed


@click.command(short_help="Find what a model knows, and make refusals of the rest.")
@click.argument("model", metavar=MODEL)
@click.option("--questions", required=True, type=FILE, metavar="FILE",
              help="Rows with question and answer; the answer is null where nobody knows it.")  # fmt: skip
@click.option("--judge", default="verifier", show_default=True, metavar="exact|contains|numeric|...|URL",
              help="Compares answers: a verifier for all rows, the rows' own, or a model at an endpoint.")  # fmt: skip
@click.option("--judge-model", metavar="NAME", help="Model name of a judge at an endpoint.")
@click.option("--key-variable", metavar="NAME", help="The environment variable that holds the judge's API key.")
@click.option("--out", type=FILE, metavar="FILE.jsonl", help="The rows to write; needed but with --sets.")
@click.option("--sets", type=click.IntRange(1), metavar="N",
              help="Write no rows: only sort the questions, each asked after N drawn sets of examples.")  # fmt: skip
@click.option("--shots", type=click.IntRange(0), default=4, show_default=True, help="With --sets: examples in a set.")
@click.option("--map", "map_file", type=FILE, metavar="FILE.jsonl", help="Also write the class of every question.")
@click.option("--samples", type=click.IntRange(min=1), default=8, show_default=True, help="Answers to each question.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=0.7, show_default=True,
              help="Sampling temperature.")  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(min=1), default=96, show_default=True, help="Longest answer.")
@click.option("--recipe", type=click.Choice(["article", "llama3", "control"]), default="article", show_default=True,
              help="What is refused: never right; informative and always wrong; as much of what it knows.")  # fmt: skip
@click.option("--max-refused", type=SHARE, default=0.5, show_default=True, help="Highest share of refusals.")
@click.option("--answers", type=click.IntRange(min=1), default=1, show_default=True, help="Right answers kept of each.")
@click.option("--impossible", type=click.IntRange(min=0), default=0, show_default=True,
              help="Also ask this many questions that have no answer.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@command
def probe(
    model: str,
    questions: Path,
    judge: str,
    judge_model: str | None,
    key_variable: str | None,
    out: Path | None,
    sets: int | None,
    shots: int,
    map_file: Path | None,
    samples: int,
    temperature: float,
    max_tokens: int,
    recipe: Any,
    max_refused: float,
    answers: int,
    impossible: int,
    seed: int,
    as_json: bool,
) -> Any:
    """Ask a model each question several times, and write rows for fine-tuning: its own right answers, and refusals of
    what it does not know. Then: tutelage sft --data FILE.jsonl, with other conversations beside it. With --sets the
    questions are sorted and no rows are written; base models are asked too."""
    if sets is not None:
        _refuse_row_options()
        return _categorise(model, questions, sets, shots, samples, seed, as_json)
    if out is None:
        raise ValueError("say where the rows go with --out FILE.jsonl; or sort the questions alone with --sets 10")
    from tutelage.engine.sampling import SamplingSettings
    from tutelage.evaluate.answers import can_chat
    from tutelage.files import to_json, write_bytes
    from tutelage.find_model import find_model
    from tutelage.ledger import Ledger
    from tutelage.model.hub import load_model
    from tutelage.probing.calibration import calibration, class_counts
    from tutelage.probing.probe import probe as probe_questions
    from tutelage.probing.questions import impossible_questions, read_probe_questions
    from tutelage.probing.rows import probe_rows

    verifier, score = _answer_scorer(judge, judge_model, key_variable, out)
    asked = [*read_probe_questions(questions, verifier), *impossible_questions(impossible, seed)]
    folder = find_model(model)
    checkpoint = load_model(folder)
    if not can_chat(checkpoint):
        raise ValueError(f"{folder} is a base model and cannot chat; give a fine-tuned one")
    settings = SamplingSettings(temperature=temperature, max_tokens=max_tokens, seed=seed)
    probed = probe_questions(checkpoint, asked, samples, settings, score)
    ledger = Ledger("probe: questions to rows")
    rows = probe_rows(probed, recipe, max_refused, answers, seed, ledger)
    ledger.check()
    write_bytes(out, b"".join(to_json(row, indent=None) + b"\n" for row in rows))
    if map_file is not None:
        write_bytes(map_file, b"".join(to_json(_mapped(item), indent=None) + b"\n" for item in probed))
    refused = sum(row["meta"]["knowledge"] == "refused" for row in rows)
    summary = {**class_counts(probed), "calibration": calibration(probed), "rows": len(rows), "refused": refused}
    if not as_json:
        _print(summary, out)
    return {**summary, "ledgers": [ledger.to_dict()]}


_OF_SETS = ("model", "questions", "sets", "shots", "samples", "seed", "as_json", "debug")


def _refuse_row_options() -> None:
    """ValueError for an option that would do nothing with --sets."""
    context = click.get_current_context()
    for param in context.command.params:
        given = context.get_parameter_source(param.name or "") == click.core.ParameterSource.COMMANDLINE
        if given and param.name not in _OF_SETS:
            raise ValueError(f"{param.opts[0]} is for rows, which --sets does not write; leave one of them out")


def _categorise(
    model: str, questions: Path, sets: int, shots: int, samples: int, seed: int, as_json: bool
) -> dict[str, Any]:
    """The category of each question by the protocol of Gekhman et al. 2024."""
    from tutelage.evaluate.knowledge_categories import categorise, category_figures, category_lines
    from tutelage.evaluate.questions import read_questions
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model

    rows = read_questions(questions)
    known = categorise(load_model(find_model(model)), rows, sets, shots, samples, seed)
    found = {"model": model, "suite": questions, "sets": sets, "shots": shots, "samples": samples, "seed": seed}
    found |= category_figures(known)
    if not as_json:
        for line in category_lines(found):
            click.echo(line)
    return found


def _answer_scorer(
    judge: str, model: str | None, key_variable: str | None, out: Path
) -> tuple[str | None, AnswerScorer]:
    """The verifier of rows that have none, and what scores answers."""
    from tutelage.client import EndpointSettings
    from tutelage.probing.judge import judge_scorer
    from tutelage.probing.probe import score_by_verifiers
    from tutelage.scoring import make_verifier

    if "://" not in judge:
        if judge != "verifier":
            make_verifier(judge)  # raises before the model is asked
        return (None if judge == "verifier" else judge), score_by_verifiers
    if model is None:
        raise ValueError("--judge is an endpoint; say which of its models judges with --judge-model NAME")
    endpoint = EndpointSettings(url=judge, model=model, key_variable=key_variable)
    return None, judge_scorer(endpoint, out.with_suffix(".judged.jsonl"))


def _mapped(item: Probed) -> dict[str, Any]:
    _, confidence = item.most_common
    return {
        "id": item.question.id,
        "question": item.question.prompt.messages[-1].text,
        "knowledge": item.knowledge,
        "category": item.category,
        "confidence": confidence,
        "right": len(item.right) / len(item.sampled),
        "greedy": item.greedy.text,
    }


def _print(summary: dict[str, Any], out: Path) -> None:
    for name in ("classes", "categories"):
        click.echo(", ".join(f"{label}: {count:,}" for label, count in summary[name].items()))
    measured = summary["calibration"]
    if measured["questions"]:
        click.echo(
            f"expected calibration error over {measured['questions']:,} answers: {measured['expected_error']:.3f}"
        )
    click.echo(f"{summary['rows']:,} rows, {summary['refused']:,} of them refusals: {out}")
