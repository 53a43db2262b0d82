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
GOES_ON = ("run", "demo", "curate", "judge", "sft", "lab")  # verbs that keep what they have done, and go on from there


class Verbs(click.Group):
    """A group whose wrong commands are told by one process alone, where `torchrun` has started many."""

    def invoke(self, ctx: click.Context) -> Any:
        """Calls the verb."""
        try:
            return super().invoke(ctx)
        except click.UsageError:
            if not speaks():
                sys.exit(2)
            raise


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every verb shares: --json and --debug, and one sentence instead of a stack trace."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; progress as JSON lines.")
    @click.option("--debug", is_flag=True, help="Show the stack trace of an error.")
    @wraps(function)
    def command(*args: Any, as_json: bool, debug: bool, **options: Any) -> None:
        from tutelage import progress

        if as_json:
            progress.set_mode("json")
        if not speaks():
            progress.set_mode("quiet")
        try:
            result = function(*args, as_json=as_json, **options)
            if as_json:
                from tutelage.files import to_json

                click.echo(to_json(result))
            sys.stdout.flush()  # a reader that has gone away is met here, and not when Python is already ending
        except KeyboardInterrupt:
            again = "; run the same command again to go on from what is done" * (function.__name__ in GOES_ON)
            fail(f"stopped{again}", INTERRUPTED, as_json)
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
    """End with one sentence on standard error: for machines a JSON line, as all that stands there. Of many processes
    that fail alike one says it."""
    from tutelage.files import to_json

    if speaks():
        line = to_json({"event": "error", "message": message}, indent=None) if as_json else f"tutelage: {message}"
        click.echo(line, err=True)
    sys.exit(status)


def speaks() -> bool:
    """Whether this process says what it finds. Before the processes of `torchrun` have joined all find the same, and
    the first on each machine says it; later only one fails, whichever it is, and must be heard."""
    from tutelage.process import rank_and_world_size

    torch = sys.modules.get("torch")
    joined = torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
    return joined or rank_and_world_size()[1] == 1 or os.environ.get("LOCAL_RANK", "0") == "0"
