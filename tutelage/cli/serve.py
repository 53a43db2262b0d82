"""The `serve` command: models behind an OpenAI-compatible API, with a chat page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FILE, FOLDER, MODEL

if TYPE_CHECKING:
    from tutelage.tools.tool import Tool


@click.command(short_help="Serve models: an OpenAI-compatible API and a chat page.")
@click.argument("models", metavar=f"{MODEL} ...", nargs=-1, required=True)
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar=MODEL,
    help="Adapter of one of the models, served as a model of its own.",
)
@click.option("--int8", is_flag=True, help="Multiply with 8-bit weights: faster on a CPU, slightly less exact.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 = any free one.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Also answer to this Host header; * = to any.")
@click.option("--api-key-file", type=FILE, help="File with the key that clients must send; or set TUTELAGE_API_KEY.")
@click.option("--max-queue", type=click.IntRange(min=1), default=64, show_default=True, help="Most waiting answers.")
@click.option("--max-rows", type=click.IntRange(min=1), default=16, show_default=True, help="Most answers at once.")
@click.option("--pages", type=click.IntRange(min=2), help="Size of the key-value cache in pages of 16 tokens.")
@click.option("--speculate", metavar="ngram|MODEL", help="Guess tokens, from earlier text or by a smaller model.")
@click.option("--weights-from", type=FOLDER, metavar="DIR",
              help="A trainer that has the key may replace weights by files below DIR (POST /v1/weights).")  # fmt: skip
@click.option("--drain", type=click.FloatRange(min=0), default=30.0, show_default=True,
              help="Seconds that running answers may take after SIGTERM.")  # fmt: skip
@click.option("--tools", metavar="TOOL,...", help="Tools of the page: search=FOLDER, calculator, python, FILE.py ...")
@click.option("--unsafe-sandbox", is_flag=True, help="Run Python with your rights where there is no sandbox.")
@command
def serve(
    models: tuple[str, ...],
    adapters: tuple[str, ...],
    int8: bool,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    api_key_file: Path | None,
    max_queue: int,
    max_rows: int,
    pages: int | None,
    speculate: str | None,
    weights_from: Path | None,
    drain: float,
    tools: str | None,
    unsafe_sandbox: bool,
    as_json: bool,
) -> Any:
    """Serve one or several models at http://127.0.0.1:8000: a chat page at /, the API of OpenAI at /v1. A model's name
    is the end of its path: `runs/a/chat` is "chat"; NAME=PATH gives another."""
    from tutelage.serve.start import load_models, server_modules

    server = server_modules()
    settings = server.ServeSettings(
        host=host, port=port, allow_hosts=allow_host, api_key=server.read_api_key(api_key_file), max_queue=max_queue,
        drain_seconds=drain, engine=server.EngineSettings(max_rows=max_rows, pages=pages, chunk_tokens=256, int8=int8),
        speculate=speculate, weights_from=None if weights_from is None else str(weights_from),
    )  # fmt: skip
    server.check_network(settings)
    server.weights_folder(settings)
    usable = _open_tools(tools, models, unsafe_sandbox)
    with server.listen(host, port) as listener:
        served = load_models(models, settings, adapters, lambda sentence: click.echo(sentence, err=True))
        address = f"http://{host}:{listener.getsockname()[1]}"
        click.echo(f"serving {', '.join(served)} at {address} (chat page at /, API at /v1)", err=True)
        server.serve(served, settings, listener, usable)
    return {"address": address, "models": list(served)}


def _open_tools(names: str | None, models: tuple[str, ...], unsafe: bool) -> list[Tool]:
    """The tools of --tools. `search` alone searches the built-in world of the first model's run."""
    from tutelage.cli.open_run import world_search_of
    from tutelage.find_model import find_model
    from tutelage.tools.open_tools import open_tools

    if not names:
        return []
    return open_tools(names, world_search_of(find_model(models[0].partition("=")[2] or models[0])), unsafe=unsafe)
