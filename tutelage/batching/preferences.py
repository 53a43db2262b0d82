"""Preferences to example groups: pairs and rankings that share their prompt tokens, and single answers with a label.

Only the tokens of the completions are trained. An example ends with its last trained token, so that a reward model
reads its score there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from tutelage.batching.datasets import Refusals, SplitGroups, SplitLedgers, split_of
from tutelage.batching.rendering import Made, render_all
from tutelage.chat import Rendered, Renderer
from tutelage.chat.render.renderer import example
from tutelage.records import (
    ROLE_STREAM,
    AnyPreference,
    Conversation,
    Example,
    ExampleGroup,
    Message,
    Preference,
    Ranking,
    Schema,
    Split,
    UnpairedPreference,
    Utility,
)

# Raise it when the code here makes other groups of the same preferences: stores are made again.
PREFERENCES = 2
# SIDE is 1 for the chosen answer of a pair and -1 for the rejected one; of a ranking of K answers it is K for the best
# and falls by 1 with each rank. LABEL is 1 for a desirable answer and -1 for an undesirable one. Both are 0 for
# padding, for replayed text and, LABEL, for a mismatched answer (see labelled_groups).
SIDE, LABEL = "side", "label"
# The margin of the row of a pair; and the utility of an answer, 0 where it is not known.
MARGIN, TRUE_UTILITY, LABELLER_UTILITY = "margin", "true_utility", "labeller_utility"
PAIR_SCHEMA = ROLE_STREAM | Schema(scalars=dict.fromkeys((SIDE, MARGIN, TRUE_UTILITY, LABELLER_UTILITY), 0.0))
LABEL_SCHEMA = ROLE_STREAM | Schema(scalars={LABEL: 0.0})


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
    if isinstance(row, Ranking):
        return [_conversation(row, row.prompt, answer) for answer in row.answers]
    return both_sides(row) if isinstance(row, Preference) else [_conversation(row, row.prompt, row.completion)]


def good_side(row: AnyPreference) -> Conversation | None:
    """The conversation with the chosen, the best ranked or the desirable answer; None for an undesirable one."""
    if isinstance(row, Preference):
        return both_sides(row)[0]
    if isinstance(row, Ranking):
        return answers(row)[row.ranks.index(min(row.ranks))]
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
        ValueError: a row is no pair; or a larger share than `max_refused` cannot be trained on: a side cannot be
            verified, the two do not share their prompt tokens, or their tokens are the same.
    """
    return ranked_groups(map(_check_pair, rows), renderer, context, held_out, max_refused, ledgers)


def _check_pair(row: AnyPreference) -> AnyPreference:
    if isinstance(row, Ranking):
        raise ValueError(f"{row.id} ranks {len(row.answers)} answers; train a reward model on it (`tutelage reward`)")
    return row


def ranked_groups(
    rows: Iterable[AnyPreference],
    renderer: Renderer,
    context: int,
    held_out: float,
    max_refused: float,
    ledgers: SplitLedgers,
) -> SplitGroups:
    """Each pair or ranking as a group of its answers in their order, the chosen one first; all else as `pair_groups`.

    Raises:
        ValueError: as `pair_groups`, but rankings are welcome.
    """
    refusals = Refusals(max_refused)
    waiting: deque[Preference | Ranking] = deque()
    rendered = render_all(_sides(rows, waiting), renderer, "assistant")
    for _, first in rendered:
        row = waiting.popleft()
        sides = _shared_prompt([first, *(made for _, made in islice(rendered, len(_orders(row)) - 1))], row.id)
        split = split_of(row, held_out)
        if refusals.count(sides, split, ledgers):
            continue
        assert not isinstance(sides, ValueError)
        lengths = [len(side.ids) for side in sides]
        ledger = ledgers.read(split, sum(lengths))
        if max(lengths) > context:
            ledger.drop(f"longer than the context of {context} tokens", tokens=sum(lengths), where=row.id)
            continue
        ledger.keep(tokens=sum(lengths))
        yield split, _ranked_group(row, sides)
    refusals.check("pairs")


def _ranked_group(row: Preference | Ranking, sides: Sequence[Rendered]) -> ExampleGroup:
    margin = row.margin if isinstance(row, Preference) else 0.0
    known = row.known or [Utility(0.0, 0.0)] * len(sides)
    return tuple(
        replace(
            example(side),
            scalars={SIDE: order, MARGIN: margin, TRUE_UTILITY: of.true, LABELLER_UTILITY: of.labeller},
        )
        for side, order, of in zip(sides, _orders(row), known, strict=True)
    )


def _orders(row: Preference | Ranking) -> Sequence[float]:
    """The scalar SIDE of each answer: more is better."""
    if isinstance(row, Preference):
        return (1.0, -1.0)
    return [float(len(row.ranks) + 1 - rank) for rank in row.ranks]


def _sides(rows: Iterable[AnyPreference], waiting: deque[Preference | Ranking]) -> Iterator[Conversation]:
    """The conversations with each answer of each row; appends the rows to `waiting`."""
    for row in rows:
        if isinstance(row, UnpairedPreference):
            raise ValueError(f"{row.id} has one answer with a label, and not a pair; train on it with `tutelage kto`")
        waiting.append(row)
        yield from answers(row)


def _shared_prompt(made: Sequence[Made], where: str) -> list[Rendered] | ValueError:
    """All answers up to their last trained token, or why the row cannot be trained on."""
    sides: list[Rendered] = []
    for one in made:
        side = _completion(one, where)
        if isinstance(side, ValueError):
            return side
        sides.append(side)
    names = "chosen and rejected" if len(sides) == 2 else "the answers"
    if any(not np.array_equal(prompt_ids(sides[0]), prompt_ids(side)) for side in sides[1:]):
        return PairRefused(f"{names} do not share their prompt tokens", where)
    if len({side.ids.tobytes() for side in sides}) < len(sides):
        return PairRefused(f"{names} have the same tokens", where)
    return sides


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
        row = _check_pair(row)
        if isinstance(row, UnpairedPreference):
            yield row
        elif isinstance(row, Preference):
            for answer, desirable in ((row.chosen, True), (row.rejected, False)):
                yield UnpairedPreference(row.prompt, answer, desirable, row.id, row.tools, row.split)
