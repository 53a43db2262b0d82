"""What all commands share: --json, --debug, and one-sentence errors instead of stack traces."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

EXIT_INTERRUPTED = 130
# Commands that resume if they are run again.
RESUMABLE = (
    "run",
    "demo",
    "curate",
    "judge",
    "judge_pairs",
    "sft",
    "dpo",
    "kto",
    "reward",
    "grpo",
    "ppo",
    "lab",
    "synth",
    "ladder",
)


class CommandGroup(click.Group):
    """A group whose usage errors only the output ranks print."""

    def invoke(self, ctx: click.Context) -> Any:
        """Calls the command."""
        try:
            return super().invoke(ctx)
        except click.UsageError:
            if not is_output_rank():
                sys.exit(2)
            raise


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --json and --debug to the function of a command, and turns exceptions into one-sentence errors."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; progress as JSON lines.")
    @click.option("--debug", is_flag=True, help="Show the stack trace of an error.")
    @wraps(function)
    def wrapped(*args: Any, as_json: bool, debug: bool, **options: Any) -> None:
        from tutelage import progress

        if as_json:
            progress.set_mode("json")
        if not is_output_rank():
            progress.set_mode("quiet")
        try:
            result = function(*args, as_json=as_json, **options)
            if as_json:
                from tutelage.files import to_json

                click.echo(to_json(result))
            sys.stdout.flush()  # a closed pipe raises here, not when the interpreter shuts down
        except KeyboardInterrupt:
            hint = "; rerun to resume" if function.__name__ in RESUMABLE else ""
            fail(f"interrupted{hint}", EXIT_INTERRUPTED, as_json)
        except BrokenPipeError:
            # Nobody reads standard output any more. Its buffer must go somewhere, or Python complains at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            if debug:
                raise
            fail(*error_message(error), as_json)

    return wrapped


def new_console(record: bool = False, stderr: bool = False) -> Console:
    """A console that prints texts as they stand: "[/INST]" in a file or its name is no markup."""
    from rich.console import Console

    return Console(record=record, stderr=stderr, markup=False, highlight=False)


def error_message(error: Exception) -> tuple[str, int]:
    """An error as one sentence, and the exit status."""
    from tutelage.files import DiskError, explain
    from tutelage.process import Stopped

    if isinstance(error, Stopped):
        return f"{error}; rerun to resume", EXIT_INTERRUPTED
    if isinstance(error, OSError) and not isinstance(error, DiskError) and error.filename:
        return str(explain(error, Path(error.filename), "use")), 1
    if isinstance(error, ValueError | OSError):
        return str(error), 1
    return f"{type(error).__name__}: {error} (internal error; rerun with --debug and report it)", 1


def fail(message: str, status: int, as_json: bool) -> None:
    """Exit, with the message on standard error: a JSON line with `as_json`. Only the output ranks print it."""
    from tutelage.files import to_json

    if is_output_rank():
        line = to_json({"event": "error", "message": message}, indent=None) if as_json else f"tutelage: {message}"
        click.echo(line, err=True)
    sys.exit(status)


def is_output_rank() -> bool:
    """Whether this process prints. Before `torch.distributed` is initialised all ranks fail alike, and the first rank
    of each machine prints; afterwards any single rank may fail, so all print."""
    from tutelage.process import rank_and_world_size

    torch = sys.modules.get("torch")
    initialised = torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
    return initialised or rank_and_world_size()[1] == 1 or os.environ.get("LOCAL_RANK", "0") == "0"
