"""Prompts to sample from: rendered once, and drawn in an order that only seed and cursor decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tutelage.batching.datasets import split_of
from tutelage.chat import Renderer
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Split, Task


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt as the model reads it, with the role of each token. `number` is its place among the rows of its data."""

    task: Task
    ids: np.ndarray
    roles: np.ndarray
    number: int


@dataclass(frozen=True, eq=False)
class PromptSet:
    """The prompts of one dataset that are trained on, and those that are held out, with their accounts."""

    train: Sequence[Prompt]
    held_out: Sequence[Prompt]
    ledger: Ledger
    held_out_ledger: Ledger


def prompt_set(
    name: str, tasks: Iterable[Task], renderer: Renderer, room: int, held_out: float, files: Ledger
) -> PromptSet:
    """Render the prompts of a dataset. One of more than `room` tokens leaves no place for an answer: it is dropped and
    counted. `files` holds what the reader of the tasks dropped.

    Raises:
        ValueError: no prompt is left; or the template cannot write one.
    """
    ledgers = {"train": Ledger(f"{name}: prompts, train"), "held_out": Ledger(f"{name}: prompts, held out")}
    parts: dict[Split, list[Prompt]] = {"train": [], "held_out": []}
    rows = list(tasks)
    chats = [Conversation(task.prompt, task.id, tools=task.tools) for task in rows]
    for number, (task, rendered) in enumerate(zip(rows, renderer.render_prompts(chats), strict=True)):
        tokens, split = len(rendered.ids), split_of(task, held_out)
        ledgers["train"].read(tokens=tokens)
        if split == "held_out":
            ledgers["train"].hold_out(tokens=tokens)
            ledgers["held_out"].read(tokens=tokens)
        if tokens > room:
            ledgers[split].drop(f"longer than {room} tokens, so that no answer fits", tokens=tokens, where=task.id)
            continue
        ledgers[split].keep(tokens=tokens)
        parts[split].append(Prompt(task, rendered.ids, rendered.roles, number))
    dropped = Ledger(ledgers["train"].step, rows_read=files.rows_dropped, dropped=files.dropped, noted=files.noted)
    ledgers["train"].merge(dropped)
    if not parts["train"]:
        raise ValueError(
            f"data '{name}': no prompt is left to train on; a prompt may have {room} tokens, the context without "
            "max_tokens"
        )
    return PromptSet(parts["train"], parts["held_out"], ledgers["train"], ledgers["held_out"])


@dataclass(frozen=True)
class PromptCursor:
    """How far a dataset has been read: `position` prompts into epoch `epoch`, `drawn` prompts so far."""

    epoch: int = 0
    position: int = 0
    drawn: int = 0


@dataclass(frozen=True, eq=False)
class DrawnPrompt:
    """A prompt of a dataset. No two draws of a run share an `id`, which keys the random numbers of its samples."""

    data: str
    prompt: Prompt
    id: int


Cursors = Mapping[str, PromptCursor]


def draw_prompts(
    sets: Mapping[str, Sequence[Prompt]], shares: Mapping[str, float], count: int, seed: int, cursors: Cursors
) -> tuple[list[DrawnPrompt], Cursors]:
    """The next `count` prompts and the cursors after them. Each is of the dataset that lags most behind its share, and
    an epoch of a dataset is a new permutation by (seed, epoch)."""
    at, drawn = dict(cursors), []
    places = {name: place for place, name in enumerate(sets)}
    for _ in range(count):
        name = min(sets, key=lambda n: at[n].drawn / shares[n])
        cursor, prompts = at[name], sets[name]
        prompt = prompts[int(_order(len(prompts), seed, cursor.epoch)[cursor.position])]
        # Unique over datasets and epochs.
        drawn.append(DrawnPrompt(name, prompt, cursor.drawn * len(sets) + places[name]))
        last = cursor.position + 1 == len(prompts)
        step = (cursor.epoch + 1, 0) if last else (cursor.epoch, cursor.position + 1)
        at[name] = PromptCursor(*step, cursor.drawn + 1)
    return drawn, at


def _order(prompts: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(prompts)


def read_cursors(state: Mapping[str, Mapping[str, int]] | None, names: Iterable[str]) -> Cursors:
    """Cursors from their JSON value; at the start without one."""
    return {name: PromptCursor(**state[name]) if state else PromptCursor() for name in names}


def write_cursors(cursors: Cursors) -> dict[str, dict[str, int]]:
    """Cursors as a JSON value."""
    return {name: asdict(cursor) for name, cursor in cursors.items()}
