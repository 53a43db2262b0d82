"""The `identical` command: whether two servers write the same tokens, or two runs took the same steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, fail
from tutelage.cli.options import FILE, MODEL


@click.command(short_help="Check that two servers, or two runs, do the same.")
@click.argument("first", metavar="URL|RUN")
@click.argument("second", metavar="URL|RUN")
@click.option("--model", metavar=MODEL, help="Servers: the model's folder here, for its tokenizer.")
@click.option("--name", metavar="NAME", help="Servers: the model's name there; default: its folder's name.")
@click.option("--prompts", type=FILE, metavar="FILE", help="Servers: a text file, a prompt a line.")
@click.option("--max-tokens", type=click.IntRange(1), default=64, show_default=True, help="Servers: of each answer.")
@click.option("--tolerance", type=click.FloatRange(0), default=0.0, show_default=True, help="Runs: relative.")
@command
def identical(
    first: str,
    second: str,
    model: str | None,
    name: str | None,
    prompts: Path | None,
    max_tokens: int,
    tolerance: float,
    as_json: bool,
) -> Any:
    """Two servers of one model are asked the same prompts at temperature 0, and must answer with the same token ids:
    prefill and decode servers behind their proxy beside one server that does both. Of two runs of a recipe, every step
    must have the same figures: one that was killed and restarted beside one that was not. Exits 1 where they differ."""
    from tutelage.files import to_json

    servers = [given.startswith(("http://", "https://")) for given in (first, second)]
    if any(servers) and not all(servers):
        raise ValueError(f"{first} and {second} are a server and a folder; give two servers, or two runs")
    if all(servers):
        if model is None or prompts is None:
            raise ValueError("servers are compared with --model and --prompts; give both")
        found, compared = _servers((first, second), model, name, prompts, max_tokens)
    else:
        from tutelage.report.same_steps import different_steps

        differences = different_steps(Path(first), Path(second), tolerance)
        compared = "the steps of the two runs"
        found = [
            f"stage {stage}, step {step}: {figure} is {one} and {other}"
            for stage, step, figure, one, other in differences
        ]
    result = {"identical": not found, "differences": found}
    if found:
        if as_json:
            click.echo(to_json(result))
        more = "" if len(found) == 1 else f", and {len(found) - 1:,} more differences"
        fail(f"{compared} differ: {found[0]}{more}", 1, as_json)
    if not as_json:
        click.echo(f"{compared} are the same")
    return result


def _servers(
    urls: tuple[str, str], model: str, name: str | None, prompts: Path, max_tokens: int
) -> tuple[list[str], str]:
    from tutelage.client import Client, EndpointSettings
    from tutelage.engine.remote import RemoteEngine
    from tutelage.engine.same_tokens import different_answers
    from tutelage.files import read_text
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_config
    from tutelage.tokenizer import load

    folder = find_model(model)
    tokenizer, context = load(folder), load_config(folder).context
    texts = [line for line in read_text(prompts).splitlines() if line.strip()]
    if not texts:
        raise ValueError(f"{prompts} holds no prompt; give a text file with a prompt a line")
    clients = [Client(EndpointSettings(url=url, model=name or folder.name, attempts=3)) for url in urls]
    first, second = (RemoteEngine(client, tokenizer, context) for client in clients)
    differences = different_answers(first, second, [tokenizer.encode(text) for text in texts], max_tokens)
    found = [
        f"prompt {number + 1}, token {position + 1}: {one[:4]} and {other[:4]}"
        for number, position, one, other in differences
    ]
    return found, f"the answers to {len(texts):,} prompts"
