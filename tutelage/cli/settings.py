"""The `settings` command: every setting of a recipe, with its default and its name in TRL."""

from __future__ import annotations

from typing import Any

import click

from tutelage.cli.command import command


@click.command(short_help="List every setting of a recipe, with TRL's names.")
@command
def settings(as_json: bool) -> Any:
    """Print every setting of a recipe with its default, its name in TRL or PEFT, and its meaning, as Markdown."""
    from tutelage.settings_page import SECTIONS, setting_rows, settings_page

    if not as_json:
        click.echo(settings_page(), nl=False)
    names = ("setting", "default", "trl", "meaning")
    return {
        title: [dict(zip(names, row, strict=True)) for row in setting_rows(kind, shown)]
        for title, kind, shown in SECTIONS
    }
