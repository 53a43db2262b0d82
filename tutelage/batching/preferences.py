"""Preferences to example groups: pairs that share their prompt tokens, and single answers with a label.

Only the tokens of the completions are trained. An example ends with its last trained token, so that a reward model
reads its score there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from tutelage.batching.datasets import Refusals, SplitGroups, SplitLedgers, split_of
from tutelage.batching.rendering import Made, render_all
from tutelage.chat import Rendered, Renderer
from tutelage.chat.render.renderer import example
from tutelage.records import (
    ROLE_STREAM,
    Conversation,
    Example,
    ExampleGroup,
    Message,
    Preference,
    Schema,
    Split,
    UnpairedPreference,
)

# Raise it when the code here makes other groups of the same preferences: stores are made again.
PREFERENCES = 1
# SIDE is 1 for the chosen answer of a pair and -1 for the rejected one; LABEL is 1 for a desirable answer and -1 for an
# undesirable one. Both are 0 for padding, for replayed text and, LABEL, for a mismatched answer (see labelled_groups).
SIDE, LABEL = "side", "label"
PAIR_SCHEMA = ROLE_STREAM | Schema(scalars={SIDE: 0.0})
LABEL_SCHEMA = ROLE_STREAM | Schema(scalars={LABEL: 0.0})

AnyPreference = Preference | UnpairedPreference


class PairRefused(ValueError):
    """A pair that cannot be trained on."""

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(f"{where}: {reason}; correct the row, or raise max_refused (--max-refused) to leave it out")
        self.reason = reason


def both_sides(row: Preference) -> tuple[Conversation, Conversation]:
    """The conversations with the chosen and with the rejected answer; turns of the prompt are context only."""
    return _conversation(row, row.prompt, row.chosen), _conversation(row, row.prompt, row.rejected)


def answers(row: AnyPreference) -> Sequence[Conversation]:
    """The conversation with each answer of a row."""
    return both_sides(row) if isinstance(row, Preference) else [_conversation(row, row.prompt, row.completion)]


def good_side(row: AnyPreference) -> Conversation | None:
    """The conversation with the chosen or the desirable answer; None for an undesirable one."""
    if isinstance(row, Preference):
        return both_sides(row)[0]
    return _conversation(row, row.prompt, row.completion) if row.desirable else None


def _conversation(row: AnyPreference, prompt: tuple[Message, ...], answer: tuple[Message, ...]) -> Conversation:
    context = tuple(replace(message, trained=False) for message in prompt)
    return Conversation((*context, *answer), row.id, split=row.split, tools=row.tools)


def pair_groups(
    rows: Iterable[AnyPreference],
    renderer: Renderer,
    context: int,
    held_out: float,
    max_refused: float,
    ledgers: SplitLedgers,
) -> SplitGroups:
    """Each pair as a group of its chosen and its rejected example, with the split it belongs to. A pair of which one
    side is longer than the context is dropped and counted, as one row.

    Raises:
        ValueError: a row has one answer only; or a larger share than `max_refused` cannot be trained on: a side cannot
            be verified, the two do not share their prompt tokens, or their tokens are the same.
    """
    refusals = Refusals(max_refused)
    rendered = render_all(_sides(rows), renderer, "assistant")
    for (row, chosen), (_, rejected) in zip(rendered, rendered, strict=True):
        split = split_of(row, held_out)
        pair = _pair(chosen, rejected, row.id)
        if refusals.count(pair, split, ledgers):
            continue
        assert not isinstance(pair, ValueError)
        lengths = [len(side.ids) for side in pair]
        ledger = ledgers.read(split, sum(lengths))
        if max(lengths) > context:
            ledger.drop(f"longer than the context of {context} tokens", tokens=sum(lengths), where=row.id)
            continue
        ledger.keep(tokens=sum(lengths))
        yield split, tuple(_with_scalar(side, SIDE, sign) for side, sign in zip(pair, (1.0, -1.0), strict=True))
    refusals.check("pairs")


def _sides(rows: Iterable[AnyPreference]) -> Iterator[Conversation]:
    for row in rows:
        if isinstance(row, UnpairedPreference):
            raise ValueError(f"{row.id} has one answer with a label, and not a pair; train on it with `tutelage kto`")
        yield from both_sides(row)


def _pair(chosen: Made, rejected: Made, where: str) -> tuple[Rendered, Rendered] | ValueError:
    """Both sides up to their last trained token, or why the pair cannot be trained on."""
    sides = _completion(chosen, where), _completion(rejected, where)
    for side in sides:
        if isinstance(side, ValueError):
            return side
    first, second = sides
    assert not isinstance(first, ValueError) and not isinstance(second, ValueError)
    if not np.array_equal(prompt_ids(first), prompt_ids(second)):
        return PairRefused("chosen and rejected do not share their prompt tokens", where)
    if np.array_equal(first.ids, second.ids):
        return PairRefused("chosen and rejected have the same tokens", where)
    return first, second


def _completion(made: Made, where: str) -> Rendered | ValueError:
    """The one example of a completion, up to its last trained token."""
    if isinstance(made, ValueError):
        return made
    if len(made) != 1:
        return PairRefused("the chat template writes the turns of the completion in several ways", where)
    return made[0].part(0, int(np.flatnonzero(made[0].weights)[-1]) + 1)


def prompt_ids(rendered: Rendered) -> np.ndarray:
    """The tokens before the first trained one."""
    return rendered.ids[: int(np.argmax(rendered.weights > 0))]


def _with_scalar(rendered: Rendered, name: str, value: float) -> Example:
    return replace(example(rendered), scalars={name: value})


def labelled_groups(
    rows: Iterable[AnyPreference],
    renderer: Renderer,
    context: int,
    held_out: float,
    max_refused: float,
    ledgers: SplitLedgers,
) -> SplitGroups:
    """Each answer with its label, as a group of two examples with the split it belongs to; a pair becomes two groups.
    The second example is the prompt with an answer to another prompt, from which KTO estimates the divergence of policy
    and reference; it is left out where it does not fit the context. Answers longer than it are dropped and counted.

    Raises:
        ValueError: fewer than two prompts; or more than the share `max_refused` cannot be trained on.
    """
    refusals = Refusals(max_refused)
    labels: deque[bool] = deque()
    rendered = render_all(_mismatched(rows, held_out, labels), renderer, "assistant")
    for (row, made), (_, other) in zip(rendered, rendered, strict=True):
        split, label = split_of(row, held_out), 1.0 if labels.popleft() else -1.0
        own, mismatched = _completion(made, row.id), _completion(other, row.id)
        if refusals.count(own, split, ledgers):
            continue
        assert not isinstance(own, ValueError)
        ledger = ledgers.read(split, len(own.ids))
        if len(own.ids) > context:
            ledger.drop(f"longer than the context of {context} tokens", tokens=len(own.ids), where=row.id)
            continue
        ledger.keep(tokens=len(own.ids))
        group: ExampleGroup = (_with_scalar(own, LABEL, label),)
        if not isinstance(mismatched, ValueError) and len(mismatched.ids) <= context:
            group = (*group, _with_scalar(mismatched, LABEL, 0.0))
        yield split, group
    refusals.check("answers")


def _mismatched(rows: Iterable[AnyPreference], held_out: float, labels: deque[bool]) -> Iterator[Conversation]:
    """Each labelled answer as a conversation, then its prompt with an answer to the last other prompt of the same
    split; the first of a split waits for the next. Appends the label of each to `labels`."""
    last: dict[Split, UnpairedPreference] = {}
    before: dict[Split, UnpairedPreference] = {}  # the last row with another prompt than `last`
    waiting: dict[Split, list[UnpairedPreference]] = {"train": [], "held_out": []}
    for row in _labelled(rows):
        split = split_of(row, held_out)
        if split in last and last[split].prompt != row.prompt:
            before[split] = last[split]
        last[split] = row
        if split not in before:
            waiting[split].append(row)
            continue
        for early in waiting[split]:
            yield from _with_other(early, row, labels)
        waiting[split].clear()
        yield from _with_other(row, before[split], labels)
    for split, rest in waiting.items():
        if rest and split == "train":
            raise ValueError(f"{rest[0].id}: KTO needs answers to at least two different prompts; add rows")
        for row in rest:  # one held-out prompt: it is measured without an estimate of the divergence
            yield from _with_other(row, row, labels)


def _with_other(row: UnpairedPreference, other: UnpairedPreference, labels: deque[bool]) -> Iterator[Conversation]:
    labels.append(row.desirable)
    yield _conversation(row, row.prompt, row.completion)
    yield _conversation(row, row.prompt, other.completion)


def _labelled(rows: Iterable[AnyPreference]) -> Iterator[UnpairedPreference]:
    """Labelled answers as they are; of a pair the chosen one as desirable, the rejected one as not."""
    for row in rows:
        if isinstance(row, UnpairedPreference):
            yield row
        else:
            for answer, desirable in ((row.chosen, True), (row.rejected, False)):
                yield UnpairedPreference(row.prompt, answer, desirable, row.id, row.tools, row.split)
