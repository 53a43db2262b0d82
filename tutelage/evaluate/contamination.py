"""Which questions of an evaluation stand in a training text, and the score on those and on the rest.

Words are compared without case and punctuation. A question counts as dirty where a text has

- a run of 13 of its words (GPT-3, arXiv 2005.14165, appendix C), or of all of them if they are fewer; of 13 words the
  digits may differ, so that a copied problem with other numbers is found too; or
- 8-grams that cover more than 80% of its 13 words or more (Llama 3, arXiv 2407.21783, section 5.1.4).

An n-gram of more than 10 questions is boilerplate of the benchmark and does not count. The limits are such that in the
synthetic world, whose training texts ask about other people in the same wordings, these are not taken for copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tutelage.evaluate.choice_items import ChoiceItem
from tutelage.evaluate.questions import Question
from tutelage.evaluate.statistics import rate
from tutelage.io.batches import batches
from tutelage.scoring.score import gold_texts
from tutelage.text.characters import FOLDED, PLAIN
from tutelage.text.ngrams import SHORTEST, Hits, ItemIndex, coverage, find_items, index_items
from tutelage.text.words import encode, normalized_text, normalized_words

LONG, SHORT = 13, 8  # words of an n-gram
DIRTY_SHARE = 0.8
_AT_ONCE, _SHOWN = 256, 300

Text = tuple[str, str]  # the place of a training text, and the text


@dataclass(frozen=True)
class ExaminedItem:
    """A question and its right answers, as texts."""

    id: str
    question: str
    answers: tuple[str, ...]

    @property
    def matched(self) -> str:
        """What is searched for: the question; with the answer where the question has too few words to be evidence."""
        alone = _words(self.question) >= SHORTEST
        return self.question if alone else " ".join([self.question, *self.answers])

    @property
    def is_matchable(self) -> bool:
        """Whether it has enough words to be matched."""
        return _words(self.matched) >= SHORTEST


def _words(text: str) -> int:
    return len(normalized_text(text).split())


@dataclass(frozen=True)
class Match:
    """The training text that covers most of an item.

    share:    of the item's words, by 8-grams.
    words:    of the item.
    run:      whether 13 words in a row, or the whole of a shorter item, are shared.
    masked:   whether 13 words in a row are shared with every digit as 0.
    answered: whether the text also has the right answer.
    text:     the longest shared passage.
    """

    id: str
    place: str
    share: float
    words: int
    run: bool
    masked: bool
    answered: bool = False
    text: str = ""

    @property
    def dirty(self) -> bool:
        return self.run or (self.words >= LONG and (self.masked or self.share > DIRTY_SHARE))


def of_choices(items: Iterable[ChoiceItem]) -> list[ExaminedItem]:
    """Multiple-choice questions as items. Of several beginnings of a text the right one is part of the question."""
    found = []
    for item in items:
        if item.beginnings:
            found.append(ExaminedItem(item.id, f"{item.choices[item.gold]} {item.question}", ()))
        else:
            found.append(ExaminedItem(item.id, item.question, (item.choices[item.gold],)))
    return found


def of_questions(questions: Iterable[Question]) -> list[ExaminedItem]:
    """Questions with answers as items: the last turn counts."""
    return [ExaminedItem(one.id, one.prompt.messages[-1].text, tuple(gold_texts(one.gold))) for one in questions]


def find_contamination(items: Sequence[ExaminedItem], texts: Iterable[Text]) -> tuple[list[Match], list[str], int]:
    """The best match of each item that shares an n-gram with a text; the ids of the items that have too few words to be
    matched; and the number of texts.

    Raises:
        ValueError: no item can be matched, or there is no text.
    """
    index = _index([item.matched for item in items])
    best: dict[int, Match] = {}
    count = 0
    for batch in batches(texts, _AT_ONCE):
        count += len(batch)
        best |= _matches(items, batch, index, best)
    if not count:
        raise ValueError("there is no text to search for contamination; name a file of rows, a corpus or a run")
    unmatchable = [item.id for item, size in zip(items, index.short.sizes, strict=True) if size == 0]
    return [best[place] for place in sorted(best)], unmatchable, count


@dataclass(frozen=True)
class _Index:
    words: np.ndarray
    short: ItemIndex
    long: ItemIndex
    masked: ItemIndex


def _index(texts: Sequence[str]) -> _Index:
    words, each = np.array([_words(text) for text in texts]), [[text] for text in texts]
    if not (words >= SHORTEST).any():
        raise ValueError(f"no question has the {SHORTEST} words that a match needs; leave --contamination out")
    return _Index(words, index_items(each, SHORT), index_items(each, LONG), index_items(each, LONG, form=FOLDED))


def _matches(
    items: Sequence[ExaminedItem], batch: Sequence[Text], index: _Index, best: Mapping[int, Match]
) -> dict[int, Match]:
    """The best matches of a batch of texts, by item, where they are better than the best so far."""
    better: dict[int, Match] = {}
    characters = encode([text for _, text in batch])
    plain, folded = (normalized_words(characters, form, placed=True) for form in (PLAIN, FOLDED))
    hits, runs, masked = (
        find_items(words.hashes, of)
        for words, of in ((plain, index.short), (plain, index.long), (folded, index.masked))
    )
    covered = coverage(hits, index.short)
    shares = dict(zip(zip(covered.texts.tolist(), covered.items.tolist(), strict=True), covered.shares, strict=True))
    in_run, in_masked = (set(zip(of.texts.tolist(), of.items.tolist(), strict=True)) for of in (runs, masked))
    for pair in sorted({*shares, *in_masked}):
        text, item = pair
        share = float(shares.get(pair, 0.0))
        match = Match(items[item].id, batch[text][0], share, int(index.words[item]), pair in in_run, pair in in_masked)
        known = better.get(item, best.get(item))
        if known is not None and _strength(match) <= _strength(known):
            continue
        words, found = (plain, hits) if pair in shares else (folded, masked)
        start, stop = _longest(found, (found.texts == text) & (found.items == item))
        begin, end = (int(at - characters.starts[text]) for at in (words.spans[start, 0], words.spans[stop - 1, 1]))
        spoken = f" {normalized_text(batch[text][1])} "
        answers = [normalized_text(answer) for answer in items[item].answers]
        answered = any(answer and f" {answer} " in spoken for answer in answers)
        better[item] = replace(match, answered=answered, text=batch[text][1][begin:end][:_SHOWN])
    return better


def _strength(match: Match) -> tuple[bool, bool, float]:
    return match.dirty, match.run, match.share


def _longest(hits: Hits, own: np.ndarray) -> tuple[int, int]:
    """The longest run of words under n-grams that overlap or touch: its first word, and the one after its last."""
    order = np.argsort(hits.words[own], kind="stable")
    begins, ends = hits.words[own][order], (hits.words + hits.widths)[own][order]
    best = (int(begins[0]), int(ends[0]))
    start, stop = best
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        start, stop = (start, max(stop, end)) if begin <= stop else (begin, end)
        best = max(best, (start, stop), key=lambda run: run[1] - run[0])
    return best


def contamination(
    items: Sequence[ExaminedItem], outcomes: Mapping[str, Mapping[str, float]], texts: Iterable[Text]
) -> dict[str, Any]:
    """The rates of each metric on all items, on the clean and on the dirty part, and the matches of the dirty part.

    outcomes: 1 or 0 by id, by metric. Items that cannot be matched are in neither part.

    Raises:
        ValueError: as `find_contamination`.
    """
    matches, unmatchable, count = find_contamination(items, texts)
    dirty = {match.id for match in matches if match.dirty}
    apart = dirty | set(unmatchable)
    found: dict[str, Any] = {
        "texts": count,
        "items": len(items),
        "dirty": len(dirty),
        "unmatchable": len(unmatchable),
        "answered": sum(match.dirty and match.answered for match in matches),
        "rates": {},
        "matches": [asdict(match) for match in matches if match.dirty],
    }
    for metric, by_id in outcomes.items():
        parts = {
            "clean": [score for name, score in by_id.items() if name not in apart],
            "dirty": [score for name, score in by_id.items() if name in dirty],
        }
        found["rates"][metric] = {
            part: asdict(rate(round(sum(scores)), len(scores))) for part, scores in parts.items() if scores
        }
    return found
