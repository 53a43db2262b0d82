"""The `annotate export` command: votes to training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE, SHARE

KINDS = click.Choice(["rankings", "pairs", "demonstrations", "battles", "votes"])
SPLITS = click.Choice(["prompt", "source"])


@click.command(short_help="Write training rows, with their ledger.")
@click.argument("log", type=FILE, metavar="LOG.jsonl")
@click.option("--as", "kind", type=KINDS, required=True, help="For reward, dpo, sft, arena, or annotate import.")
@click.option("--out", required=True, type=FILE, metavar="FILE", help="The rows.")
@click.option("--held-out", type=FILE, metavar="FILE", help="Rows of other prompts, to measure on.")
@click.option("--held-out-share", type=SHARE, default=0.1, show_default=True, help="How much of them.")
@click.option("--split-by", type=SPLITS, default="prompt", show_default=True, help="What is never on both sides.")
@click.option("--min-gold", type=SHARE, default=0.0, show_default=True, help="Leave out people below, on gold items.")
@click.option("--not-blind", is_flag=True, help="Also votes on answers that name a model.")
@click.option("--no-fast", is_flag=True, help="Leave out votes that took less time than reading.")
@command
def export(log: Path, kind: Any, out: Path, held_out: Path | None, as_json: bool, **options: Any) -> Any:
    """Write the votes of a log as training rows: rankings and pairs for `reward` and `dpo`, demonstrations for `sft`,
    battles for `arena`, votes for `annotate import`. The ledger says what was left out and why."""
    from tutelage.annotate.export import ExportRules, export_rows, held_out_of
    from tutelage.annotate.log import read_log
    from tutelage.annotate.state import read_events
    from tutelage.files import to_json, write_bytes
    from tutelage.ledger import Ledger

    ledger = Ledger("votes")
    rules = ExportRules(options["min_gold"], options["not_blind"], not options["no_fast"])
    rows = [*export_rows(read_events(read_log(log)), kind, rules, ledger)]
    ledger.check()
    if held_out is not None and kind in ("battles", "votes"):
        raise ValueError(f"--held-out is for training rows; {kind} are none")
    share, by = options["held_out_share"], options["split_by"]
    kept = [row for row in rows if held_out is None or not held_out_of(row, share, by)]
    for path, part in ((out, kept), (held_out, [row for row in rows if row not in kept] if held_out else [])):
        if path is not None:
            write_bytes(path, b"".join(to_json(row, indent=None, sort=False) + b"\n" for row in part))
    if not as_json:
        new_console().print(ledger.table())
        click.echo(f"{len(kept):,} rows: {out}" + (f"; {len(rows) - len(kept):,}: {held_out}" if held_out else ""))
    return {"rows": len(kept), "held_out": len(rows) - len(kept), "out": out, "ledger": ledger.to_dict()}
