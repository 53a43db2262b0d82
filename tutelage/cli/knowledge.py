"""The `knowledge` command: which answers does a model know?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FILE, MODEL


@click.command(short_help="Sort questions by whether a model knows the answer.")
@click.argument("model", metavar=MODEL)
@click.argument("questions", type=FILE, metavar="QUESTIONS.jsonl")
@click.option("--sets", type=click.IntRange(1), default=10, show_default=True, help="Drawn sets of examples.")
@click.option("--shots", type=click.IntRange(0), default=4, show_default=True, help="Examples in a set.")
@click.option(
    "--samples", type=click.IntRange(1), default=16, show_default=True, help="Samples of each question in all."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the examples and samples.")
@command
def knowledge(model: str, questions: Path, sets: int, shots: int, samples: int, seed: int, as_json: bool) -> Any:
    """Sort questions with answers by whether a model knows them: highly, maybe or weakly known, or unknown. Each is
    asked as plain text after drawn examples from the file, greedily and with samples; base models are asked too."""
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
