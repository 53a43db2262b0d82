"""The audit verb: what is wrong with a file of conversations, on the terminal, as data and as a page, and the cure."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import speaks

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.chat.audit import Finding, Fixed, Report
    from tutelage.chat.audit.audit import Policy
    from tutelage.chat.render.native import TrainOn
    from tutelage.html import Html


def audit_and_show(
    data: Path,
    model: str | None,
    train_on: TrainOn,
    context: int | None,
    too_long: Policy,
    held_out: Path | None,
    against: tuple[Path, ...],
    max_broken: float,
    max_refused: float,
    fix: Path | None,
    html: Path | None,
    as_json: bool,
) -> tuple[dict[str, Any], bool]:
    """Audit a file, show or save what was found, and mend what can be mended; returns the report as data, and whether
    the file, or what was written in its place, may be trained on."""
    from rich.console import Console

    from tutelage.chat.audit import audit_file, fix_file
    from tutelage.files import write_text

    if model is None and context is not None:
        raise ValueError("--context counts a model's tokens; say which model: --model RUN/STAGE, or any model's folder")
    renderer, own_context = _renderer(model) if model else (None, None)
    examine = partial(
        audit_file,
        renderer=renderer,
        context=context or own_context,
        train_on=train_on,
        held_out=held_out,
        against=against,
        too_long=too_long,
        max_broken=max_broken,
        max_refused=max_refused,
    )
    report = examine(data)
    fixed = fix_file(report, fix) if fix and report.findings else None
    left = examine(fixed.path) if fixed else report
    if html:
        write_text(html, report_page(report))
    if not as_json:
        print_report(report, Console())
        if fixed:
            _print_fixed(fixed, left, Console())
        elif fix:
            click.echo(f"nothing to mend: {fix} is not written")
        if html:
            click.echo(f"with examples, for a browser: {html}")
    found = report.to_dict()
    if fixed:
        found["fixed"] = {
            "path": fixed.path,
            "ledger": fixed.ledger.to_dict(),
            "ledger_path": fixed.ledger_path,
            "errors": len(left.errors),
            "findings": left.to_dict()["findings"],
        }
    return found, not left.errors


def audit_before_training(data: Path, held_out: Path | None, max_broken: float, as_json: bool) -> None:
    """Look at the texts that a training is about to read, and whether they share any with the held-out ones; say in a
    line what is doubtful. What only the model can tell, training itself finds.

    Raises:
        ValueError: there is an error among the findings.
    """
    from tutelage.chat.audit import audit_file

    report = audit_file(data, held_out=held_out, max_broken=max_broken)
    command = f"tutelage audit {data}" if held_out is None else f"tutelage audit {data} --held-out {held_out}"
    if report.errors:
        named = ", ".join(f"{one.title} ({one.count:,})" for one in report.errors)
        raise ValueError(f"{data} must not be trained on as it is: {named}; to see them: {command}")
    if report.findings and not as_json and speaks():
        named = ", ".join(f"{one.title} ({one.count:,})" for one in report.findings)
        click.echo(f"{data}: {named}; to see them: {command}")


def _renderer(model: str) -> tuple[Any, int]:
    """What renders for a model, and the tokens it reads at once."""
    from tutelage import tokenizer as tokenizers
    from tutelage.chat.render.config import read_chat_config
    from tutelage.chat.render.hf import chat_tokenizer, make_renderer
    from tutelage.finetune import find_model
    from tutelage.model.hub import load_config

    folder = find_model(model)
    source = read_chat_config(folder)
    return make_renderer(chat_tokenizer(tokenizers.load(folder), source), source), load_config(folder).context


def verdict(report: Report) -> str:
    """One sentence on the whole."""
    errors, warnings = len(report.errors), len(report.findings) - len(report.errors)
    if errors:
        return f"Must not be trained on as it is: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}."
    return f"May be trained on: no error, {_counted(warnings, 'warning')}."


def _colour(report: Report) -> str:
    return "bold red" if report.errors else "bold green"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}" if count else f"no {noun}"


def _words(finding: Finding) -> str:
    return f"{finding.title} ({finding.detail})" if finding.detail else finding.title


def print_report(report: Report, console: Console) -> None:
    """The findings as a table, the worst first, then their cures and the figures of the whole."""
    from rich.markup import escape
    from rich.table import Table

    console.print(
        f"{escape(report.path)}: {report.conversations:,} conversations, format {report.format}", soft_wrap=True
    )
    if report.findings:
        table = Table(box=None, pad_edge=False)
        for heading, side in (
            ("", "left"),
            ("found", "left"),
            ("count", "right"),
            ("share", "right"),
            ("for instance", "left"),
        ):
            table.add_column(heading, justify=side, overflow="fold")  # type: ignore[arg-type]
        for one in report.findings:
            style = "bold red" if one.level == "error" else "yellow"
            example = f"{one.examples[0].place}: {one.examples[0].excerpt[:120]}" if one.examples else ""
            table.add_row(
                f"[{style}]{one.level}[/]", escape(_words(one)), f"{one.count:,}", f"{one.share:.1%}", escape(example)
            )
        console.print(table)
        console.print("\ncures", style="bold")
        for name in dict.fromkeys(one.name for one in report.findings):
            one = next(one for one in report.findings if one.name == name)
            console.print(f"- {escape(one.title)}: {escape(one.cure)}", highlight=False, soft_wrap=True)
    console.print(f"\n{_figures(report)}", highlight=False, soft_wrap=True, markup=False)
    console.print(verdict(report), style=_colour(report))


def _figures(report: Report) -> str:
    """The profile in a few lines."""
    of = report.profile
    if not report.conversations:
        return ""
    lines = [
        f"{of['answers']:,} answers, {of['characters.answers_share']:.0%} of the characters; half of the conversations "
        f"answer in at most {of['answers.characters.median']:,} characters, the longest in "
        f"{of['answers.characters.longest']:,}",
        f"{of['prompts.distinct']:,} different prompts of {of['prompts.kinds']:,} kinds, as diverse as "
        f"{of['prompts.effective']:,.0f} equally frequent kinds",
        f"languages (told by {of['languages.told_by']}, {of['languages.sample']} answers): "
        + ", ".join(f"{name} {share:.0%}" for name, share in list(of["languages"].items())[:6]),
    ]
    if "tokens.longest" in of:
        lines.append(
            f"{of['tokens.total']:,} tokens, {of['tokens.graded_share']:.0%} graded; half of the conversations have at "
            f"most {of['tokens.median']:,}, 99 of 100 at most {of['tokens.p99']:,}, the longest "
            f"{of['tokens.longest']:,}"
        )
    return "\n".join(lines)


def _print_fixed(fixed: Fixed, left: Report, console: Console) -> None:
    console.print(fixed.ledger.table())
    click.echo(f"written: {fixed.path}, and what was left out: {fixed.ledger_path}")
    console.print(f"What was written: {verdict(left)}", style=_colour(left), soft_wrap=True)
    for one in left.findings:
        console.print(f"- {one.title}: {one.count:,}", highlight=False, markup=False, soft_wrap=True)


def report_page(report: Report) -> str:
    """The audit as one HTML page: what was found, each with its cure and its examples, and the figures of the whole."""
    from tutelage.html import badge, page, section, table

    rows: list[list[str | Html]] = [
        [badge(one.level, "bad" if one.level == "error" else "warn"), _words(one), f"{one.count:,}", f"{one.share:.1%}"]
        for one in report.findings
    ]
    body = [section("Findings", table(["", "found", "count", "share"], rows, numeric=(2, 3)))] if rows else []
    body += [_finding_section(one) for one in report.findings]
    body.append(_profile_section(report))
    lead = f"{report.path}: {report.conversations:,} conversations, format {report.format}. {verdict(report)}"
    return page(f"Audit of {Path(report.path).name}", body, lead)


def _finding_section(one: Finding) -> Html:
    from tutelage.html import paragraph, section, table

    examples = table(["where", "what stands there"], [[e.place, e.excerpt] for e in one.examples])
    note = f"{one.level}, {one.count:,} ({one.share:.1%}){'; --fix leaves these out' if one.mends else ''}"
    title = f"{one.title}: {one.detail}" if one.name in ("broken row", "unprovable") else one.title
    return section(title[:1].upper() + title[1:], paragraph(one.cure), *([examples] if one.examples else []), note=note)


def _profile_section(report: Report) -> Html:
    from tutelage.html import section, table

    rows: list[list[str | Html]] = []
    for name, value in report.profile.items():
        if isinstance(value, dict):
            told = ", ".join(f"{key}: {_number(inner)}" for key, inner in value.items()) or "none"
            rows.append([name, told])
        else:
            rows.append([name, _number(value)])
    return section("Figures", table(["", ""], rows))


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if value > 1 else f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
