"""The lab's page in Markdown and its plots, generated from the result files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tutelage import __version__
from tutelage.files import write_text
from tutelage.html import Html, Interval, Series, interval_plot, line_plot, svg
from tutelage.lab.finding import IntervalPlot, Plot, Table
from tutelage.lab.results import FindingResult, read_results
from tutelage.progress import duration
from tutelage.report.labels import format_count

INTRODUCTION = """\
# The lab

Published findings, replicated at small scale in the built-in world, where every fact is known. One rule makes every
verdict (`tutelage/lab/verdict.py`). An effect, named before the run, is shown if its 95% interval excludes 0, every
seed has its sign, and it is at least 3 points of a rate or 2% of a loss. A finding is *reproduced* if its effects are
shown, *contradicted* if one is shown the other way, else *not at this scale*. No verdict stands without a control,
which shows that the experiment works. Intervals are in brackets. `tutelage lab` lists all findings; this page is
generated from their result files. The numbers are those of a longer list;
findings missing here are not replicated yet.
"""


def draw(plot: Plot) -> Html:
    """The markup of a plot."""
    if isinstance(plot, IntervalPlot):
        rows = [
            Interval(bar.label, bar.estimate.value, bar.estimate.low, bar.estimate.high, bar.group) for bar in plot.bars
        ]
        return interval_plot(rows, x_label=plot.x_label, title=plot.title)
    series = [
        Series(line.name, line.x, [e.value for e in line.y], [e.low for e in line.y], [e.high for e in line.y])
        for line in plot.lines
    ]
    counts = any(estimate.kind in ("mean", "number") for line in plot.lines for estimate in line.y)
    return line_plot(
        series, x_label=plot.x_label, y_label=plot.y_label, log_x=plot.log_x, percent=not counts, title=plot.title
    )


def pictures(result: FindingResult) -> dict[str, Plot]:
    """The plots of a result by file name."""
    if len(result.plots) == 1:
        return {f"{result.stem}.svg": result.plots[0]}
    return {f"{result.stem}-{number}.svg": plot for number, plot in enumerate(result.plots, 1)}


def write_page(folder: Path) -> Path:
    """Write the page of a folder of results beside it (docs/lab.md for docs/lab), and the plots into it."""
    results = read_results(folder)
    for result in results:
        names = pictures(result)
        for path in folder.glob(f"{result.stem.partition('-')[0]}-*.svg"):
            if path.name not in names:  # the finding no longer has this plot
                path.unlink()
        for name, plot in names.items():
            write_text(folder / name, svg(draw(plot)))
    page = folder.with_name(f"{folder.name}.md")
    write_text(page, page_text(results, folder.name))
    return page


def page_text(results: Sequence[FindingResult], folder: str) -> str:
    """The page in Markdown; the plots are in `folder` beside it."""
    overview = Table(
        ["finding", "claim", "verdict"], [[result.title, result.claim, verdict_text(result)] for result in results]
    )
    return "\n".join([INTRODUCTION, markdown_table(overview), *(_finding(result, folder) for result in results)])


def verdict_text(result: FindingResult) -> str:
    """The verdict, with a warning after a quick run, or where another version of Tutelage measured it."""
    notes = ["quick run: no evidence"] if result.quick else []
    notes += [f"stale: measured with version {result.version}"] if is_stale(result) else []
    return f"{result.verdict} ({'; '.join(notes)})" if notes else result.verdict


def is_stale(result: FindingResult) -> bool:
    """Whether another version measured the result: its training may differ, so it must be run again."""
    return result.version != __version__


def _finding(result: FindingResult, folder: str) -> str:
    plots = [f"![{plot.title}]({folder}/{name})\n" for name, plot in pictures(result).items()]
    return "\n".join(
        [
            f"## {result.title}\n",
            f"**Claim.** {result.claim}\n",
            f"**Published.** {result.published} ({result.source})\n",
            f"**Setup.** {result.setup} Command: `{result.command}`.\n",
            f"**Verdict: {verdict_text(result)}.** {result.reason}\n",
            markdown_table(result.table),
            *plots,
            "<details><summary>Stages and recipe</summary>\n",
            markdown_table(stage_table(result)),
            f"{_provenance(result)}\n",
            f"```toml\n{result.recipe.strip()}\n```\n",
            "</details>\n",
        ]
    )


def stage_table(result: FindingResult) -> Table:
    """The stages behind a result."""
    rows = [
        [
            stage.name,
            f"{stage.lr:.2g}",
            f"{stage.steps:,}",
            format_count(stage.tokens),
            format_count(stage.trained_tokens),
            duration(stage.seconds),
        ]
        for stage in result.stages
    ]
    return Table(["stage", "lr", "steps", "tokens", "trained tokens", "time"], rows)


def _provenance(result: FindingResult) -> str:
    machine = result.environment
    cores = f"{machine['cores']} cores, {machine['threads']} in use"
    software = f"Tutelage {result.version}, Python {machine['python']}, PyTorch {machine['torch']}"
    hardware = f"{machine['cpu']}, {cores}, on {machine['device']}"
    text = f"{software}, {hardware}. The command took {duration(result.seconds)}."
    return f"{text} {result.reused_stages} stages were finished already." if result.reused_stages else text


def markdown_table(table: Table) -> str:
    """A table in Markdown; columns of estimates are right-aligned."""
    is_estimate = [
        all(not isinstance(row[column], str) for row in table.rows) and bool(table.rows)
        for column in range(len(table.header))
    ]
    rule = ["---:" if right else "---" for right in is_estimate]
    rows: list[Sequence[object]] = [table.header, rule, *table.rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
