"""What every verb of the command line shares: --json and --debug, and one sentence instead of a stack trace."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

INTERRUPTED = 130


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every verb shares: --json and --debug, and one sentence instead of a stack trace."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; progress as JSON lines.")
    @click.option("--debug", is_flag=True, help="Show the stack trace of an error.")
    @wraps(function)
    def command(*args: Any, as_json: bool, debug: bool, **options: Any) -> None:
        from tutelage import progress

        if as_json:
            progress.set_mode("json")
        try:
            result = function(*args, as_json=as_json, **options)
            if as_json:
                from tutelage.files import to_json

                click.echo(to_json(result))
            sys.stdout.flush()  # a reader that has gone away is met here, and not when Python is already ending
        except KeyboardInterrupt:
            fail("stopped; run the same command again to go on from the last checkpoint", INTERRUPTED, as_json)
        except BrokenPipeError:
            # Nobody reads standard output any more. What it still holds must go somewhere, or Python complains.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            if debug:
                raise
            fail(*sentence(error), as_json)

    return command


def sentence(error: Exception) -> tuple[str, int]:
    """An error as one sentence for a person, and the exit status."""
    from tutelage.files import DiskError, explain
    from tutelage.process import Stopped

    if isinstance(error, Stopped):
        return f"{error}; run the same command again to go on from there", INTERRUPTED
    if isinstance(error, OSError) and not isinstance(error, DiskError) and error.filename:
        return str(explain(error, Path(error.filename), "use")), 1
    if isinstance(error, ValueError | OSError):
        return str(error), 1
    return f"{type(error).__name__}: {error} (an error of ours: run again with --debug and report it)", 1


def fail(message: str, status: int, as_json: bool) -> None:
    """End with one sentence on standard error: for machines a JSON line, as all that stands there."""
    from tutelage.files import to_json

    line = to_json({"event": "error", "message": message}, indent=None) if as_json else f"tutelage: {message}"
    click.echo(line, err=True)
    sys.exit(status)
