"""How much made texts differ: distinct n-grams, near duplicates, entropy of openings, lengths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tutelage.io.batches import batches
from tutelage.synth.gate import conversations_of
from tutelage.synth.method import Row
from tutelage.text.characters import MARKS
from tutelage.text.minhash import near_duplicates, signatures
from tutelage.text.ngrams import ngrams
from tutelage.text.words import hash_words

WIDTHS = (1, 2, 3)
LOOSE = 0.5  # similarity from which on two texts count as alike: the gate has dropped those that are nearly equal
_OPENING = 3  # words
_AT_ONCE = 512


def diversity(rows: Iterable[Row]) -> dict[str, Any]:
    """Figures of the rows' last answers, or texts:

    distinct_N: distinct n-grams of N words as a share of all (Li et al. 2016, arXiv 1510.03055).
    alike: the share of texts that resemble an earlier one.
    opening_entropy, openings: of the first three words of the prompts, or of texts: bits, and how many there are.
    words: the mean length.
    """
    grams: dict[int, set[int]] = {width: set() for width in WIDTHS}
    totals, openings = Counter[int](), Counter[str]()
    parts, count, length = [], 0, 0
    for batch in batches(rows, _AT_ONCE):
        answers, prompts = zip(*map(_sides, batch), strict=True)
        words = hash_words(list(answers), MARKS)
        parts.append(signatures(words))
        for width in WIDTHS:
            values = ngrams(words, width).values
            grams[width].update(values.tolist())
            totals[width] += len(values)
        openings.update(" ".join(prompt.lower().split()[:_OPENING]) for prompt in prompts)
        count += len(batch)
        length += len(words.values)
    if not count:
        return {"rows": 0}
    labels = near_duplicates(np.concatenate(parts), LOOSE)
    return {
        "rows": count,
        **{f"distinct_{width}": len(grams[width]) / max(totals[width], 1) for width in WIDTHS},
        "alike": float((labels != np.arange(count)).mean()),
        "opening_entropy": entropy(list(openings.values())),
        "openings": len(openings),
        "words": length / count,
        "top_openings": dict(openings.most_common(5)),
    }


def entropy(counts: Sequence[int]) -> float:
    """The entropy of a distribution given by counts, in bits."""
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts if count)


def _sides(row: Row) -> tuple[str, str]:
    """The last answer of a row, and its first prompt; of a document its text twice."""
    turns = conversations_of(row)[0]
    answer = next((turn["content"] for turn in reversed(turns) if turn["role"] == "assistant"), "")
    prompt = next((turn["content"] for turn in turns if turn["role"] == "user"), answer)
    return answer or prompt, prompt
