"""The export verb: an adapter for other programs, or the model that it makes of its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


def export_model(model: str, merge: bool, out: Path | None, as_json: bool) -> Any:
    """Write what a LoRA run trained where others load it; returns where, and as what."""
    from tutelage.find_model import find_model
    from tutelage.model.verify_adapter import export_adapter, export_merged

    folder = find_model(model)
    named = Path(model).resolve()
    where = out or named.with_name(f"{named.name}-{'merged' if merge else 'adapter'}")
    if merge:
        export_merged(folder, where)
    else:
        export_adapter(folder, where)
    if not as_json:
        kind = "the merged model" if merge else "the adapter, for peft"
        click.echo(f"{kind}: {where}")
    return {"kind": "merged" if merge else "adapter", "out": where}
