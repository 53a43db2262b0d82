"""The `export` command: a LoRA adapter for peft, or the model with the adapter merged in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FOLDER


@click.command(short_help="Export a LoRA adapter or merged model.")
@click.argument("model", metavar="RUN[/STAGE]|DIR")
@click.option("--merge", is_flag=True, help="Write the whole model, with the adapter merged into the base model.")
@click.option(
    "--dtype",
    type=click.Choice(("bfloat16", "float16", "float32")),
    help="With --merge: of the weights; default: that of the base model's checkpoint.",
)
@click.option(
    "--out", type=FOLDER, metavar="DIR", help="A new folder; default: RUN-adapter or RUN-merged beside the run."
)
@command
def export(model: str, merge: bool, dtype: str | None, out: Path | None, as_json: bool) -> Any:
    """Export a model trained with LoRA for other programs: as an adapter for peft, or with --merge as a whole model."""
    from tutelage.find_model import find_model
    from tutelage.model.carried import DTYPES
    from tutelage.model.verify_adapter import export_adapter, export_merged

    if dtype and not merge:
        raise ValueError("--dtype is for the weights of a merged model; add --merge")
    folder = find_model(model)
    named = Path(model).resolve()
    target = out or named.with_name(f"{named.name}-{'merged' if merge else 'adapter'}")
    if merge:
        export_merged(folder, target, DTYPES[dtype] if dtype else None)
    else:
        export_adapter(folder, target)
    if not as_json:
        kind = "merged model" if merge else "adapter for peft"
        click.echo(f"{kind}: {target}")
    return {"kind": "merged" if merge else "adapter", "out": target}
