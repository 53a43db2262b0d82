"""The `audit` command: findings on the terminal, as JSON and as a page, and the fixed file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE, MODEL, SHARE, TOO_LONG, TRAIN_ON

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.chat import TrainOn
    from tutelage.chat.audit import FixedFile, Report
    from tutelage.chat.audit.check import TooLong


@click.command(short_help="Check a file of conversations or preferences before training.")
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
@click.option("--against", type=FILE, multiple=True, metavar="FILE", help="A benchmark; repeatable.")
@click.option("--max-broken", type=SHARE, default=0.0, metavar="SHARE", help="As in tutelage sft.")
@click.option("--max-refused", type=SHARE, default=0.0, metavar="SHARE", help="As in tutelage sft.")
@click.option("--fix", type=FILE, metavar="FILE", help="Write the rows without fixable findings to FILE; audit it too.")
@click.option("--pii", is_flag=True, help="With --fix: replace personal data, names of people too, by placeholders.")
@click.option("--html", type=FILE, metavar="FILE", help="Also save the findings as a page, with examples.")
@command
def audit(data: Path, as_json: bool, **options: Any) -> Any:
    """Check a file of conversations or preferences before training. Exit status 1 if there is an error; with --fix, if
    there is one in the fixed file.
    """
    from tutelage.files import to_json
    from tutelage.io.hub import find_data_set

    report, ready = audit_and_show(find_data_set(data), as_json=as_json, **options)
    if not ready:
        if as_json:
            click.echo(to_json(report))
        sys.exit(1)
    return report


def audit_and_show(
    data: Path,
    model: str | None,
    train_on: TrainOn,
    context: int | None,
    too_long: TooLong,
    held_out: Path | None,
    against: tuple[Path, ...],
    max_broken: float,
    max_refused: float,
    fix: Path | None,
    pii: bool,
    html: Path | None,
    as_json: bool,
) -> tuple[dict[str, Any], bool]:
    """Audit a file, show or save the findings, and write the fixed file if asked for. Returns the report as plain data,
    and whether the file, or the fixed one, is ready for training."""

    from tutelage.chat.audit import audit_file, audit_preferences, fix_file
    from tutelage.chat.audit.page import report_page
    from tutelage.chat.formats import find_preference_format
    from tutelage.files import write_text
    from tutelage.io.data_files import describe_splits

    if model is None and context is not None:
        raise ValueError("--context counts a model's tokens; name the model: --model RUN/STAGE, or any model's folder")
    if pii and fix is None:
        raise ValueError("--pii replaces personal data in the fixed file; name it with --fix FILE")
    renderer, model_context = load_renderer(model) if model else (None, None)
    audit_path = partial(
        audit_file,
        renderer=renderer,
        context=context or model_context,
        train_on=train_on,
        held_out=held_out,
        against=against,
        too_long=too_long,
        max_broken=max_broken,
        max_refused=max_refused,
    )
    if preferences := find_preference_format(data):
        options = {"--model": model, "--fix": fix, "--against": against, "--context": context}
        if given := [name for name, value in options.items() if value]:
            raise ValueError(
                f"{data} holds preferences, and {given[0]} works on conversations only; the training verifies the "
                "tokens of every pair itself (tutelage dpo --max-refused)"
            )
        report = audit_preferences(data, preferences, held_out, max_broken)
    else:
        report = audit_path(data)
    fixed = fix_file(report, fix, pii) if fix and (pii or report.findings) else None
    fixed_report = audit_path(fixed.path) if fixed else report
    if html:
        write_text(html, report_page(report))
    if not as_json:
        if splits := describe_splits(data):
            click.echo(splits)
        print_report(report, new_console())
        if fixed:
            _print_fixed(fixed, fixed_report, new_console())
        elif fix:
            click.echo(f"nothing to fix: {fix} is not written")
        if html:
            click.echo(f"page with examples: {html}")
    output = report.to_dict()
    if fixed:
        output["fixed"] = {
            "path": fixed.path,
            "ledger": fixed.ledger.to_dict(),
            "ledger_path": fixed.ledger_path,
            "errors": len(fixed_report.errors),
            "findings": fixed_report.to_dict()["findings"],
        }
    return output, not fixed_report.errors


def load_renderer(model: str) -> tuple[Any, int]:
    """The renderer of a model, and the length of its context."""
    from tutelage.chat import chat_tokenizer, make_renderer
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_chat_files, load_config

    folder = find_model(model)
    tokenizer, source = load_chat_files(folder)
    return make_renderer(chat_tokenizer(tokenizer, source), source), load_config(folder).context


def _colour(report: Report) -> str:
    return "bold red" if report.errors else "bold green"


def print_report(report: Report, console: Console) -> None:
    """The findings as a table, the worst first, then their fixes and the figures of the whole file."""
    from rich.table import Table
    from rich.text import Text

    from tutelage.chat.audit.page import described

    console.print(f"{report.path}: {report.conversations:,} {report.noun}, format {report.format}", soft_wrap=True)
    if report.findings:
        table = Table(box=None, pad_edge=False)
        for heading, side in (
            ("", "left"),
            ("finding", "left"),
            ("count", "right"),
            ("share", "right"),
            ("example", "left"),
        ):
            table.add_column(heading, justify=side, overflow="fold")  # type: ignore[arg-type]
        for finding in report.findings:
            style = "bold red" if finding.level == "error" else "yellow"
            example = f"{finding.examples[0].place}: {finding.examples[0].excerpt[:120]}" if finding.examples else ""
            table.add_row(
                Text(finding.level, style),
                described(finding),
                f"{finding.count:,}",
                f"{finding.share:.1%}",
                example,
            )
        console.print(table)
        console.print("\nfixes", style="bold")
        for title, fix in dict.fromkeys((finding.title, finding.fix) for finding in report.findings):
            console.print(f"- {title}: {fix}", highlight=False, soft_wrap=True)
    console.print(f"\n{_figures(report)}", highlight=False, soft_wrap=True, markup=False)
    console.print(report.verdict, style=_colour(report))


def _figures(report: Report) -> str:
    """The profile in a few lines."""
    profile = report.profile
    if not report.conversations:
        return ""
    if report.noun == "preferences":
        return _preference_figures(profile)
    lines = [
        f"{profile['answers']:,} answers, {profile['characters.answers_share']:.0%} of the characters; answers per "
        f"conversation: median {profile['answers.characters.median']:,} characters, longest "
        f"{profile['answers.characters.longest']:,}",
        f"{profile['prompts.distinct']:,} distinct prompts in {profile['prompts.clusters']:,} clusters, as diverse as "
        f"{profile['prompts.effective_clusters']:,.0f} equally frequent clusters",
        f"languages (detected by {profile['languages.detected_by']}, {profile['languages.sample']} answers): "
        + ", ".join(f"{name} {share:.0%}" for name, share in list(profile["languages"].items())[:6]),
    ]
    if "tokens.longest" in profile:
        lines.append(
            f"{profile['tokens.total']:,} tokens, {profile['tokens.trained_share']:.0%} trained; tokens per "
            f"conversation: median {profile['tokens.median']:,}, 99th percentile {profile['tokens.p99']:,}, longest "
            f"{profile['tokens.longest']:,}"
        )
    return "\n".join(lines)


def _preference_figures(profile: Mapping[str, Any]) -> str:
    """The profile of preferences in a few lines."""
    kinds = ("pairs", "rankings", "labelled answers")
    counts = ", ".join(f"{profile[kind]:,} {kind}" for kind in kinds if profile[kind])
    lines = [
        f"{counts}; {profile['prompts.distinct']:,} distinct prompts, {profile['prompts.shared']:,} of them in several "
        "rows"
    ]
    if "longer_preferred.rate" in profile:
        rate, low, high = (profile[f"longer_preferred.{end}"] for end in ("rate", "low", "high"))
        better, worse = (profile[f"{side}.characters.median"] for side in ("better", "worse"))
        lines.append(
            f"the longer answer is preferred in {rate:.1%} of {profile['longer_preferred.count']:,} comparisons (95%: "
            f"{low:.1%} to {high:.1%}); median characters: better {better:,}, worse {worse:,}"
        )
        better, worse = (profile[f"{side}.flawed.share"] for side in ("better", "worse"))
        lines.append(f"cut off or otherwise flawed: better {better:.1%}, worse {worse:.1%}")
    if profile["rankings"]:
        lines.append(f"{profile['ties.share']:.1%} of the pairs of answers in rankings tie")
    if profile["labelled answers"]:
        lines.append(f"{profile['desirable.share']:.1%} of the labelled answers are desirable")
    return "\n".join(lines)


def _print_fixed(fixed: FixedFile, fixed_report: Report, console: Console) -> None:
    console.print(fixed.ledger.table())
    click.echo(f"written: {fixed.path}, and what was left out: {fixed.ledger_path}")
    console.print(f"Fixed file: {fixed_report.verdict}", style=_colour(fixed_report), soft_wrap=True)
    for finding in fixed_report.findings:
        console.print(f"- {finding.title}: {finding.count:,}", highlight=False, markup=False, soft_wrap=True)
