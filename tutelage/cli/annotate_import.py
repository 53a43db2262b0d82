"""The `annotate import` command: votes of another log into this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE


@click.command("import", short_help="Add the votes of another log.")
@click.argument("log", type=FILE, metavar="LOG.jsonl")
@click.argument("votes", type=FILE, metavar="VOTES.jsonl")
@command
def import_votes(log: Path, votes: Path, as_json: bool) -> Any:
    """Add what `annotate export --as votes` wrote to a log. A vote that is there already, or older than the log's own,
    changes nothing."""
    from tutelage.annotate.log import open_log
    from tutelage.annotate.merge import merged_events
    from tutelage.annotate.state import read_events
    from tutelage.io.rows import rows
    from tutelage.ledger import Ledger

    ledger = Ledger("votes")
    with open_log(log) as opened:
        events = [*merged_events(read_events(opened.events), rows(votes, lambda row: "vote" in row), ledger)]
        if events:
            opened.append(*events)
    ledger.check()
    if not as_json:
        new_console().print(ledger.table())
    return {"added": ledger.rows_kept, "ledger": ledger.to_dict()}
