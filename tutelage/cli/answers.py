"""The `answers` command: a model's answers to a file of questions, for a judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FILE, MODEL


@click.command(short_help="Write a model's answers to questions, for judge-pairs.")
@click.argument("model", metavar=MODEL)
@click.argument("questions", type=FILE, metavar="QUESTIONS.jsonl")
@click.option("--out", required=True, type=FILE, metavar="ANSWERS.jsonl", help="The answers.")
@click.option("--reference", type=FILE, metavar="FILE", help="Reference answers in FastChat's form, for the judge.")
@click.option("--system", metavar="TEXT", help="System message; default: the one the model was trained with.")
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Longest answer to a turn.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0 = greedy.")
@click.option("--seed", default=0, show_default=True, help="Seed of the samples.")
@command
def answers(
    model: str,
    questions: Path,
    out: Path,
    reference: Path | None,
    system: str | None,
    max_tokens: int,
    temperature: float,
    seed: int,
    as_json: bool,
) -> Any:
    """Let a model answer questions of one or several turns, such as those of MT-Bench: rows {"question_id", "turns"} or
    {"prompt"}. Every turn is asked after the model's own answers to those before."""
    from tutelage.engine.sampling import SamplingSettings
    from tutelage.evaluate.answers import can_chat
    from tutelage.evaluate.turn_answers import answer_turns
    from tutelage.evaluate.turns import read_turn_questions
    from tutelage.files import to_json, write_bytes
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model

    asked = [*read_turn_questions(questions, reference).values()]
    checkpoint = load_model(find_model(model))
    if not can_chat(checkpoint):
        raise ValueError(f"{model} is a base model and answers no questions; give a fine-tuned one")
    opening = checkpoint.chat_config.settings.system if system is None else system
    longest = min(max_tokens, checkpoint.model.config.context // 2)
    settings = SamplingSettings(max_tokens=longest, temperature=temperature, seed=seed)
    rows = answer_turns(checkpoint, asked, settings, opening)
    write_bytes(out, b"".join(to_json({**row, "model": model}, indent=None, sort=False) + b"\n" for row in rows))
    cut = sum(row["cut"] for row in rows)
    if not as_json:
        click.echo(f"{len(rows):,} answers, {cut:,} cut at {longest:,} tokens: {out}")
    return {"model": model, "answers": len(rows), "cut": cut, "max_tokens": longest, "out": out}
