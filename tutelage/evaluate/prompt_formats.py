"""How far a multiple-choice score moves with the format of its prompt.

A fixed set of formats asks the same questions: each differs from the first in one thing, such as labels, the order of
the choices or the wording. The result is the median and the range, the share of questions whose answer changes, and
the bias towards letters (Sclar et al. 2023, arXiv 2310.11324; Zheng et al. 2023, arXiv 2309.03882).

Shapes: C choices, F formats, N questions.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from tutelage.evaluate.answers import can_chat
from tutelage.evaluate.choice_items import Asked, ChoiceItem
from tutelage.evaluate.choices import ChoiceScore, score_choices
from tutelage.evaluate.questions import LETTERS
from tutelage.evaluate.statistics import rate
from tutelage.model.hub import Checkpoint

Labels = Literal["letters", "numbers", "none"]
SHOTS = 5
_MOST_ROTATIONS = 4


@dataclass(frozen=True)
class PromptFormat:
    """One way to ask a question.

    labels:   A, B ... or 1, 2 ... before the choices, of which the label is scored; none: the text of a choice is.
    rotation: by how many places the choices move.
    wording:  the line before the answer.
    shots:    examples before the question.
    chat:     in the model's chat template.
    """

    name: str
    labels: Labels = "letters"
    rotation: int = 0
    wording: str = "Answer:"
    shots: int = 0
    chat: bool = False


REFERENCE = PromptFormat("letters")


def formats(items: Sequence[ChoiceItem], chats: bool) -> list[PromptFormat]:
    """The set, the reference first. Rotations put each choice of up to five at each place; examples need other
    questions, and the chat template a model that has one."""
    most = max(len(item.choices) for item in items)
    found = [REFERENCE]
    found += [PromptFormat(f"choices rotated by {n}", rotation=n) for n in range(1, min(most, _MOST_ROTATIONS + 1))]
    found += [
        PromptFormat("numbers", labels="numbers"),
        PromptFormat("no labels", labels="none"),
        PromptFormat("'The answer is'", wording="The answer is"),
    ]
    if len(items) > SHOTS:
        found.append(PromptFormat(f"{SHOTS} examples", shots=SHOTS))
    if chats:
        found.append(PromptFormat("chat template", chat=True))
    return found


def ask_in(form: PromptFormat, item: ChoiceItem, pool: Sequence[ChoiceItem], seed: int = 0) -> Asked:
    """A question in a format. The examples are the same for all questions, without the question itself.

    Raises:
        ValueError: the item is no question with choices.
    """
    if item.beginnings or len(item.choices) < 2:
        raise ValueError(f"{item.id}: formats are for questions with choices; leave --formats out")
    turned = _rotated(item, form.rotation)
    order = random.Random(seed).sample(range(len(pool)), len(pool)) if form.shots else []
    others = (pool[place] for place in order if pool[place].id != item.id and pool[place].question != item.question)
    examples = [example for example, _ in zip(others, range(form.shots), strict=False)]
    opening = "".join(f"{_prompt(one, form)}{_continuations(one, form)[one.gold]}\n\n" for one in examples)
    context = opening + _prompt(turned, form)
    return Asked(turned, (context,) * len(turned.choices), _continuations(turned, form))


def _rotated(item: ChoiceItem, places: int) -> ChoiceItem:
    places %= len(item.choices)
    if not places:
        return item
    choices = item.choices[places:] + item.choices[:places]
    return replace(item, choices=choices, gold=(item.gold - places) % len(choices))


def _labels(item: ChoiceItem, form: PromptFormat) -> Sequence[str]:
    count = len(item.choices)
    return LETTERS[:count] if form.labels == "letters" else [str(number) for number in range(1, count + 1)]


def _prompt(item: ChoiceItem, form: PromptFormat) -> str:
    question = item.question if item.question.startswith("Question:") else f"Question: {item.question}"
    if form.labels != "none":
        listed = zip(_labels(item, form), item.choices, strict=True)
        question += "".join(f"\n{label}. {text}" for label, text in listed)
    return f"{question}\n{form.wording}"


def _continuations(item: ChoiceItem, form: PromptFormat) -> tuple[str, ...]:
    return tuple(f" {text}" for text in (item.choices if form.labels == "none" else _labels(item, form)))


def format_range(checkpoint: Checkpoint, items: Sequence[ChoiceItem], pool: Sequence[ChoiceItem]) -> dict[str, Any]:
    """The accuracy of each format on the same questions, their median and range, how many questions change their
    answer, and the mean probability of each letter over all rotations.

    The text of a choice is scored per character (acc/char), a label by its sum. Questions that do not fit into the
    context in one of the formats are left out of all; examples, if most questions do not fit with them.

    Raises:
        ValueError: an item is no question with choices; or none fits.
    """
    wanted = formats(items, can_chat(checkpoint))
    tried = [form for form in wanted if not form.shots or _fits(checkpoint, form, items, pool)]
    scored = {form: scores_in(checkpoint, form, items, pool) for form in tried}
    names = [item.id for item in items if all(item.id in by_id for by_id in scored.values())]
    if not names:
        raise ValueError("no question fits into the context in all formats; leave --formats out")
    picks_FN = np.array([[pick(form, by_id[name]) for name in names] for form, by_id in scored.items()])
    gold_N = np.array([scored[REFERENCE][name].item.gold for name in names])
    right_FN = picks_FN == gold_N
    means_F = right_FN.mean(1)
    changed = int((picks_FN != picks_FN[0]).any(0).sum())
    return {
        "questions": len(names),
        "left_out": [form.name for form in wanted if form not in tried],
        "too_long": len(items) - len(names),
        "median": float(np.median(means_F)),
        "low": float(means_F.min()),
        "high": float(means_F.max()),
        "changed": asdict(rate(changed, len(names))),
        "formats": [
            {"name": form.name, **asdict(rate(int(right_N.sum()), len(names)))}
            for form, right_N in zip(tried, right_FN, strict=True)
        ],
        "letter_bias": _letter_bias({form: [by_id[name] for name in names] for form, by_id in scored.items()}),
    }


def _fits(checkpoint: Checkpoint, form: PromptFormat, items: Sequence[ChoiceItem], pool: Sequence[ChoiceItem]) -> bool:
    """Whether most questions fit into the context with their examples; otherwise the range would be of a few short
    ones."""
    texts = [one.contexts[0] + max(one.continuations, key=len) for one in (ask_in(form, item, pool) for item in items)]
    context = checkpoint.model.config.context - len(checkpoint.tokenizer.document_edges[0])
    return sum(len(ids) <= context for ids in checkpoint.tokenizer.encode_batch(texts)) > len(items) / 2


def scores_in(
    checkpoint: Checkpoint, form: PromptFormat, items: Sequence[ChoiceItem], pool: Sequence[ChoiceItem]
) -> dict[str, ChoiceScore]:
    """The scores of the questions in a format by their id; those longer than the context are left out."""
    scores, _ = score_choices(checkpoint, [ask_in(form, item, pool) for item in items], form.chat, alone=False)
    return {score.item.id: score for score in scores}


def pick(form: PromptFormat, score: ChoiceScore) -> int:
    """The number of the choice that a format prefers, in the order of the file."""
    picks = score.picks()
    place = picks.get("acc/char", picks["acc"]) if form.labels == "none" else picks["acc"]
    return (place + form.rotation) % len(score.item.choices)


def _letter_bias(scores: Mapping[PromptFormat, Sequence[ChoiceScore]]) -> dict[str, Any]:
    """The mean probability of each letter, over the questions with the most frequent number of choices and the
    rotations that put each choice at each place once; without bias all are equal. `spread` is the largest less the
    smallest."""
    rotated = {form.rotation: by for form, by in scores.items() if replace(form, name="", rotation=0) == _PLAIN}
    (count, _), *_ = Counter(len(score.item.choices) for score in rotated[0]).most_common(1)
    used = [by for rotation, by in rotated.items() if rotation < count]
    mean_C = np.mean([_chances(score) for by in used for score in by if len(score.item.choices) == count], axis=0)
    return {
        "letters": dict(zip(LETTERS, map(float, mean_C), strict=False)),
        "spread": float(np.ptp(mean_C)),
        "balanced": len(used) == count,
    }


_PLAIN = replace(REFERENCE, name="")


def _chances(score: ChoiceScore) -> np.ndarray:
    powers_C = np.exp(score.logprob_C - score.logprob_C.max())
    return powers_C / powers_C.sum()


def range_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The range as lines for the terminal."""
    yield (
        f"format range: {found['low']:.1%} to {found['high']:.1%}, median {found['median']:.1%}, over "
        f"{len(found['formats'])} formats of {found['questions']:,} questions"
    )
    for form in found["formats"]:
        yield f"    {form['name']}: {form['rate']:.1%} ({form['low']:.1%} to {form['high']:.1%})"
    changed = found["changed"]
    yield f"the answer changes with the format: {changed['rate']:.1%} of {changed['count']:,} questions"
    bias = found["letter_bias"]
    letters = ", ".join(f"{letter} {chance:.1%}" for letter, chance in bias["letters"].items())
    yield f"letter bias: {letters}; without bias {1 / len(bias['letters']):.1%} each"
    if found["left_out"]:
        yield f"formats that do not fit into the context with most questions: {', '.join(found['left_out'])}"
    if found["too_long"]:
        yield f"longer than the context in a format, left out: {found['too_long']:,}"
