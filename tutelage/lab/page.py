"""The lab's page in Markdown, and its pictures, made of the records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tutelage.files import write_text
from tutelage.html import Html, Interval, Series, interval_plot, line_plot, svg
from tutelage.lab.finding import IntervalPlot, Plot, Table
from tutelage.lab.record import Record, read_records
from tutelage.progress import duration
from tutelage.report.labels import format_count

INTRODUCTION = """\
# The lab

Known findings on fine-tuning, tried again at small scale against the built-in world, where every fact is known. Each
ends with a verdict, which a rule fixed beforehand reads off the figures: *reproduced* or *contradicted* where the
intervals decide, else *not at this scale*. What stands in brackets is a 95% interval. `tutelage lab` lists all
findings; this page is made of their result files. The numbers are those of a longer list of findings: those that are
missing here have not been tried yet.
"""


def draw(plot: Plot) -> Html:
    """A plot's markup."""
    if isinstance(plot, IntervalPlot):
        rows = [
            Interval(bar.label, bar.estimate.value, bar.estimate.low, bar.estimate.high, bar.group) for bar in plot.bars
        ]
        return interval_plot(rows, x_label=plot.x_label, title=plot.title)
    series = [
        Series(line.name, line.x, [e.value for e in line.y], [e.low for e in line.y], [e.high for e in line.y])
        for line in plot.lines
    ]
    return line_plot(
        series, x_label=plot.x_label, y_label=plot.y_label, log_x=plot.log_x, percent=True, title=plot.title
    )


def pictures(record: Record) -> dict[str, Plot]:
    """The plots of a record by the names of their files."""
    if len(record.plots) == 1:
        return {f"{record.stem}.svg": record.plots[0]}
    return {f"{record.stem}-{number}.svg": plot for number, plot in enumerate(record.plots, 1)}


def write_page(folder: Path) -> Path:
    """Write the page of a folder of results beside it, docs/lab.md for docs/lab, and the pictures into it."""
    records = read_records(folder)
    for record in records:
        names = pictures(record)
        for path in folder.glob(f"{record.number:02d}-*.svg"):
            if path.name not in names:  # of a plot that the finding no longer has
                path.unlink()
        for name, plot in names.items():
            write_text(folder / name, svg(draw(plot)))
    page = folder.with_name(f"{folder.name}.md")
    write_text(page, page_text(records, folder.name))
    return page


def page_text(records: Sequence[Record], folder: str) -> str:
    """The page in Markdown; the pictures stand in `folder` beside it."""
    overview = Table(
        ["finding", "claim", "verdict"], [[record.title, record.claim, verdict_words(record)] for record in records]
    )
    return "\n".join([INTRODUCTION, markdown_table(overview), *(_finding(record, folder) for record in records)])


def verdict_words(record: Record) -> str:
    """The verdict, with a word of warning where the run was a quick one."""
    return f"{record.verdict} (quick run: no evidence)" if record.quick else record.verdict


def _finding(record: Record, folder: str) -> str:
    shown = [f"![{plot.title}]({folder}/{name})\n" for name, plot in pictures(record).items()]
    return "\n".join(
        [
            f"## {record.title}\n",
            f"**Claim.** {record.claim}\n",
            f"**Published.** {record.published} ({record.source})\n",
            f"**Here.** {record.setup} `{record.command}` makes it.\n",
            f"**Verdict: {verdict_words(record)}.** {record.why}\n",
            markdown_table(record.table),
            *shown,
            "<details><summary>What was trained, and the recipe</summary>\n",
            markdown_table(stage_table(record)),
            f"{_made_by(record)}\n",
            f"```toml\n{record.recipe.strip()}\n```\n",
            "</details>\n",
        ]
    )


def stage_table(record: Record) -> Table:
    """The stages behind a record's figures."""
    rows = [
        [
            of.name,
            f"{of.lr:.2g}",
            f"{of.steps:,}",
            format_count(of.tokens),
            format_count(of.trained_tokens),
            duration(of.seconds),
        ]
        for of in record.stages
    ]
    return Table(["stage", "rate", "steps", "tokens read", "trained tokens", "time"], rows)


def _made_by(record: Record) -> str:
    of = record.environment
    cores = f"{of['cores']} cores, {of['threads']} in use"
    place = f"Python {of['python']}, PyTorch {of['torch']}, {of['cpu']}, {cores}, on {of['device']}"
    again = f" Stages that were finished before: {record.reused}." if record.reused else ""
    return f"Tutelage {record.version}, {place}. The command took {duration(record.seconds)}.{again}"


def markdown_table(table: Table) -> str:
    """A table in Markdown; columns of figures stand right."""
    figures = [
        all(not isinstance(row[column], str) for row in table.rows) and bool(table.rows)
        for column in range(len(table.header))
    ]
    rule = ["---:" if right else "---" for right in figures]
    rows: list[Sequence[object]] = [table.header, rule, *table.rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
