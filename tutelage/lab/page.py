"""The lab's page in Markdown and its plots, generated from the result files alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from tutelage import __version__
from tutelage.files import write_text
from tutelage.html import Html, Interval, Series, interval_plot, line_plot, svg
from tutelage.lab.discussions import DISCUSSIONS, MODEL_DISCUSSIONS, NEEDS_SCALE
from tutelage.lab.finding import IntervalPlot, Plot, Table
from tutelage.lab.results import FindingResult, read_results
from tutelage.lab.verdict import Verdict
from tutelage.progress import duration
from tutelage.report.labels import format_count

INTRODUCTION = """\
# The lab

Published findings, replicated at small scale in the built-in world, where every fact is known.

- `tutelage lab` lists all findings. `tutelage lab NUMBER` runs one. `tutelage lab --all --hours 3` runs what fits.
- One rule makes every verdict (`tutelage/lab/verdict.py`). The effects are named before the run. An effect is shown if
  its 95% interval excludes 0, every seed has its sign, and it is large enough: 3 points of a rate, or 2% of a loss.
- **Reproduced**: all effects are shown. **Contradicted**: one is shown the other way. **Not at this scale**: neither.
- A control must show that the experiment works. Without it there is no verdict.
- Intervals are in brackets.
- Chance: guessing a fact is right in 3.1%, 1 of 32 values. The majority guess, the most frequent value of each
  attribute among the people who are asked about, is right in 6.7%.
- Some findings are measured on a published checkpoint too: `tutelage lab NUMBER --model DIR`. A checkpoint is one draw
  of weights: instead of seeds, disjoint thirds of the items must agree in sign. The cost is processor time.
- The cost is training time on one or two cores of a shared machine, with the base models.
- This page is generated from the result files. Findings that are missing here are not replicated yet.
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
    named = {name: plot for result in results for name, plot in pictures(result).items()}
    for result in results:
        for path in folder.glob(f"{result.stem.partition('-')[0]}-*.svg"):
            if path.name not in named:  # the finding no longer has this plot
                path.unlink()
    for name, plot in named.items():
        write_text(folder / name, svg(draw(plot)))
    page = folder.with_name(f"{folder.name}.md")
    write_text(page, page_text(results, folder.name))
    return page


def page_text(results: Sequence[FindingResult], folder: str) -> str:
    """The page in Markdown; the plots are in `folder` beside it."""
    overview = Table(["finding", "here", "published", "cost"], list(map(_overview_row, results)))
    trained = [result for result in results if not result.model]
    shown = {result.number for result in trained}
    summary = [f"{len(trained)} findings: {_verdicts(trained)}."]
    if on_models := [result for result in results if result.model]:
        summary.append(f"Measured on a published checkpoint: {_verdicts(on_models)}.")
    wanting = Table(
        ["claim", "what it needs"],
        [[f"{one.number}. {one.claim}", one.needs] for one in NEEDS_SCALE if one.number not in shown],
    )
    return "\n".join(
        [
            INTRODUCTION,
            " ".join(summary) + "\n",
            markdown_table(overview),
            *(_finding(result, folder) for result in results),
            "## What needs more scale\n",
            markdown_table(wanting),
        ]
    )


def _verdicts(results: Sequence[FindingResult]) -> str:
    counts = Counter(result.verdict for result in results)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict))


def _overview_row(result: FindingResult) -> list[str]:
    """A row of the table at the top: short enough that all can be read in two minutes."""
    here = [f"**{verdict_text(result)}**", *(str(effect.estimate) for effect in result.primary)]
    finding = f"[{result.title}](#{anchor(result.title)})<br>{result.claim}"
    return [finding, "<br>".join(here), first_sentence(result.published), _cost(result)]


def anchor(title: str) -> str:
    """The fragment under which GitHub links to a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def first_sentence(text: str) -> str:
    """The text up to the end of its first sentence."""
    return re.split(r"(?<=[.%])\s+(?=[A-Z])", text, maxsplit=1)[0]


def _cost(result: FindingResult) -> str:
    """What its training took, the base models included: time and tokens; on a checkpoint, the measurement."""
    if result.model:
        return f"{result.seconds / 60:.0f} min"
    tokens, seconds = (sum(getattr(stage, name) for stage in result.stages) for name in ("tokens", "seconds"))
    return f"{seconds / 60:.0f} min<br>{format_count(tokens)} tokens"


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
    discussions = MODEL_DISCUSSIONS if result.model else DISCUSSIONS
    note = [f"**Discussion.** {discussions[result.number]}\n"] if result.number in discussions else []
    return "\n".join(
        [
            f"{'###' if result.model else '##'} {result.title}\n",
            f"**Claim.** {result.claim}\n",
            f"**Published.** {result.published} ({result.source})\n",
            f"**Setup.** {result.setup} Command: `{result.command}`.\n",
            f"**Verdict: {verdict_text(result)}.** {result.reason}\n",
            *note,
            markdown_table(result.table),
            *plots,
            *([f"{_provenance(result)}\n"] if result.model else _stages_and_recipe(result)),
        ]
    )


def _stages_and_recipe(result: FindingResult) -> list[str]:
    return [
        "<details><summary>Stages and recipe</summary>\n",
        markdown_table(stage_table(result)),
        f"{_provenance(result)}\n",
        f"```toml\n{result.recipe.strip()}\n```\n",
        "</details>\n",
    ]


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
    if result.model:
        return f"{software}, {hardware}. The measurement took {duration(result.seconds)} of processor time."
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
