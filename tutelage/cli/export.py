"""The `export` command: a trained model as a folder for other programs, with a model card; and on to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FOLDER

NOUNS = {"adapter": "adapter for peft", "merged": "merged model", "model": "model"}


@click.command(short_help="Export a model, merge its adapter, push it to the hub.")
@click.argument("model", metavar="RUN[/STAGE]|DIR")
@click.option("--merge", is_flag=True, help="Write the whole model, with the adapter merged into the base model.")
@click.option(
    "--dtype",
    type=click.Choice(("bfloat16", "float16", "float32")),
    help="Of the weights of a whole model; default: that of the base model's checkpoint.",
)
@click.option(
    "--out",
    type=FOLDER,
    metavar="DIR",
    help="A new folder; default: RUN-adapter, RUN-merged or RUN-model.",
)
@click.option("--push", metavar="OWNER/NAME", help="Also upload the folder to this model of the hub, made if needed.")
@click.option("--private", is_flag=True, help="With --push: a model that is made is private.")
@command
def export(
    model: str, merge: bool, dtype: str | None, out: Path | None, push: str | None, private: bool, as_json: bool
) -> Any:
    """Export a model for other programs, with a model card: a model trained with LoRA as an adapter for peft, or with
    --merge as a whole model; any other as it is. --push needs a login (hf auth login) or HF_TOKEN."""
    from tutelage.files import write_text
    from tutelage.find_model import find_model
    from tutelage.io.hub import upload
    from tutelage.model.adapter import is_adapter, read_adapter
    from tutelage.model.carried import DTYPES
    from tutelage.model.hub import base_folder, base_name, is_hub_name
    from tutelage.model.verify_adapter import export_adapter, export_merged, export_weights
    from tutelage.report.model_card import CARD, model_card

    folder = find_model(model)
    kind = "merged" if merge else "adapter" if is_adapter(folder) else "model"
    if dtype and kind == "adapter":
        raise ValueError("--dtype is for the weights of a merged model; add --merge")
    if push is not None and not is_hub_name(push):
        raise ValueError(f"--push is '{push}'; give the name of a model on the hub, such as owner/name")
    if private and push is None:
        raise ValueError("--private is for a model that --push makes; add --push OWNER/NAME")
    if push is not None and kind == "adapter" and "/" not in base_name(base_folder(read_adapter(folder))):
        raise ValueError(f"the base of {folder} is a folder of this machine, which others do not have; add --merge")
    named = Path(model).resolve()
    target = out or named.with_name(f"{named.name}-{kind}")
    if kind == "adapter":
        export_adapter(folder, target)
    else:
        (export_merged if merge else export_weights)(folder, target, DTYPES[dtype] if dtype else None)
    write_text(target / CARD, model_card(folder, push or target.name, merge))
    address = None if push is None else upload(target, push, private)
    if not as_json:
        click.echo(f"{NOUNS[kind]}: {target}")
        if address:
            click.echo(f"uploaded: {address}")
    return {"kind": kind, "out": target, "address": address}
