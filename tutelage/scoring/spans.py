"""Answers that are spans of a passage, scored as SQuAD's scripts do (Rajpurkar et al. 2016, arXiv 1606.05250; 2018,
arXiv 1806.03822)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case without ASCII punctuation, articles and repeated blanks, in this order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answer: str, gold: Sequence[str]) -> bool:
    """Whether the answer is one of the gold answers. No gold answer means that there is none: "" is right."""
    return any(normalise_answer(answer) == normalise_answer(text) for text in gold or [""])


def f1(answer: str, gold: Sequence[str]) -> float:
    """The best F1 over words with a gold answer. Where one of the two has no words, 1 if both have none, else 0."""
    return max(_f1(normalise_answer(answer).split(), normalise_answer(text).split()) for text in gold or [""])


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    common = (Counter(answer) & Counter(gold)).total()
    return 2 * common / (len(answer) + len(gold))
