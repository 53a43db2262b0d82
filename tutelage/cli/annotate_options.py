"""Options that the `annotate` commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tutelage.cli.options import FILE

if TYPE_CHECKING:
    from tutelage.annotate.session import Access
    from tutelage.engine.sampling import SamplingSettings

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--out", required=True, type=FILE, metavar="LOG.jsonl", help="The log; an existing one is continued."),
    click.option("--guidelines", type=FILE, metavar="FILE", help="What annotators are told; default: built-in ones."),
    click.option("--seed", default=0, show_default=True, help="Seed of the order of answers, and of samples."),
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    click.option(
        "--port", type=click.IntRange(0, 65535), default=8002, show_default=True, help="Port; 0 = any free one."
    ),
    click.option("--allow-host", multiple=True, metavar="NAME", help="Also answer to this Host header; * = to any."),
    click.option("--annotator", multiple=True, metavar="NAME", help="Gets a link with a key; needed with --host."),
    click.option(
        "--max-tokens", type=click.IntRange(1), default=512, show_default=True, help="Longest answer of a model."
    ),
    click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0 = greedy."),
)


def session_options(function: F) -> F:
    """The log, the guidelines, the address, and how models answer."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def access_of(options: dict[str, Any]) -> Access:
    """Where to listen and who may annotate."""
    from tutelage.annotate.session import Access

    return Access(options["host"], options["port"], options["allow_host"], options["annotator"])


def sampling_of(options: dict[str, Any]) -> SamplingSettings:
    """How models answer."""
    from tutelage.engine.sampling import SamplingSettings

    return SamplingSettings(max_tokens=options["max_tokens"], temperature=options["temperature"], seed=options["seed"])


def guidelines_of(path: Path | None, default: str) -> str:
    """The guidelines of a file, or the built-in ones."""
    from tutelage.files import read_text

    return default if path is None else read_text(path).strip()


def summary_of(state: Any) -> dict[str, int]:
    """How much a log holds."""
    votes = [*state.votes()]
    return {"items": len(state.items), "submissions": len(votes), "people": len({vote.person for vote in votes})}
