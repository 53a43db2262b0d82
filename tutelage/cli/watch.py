"""The `watch` command: the report of runs while they train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE, FOLDER


@click.command(short_help="Watch runs while they train, in the browser or the terminal.")
@click.argument("runs", type=FOLDER, metavar="RUN ...", nargs=-1, required=True)
@click.option("--text", is_flag=True, help="A table in the terminal in place of a page; once where it is no terminal.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8001, show_default=True, help="Port; 0 = any free one.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Also answer to this Host header; * = to any.")
@click.option("--api-key-file", type=FILE, help="File with the key that browsers must send; or set TUTELAGE_API_KEY.")
@command
def watch(
    runs: tuple[Path, ...],
    text: bool,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    api_key_file: Path | None,
    as_json: bool,
) -> Any:
    """Show the report of runs while they train: curves, samples, evaluations and diagnoses as they come, several runs
    side by side. Reads their files and writes nothing."""
    if text:
        from tutelage.report.live_text import follow, states

        if as_json:
            return states(runs)
        follow(runs, new_console(), once=not sys.stdout.isatty())
        return None
    from tutelage.serve.start import server_modules

    server = server_modules()
    from tutelage.report.live import open_run
    from tutelage.serve.watch import watch_app

    for folder in runs:
        open_run(folder)
    key = server.read_api_key(api_key_file)
    settings = server.ServeSettings(host=host, port=port, allow_hosts=allow_host, api_key=key)
    server.check_network(settings)
    with server.listen(host, port) as listener:
        address = f"http://{host}:{listener.getsockname()[1]}"
        click.echo(f"watching {', '.join(map(str, runs))} at {address}", err=True)
        app = watch_app(runs, server.allowed_hosts(settings), key)
        server.run_app(app, listener, lambda: None, 0.0)
    return {"address": address, "runs": [str(folder) for folder in runs]}
