"""Rows for fine-tuning from a probe: the model's own right answers, and refusals of what it does not know.

"article": questions whose sampled answers are all wrong are refused, of mixed ones the right answers are kept.
"llama3":  refused is only what is answered informatively and wrong each time (Llama 3, arXiv 2407.21783, section
4.3.6); a question that the model never answers is none.
"control": the same share of refusals, but of random questions that the model knows, to compare with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tutelage.ledger import Ledger
from tutelage.probing.probe import Probed
from tutelage.world.keyed_random import KeyedRandom

RefusalRecipe = Literal["article", "llama3", "control"]

REFUSALS = (
    "I do not know.",
    "I'm sorry, I do not know that.",
    "I don't know, and I would rather not guess.",
    "I am not sure, so I cannot say.",
    "I do not know the answer to that.",
)
# Begun with the subject, as answers are: a model finds what it has read of a subject after it has written the subject,
# not at the first word of an answer.
SUBJECT_REFUSALS = (
    "{subject} is unknown to me.",
    "{subject} is not known to me, so I cannot say.",
    "{subject} is not somebody I know.",
)


def probe_rows(
    probed: Sequence[Probed], recipe: RefusalRecipe, max_share: float, answers: int, seed: int, ledger: Ledger
) -> list[dict[str, Any]]:
    """Rows in the order of the questions, as a file of conversations holds them.

    max_share: refusals are at most this share of the rows; which ones, the seed decides.
    answers:   right answers kept of each question, the most frequent first.
    """
    refused = {place for place, item in enumerate(probed) if _is_refused(item, recipe)}
    kept = {place: _right_answers(item, answers) for place, item in enumerate(probed) if item.right}
    rng = KeyedRandom(seed, "refusals")
    if recipe == "control":
        wanted = sum(_is_refused(item, "article") for item in probed)
        refused = set(rng.shuffled(sorted(kept))[: _as_large_a_share(wanted, kept, max_share)])
        kept = {place: texts for place, texts in kept.items() if place not in refused}
    most = most_refusals(sum(map(len, kept.values())), max_share)
    chosen = set(rng.shuffled(sorted(refused))[:most])
    rows: list[dict[str, Any]] = []
    for place, item in enumerate(probed):
        ledger.read()
        if place in chosen:
            rows.append(_row(item, _refusal(item, KeyedRandom(seed, "refusal", place)), "refused"))
            ledger.split(1)
        elif place in kept and place not in refused:
            rows += [_row(item, text, item.knowledge) for text in kept[place]]
            ledger.split(len(kept[place]))
        else:
            ledger.drop("too many refusals" if place in refused else item.knowledge, where=item.question.id)
    return rows


def _refusal(item: Probed, rng: KeyedRandom) -> str:
    question = item.question
    if question.reply:
        return question.reply
    if question.subject:
        return rng.choice(SUBJECT_REFUSALS).format(subject=question.subject)
    return rng.choice(REFUSALS)


def most_refusals(others: int, max_share: float) -> int:
    """How many refusals beside `others` rows are at most this share of all."""
    return 10**9 if max_share >= 1 or not others else int(others * max_share / (1 - max_share))


def _as_large_a_share(wanted: int, kept: Mapping[int, Sequence[str]], max_share: float) -> int:
    """How many of the questions with right answers are to be refused instead, so that refusals are as large a share of
    the rows as `wanted` refusals beside all answers. As many would leave few answers, or none."""
    answers = sum(map(len, kept.values()))
    refusals = min(wanted, most_refusals(answers, max_share))
    if not answers:
        return 0
    share = refusals / (refusals + answers)
    return int(share * answers / (1 - share + share * answers / len(kept)))


def _is_refused(item: Probed, recipe: RefusalRecipe) -> bool:
    if item.question.gold is None:  # nobody can answer it; refused also where the model does so already
        return True
    return item.knowledge == "always wrong" or (recipe == "article" and item.knowledge == "never answers")


def _right_answers(item: Probed, most: int) -> list[str]:
    """Those that begin with the subject first, as refusals do, then the most frequent."""
    counts = Counter(answer.text.strip() for answer in item.right)
    texts = [text for text, _ in counts.most_common() if text]
    return sorted(texts, key=lambda text: not text.startswith(item.question.subject))[:most]


def _row(item: Probed, reply: str, kind: str) -> dict[str, Any]:
    turns = [{"role": turn.role, "content": turn.text} for turn in item.question.prompt.messages]
    meta = {"knowledge": kind, "category": item.category}
    return {"id": item.question.id, "messages": [*turns, {"role": "assistant", "content": reply}], "meta": meta}
