"""The `export` command: a trained model as a folder for other programs, with a model card, or as a GGUF file; and on to
the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from tutelage.cli.command import command
from tutelage.cli.options import FOLDER

NOUNS = {"adapter": "adapter for peft", "merged": "merged model", "model": "model", "gguf": "GGUF"}


@click.command(short_help="Export a model, merge its adapter, push it to the hub.")
@click.argument("model", metavar="RUN[/STAGE]|DIR")
@click.option("--merge", is_flag=True, help="Write the whole model, with the adapter merged into the base model.")
@click.option(
    "--dtype",
    type=click.Choice(("bfloat16", "float16", "float32")),
    help="Of the weights of a whole model; default: that of the base model's checkpoint.",
)
@click.option(
    "--gguf",
    type=click.Choice(("f16", "q8_0")),
    help="Write one file for llama.cpp, Ollama and LM Studio: 16 or 8 bits a weight.",
)
@click.option(
    "--out",
    type=FOLDER,
    metavar="PATH",
    help="A new folder, or a file with --gguf; default: RUN-adapter, RUN-merged, RUN-model or RUN-f16.gguf.",
)
@click.option("--push", metavar="OWNER/NAME", help="Also upload the folder to this model of the hub, made if needed.")
@click.option("--private", is_flag=True, help="With --push: a model that is made is private.")
@command
def export(
    model: str,
    merge: bool,
    dtype: str | None,
    gguf: Literal["f16", "q8_0"] | None,
    out: Path | None,
    push: str | None,
    private: bool,
    as_json: bool,
) -> Any:
    """Export a model for other programs, with a model card: a model trained with LoRA as an adapter for peft, or with
    --merge as a whole model; any other as it is. --gguf writes one file with weights, tokenizer and chat template.
    --push needs a login (hf auth login) or HF_TOKEN."""
    from tutelage.files import write_text
    from tutelage.find_model import find_model
    from tutelage.io.hub import upload
    from tutelage.model.adapter import is_adapter, read_adapter
    from tutelage.model.carried import DTYPES
    from tutelage.model.hub import base_folder, base_name, is_hub_name
    from tutelage.model.verify_adapter import export_adapter, export_merged, export_weights
    from tutelage.report.model_card import CARD, model_card

    if gguf and (merge or dtype or push or private):
        raise ValueError("--gguf writes one file, with an adapter merged in; leave out --merge, --dtype and --push")
    folder = find_model(model)
    named = Path(model).resolve()
    if gguf:
        target = out or named.with_name(f"{named.name}-{gguf}.gguf")
        _export_gguf(folder, target, gguf, named.name)
        if not as_json:
            click.echo(f"{NOUNS['gguf']}: {target}")
        return {"kind": "gguf", "out": target, "address": None}
    kind = "merged" if merge else "adapter" if is_adapter(folder) else "model"
    if dtype and kind == "adapter":
        raise ValueError("--dtype is for the weights of a merged model; add --merge")
    if push is not None and not is_hub_name(push):
        raise ValueError(f"--push is '{push}'; give the name of a model on the hub, such as owner/name")
    if private and push is None:
        raise ValueError("--private is for a model that --push makes; add --push OWNER/NAME")
    if push is not None and kind == "adapter" and "/" not in base_name(base_folder(read_adapter(folder))):
        raise ValueError(f"the base of {folder} is a folder of this machine, which others do not have; add --merge")
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


def _export_gguf(folder: Path, path: Path, kind: Literal["f16", "q8_0"], name: str) -> None:
    from tutelage.model.gguf.write import write_gguf
    from tutelage.model.hub import load_model

    if path.exists():
        raise ValueError(f"{path} exists already; give another file: --out FILE.gguf")
    write_gguf(path, load_model(folder, "cpu"), kind, name)
