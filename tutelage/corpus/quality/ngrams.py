"""An n-gram language model over token ids: interpolated Kneser-Ney smoothing with three discounts.

Chen and Goodman 1998, as in KenLM. It scores how similar a text is to the training text, and is a baseline for a neural
model with the same tokenizer. An n-gram is identified by its 64-bit hash alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tutelage.files import atomic_file
from tutelage.text.hashing import GOLDEN

ORDER = 5
_BEGIN, _END = 0, 1  # before a sequence and after it; token i is the word i + 2


@dataclass(frozen=True, eq=False)
class Order:
    """The n-grams of one order.

    grams:    uint64[G], sorted hashes; direct:  float32[G], the discounted probability of each given its context.
    contexts: uint64[C], sorted hashes; backoff: float32[C], the probability mass that each leaves to lower orders.
    """

    grams: np.ndarray
    direct: np.ndarray
    contexts: np.ndarray
    backoff: np.ndarray


@dataclass(frozen=True, eq=False)
class NgramModel:
    """The orders from 1 up, and the vocabulary size."""

    orders: tuple[Order, ...]
    vocabulary: int

    def log_probabilities(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Natural log-probabilities of each token and of the end of each sequence, given all before: float64, all
        sequences concatenated, each one entry longer than its tokens."""
        words, predicted = _lay_out(sequences, len(self.orders))
        shares = np.full(len(predicted), 1 / (self.vocabulary + 1))
        for order, (grams, contexts) in zip(self.orders, _runs(words, len(self.orders)), strict=True):
            backoff, known = _look_up(order.contexts, order.backoff, contexts[predicted])
            direct, _ = _look_up(order.grams, order.direct, grams[predicted])
            shares = np.where(known, direct + backoff * shares, shares)
        return np.log(shares)

    def save(self, path: Path) -> None:
        """Write the model as safetensors."""
        tensors = {f"{n}.{name}": getattr(order, name) for n, order in enumerate(self.orders) for name in _NAMES}
        with atomic_file(path) as temporary:
            save_file({**tensors, "vocabulary": np.array([self.vocabulary])}, temporary)


_NAMES = ("grams", "direct", "contexts", "backoff")


def load_ngrams(path: Path) -> NgramModel:
    """Load a model of `NgramModel.save`. Raises ValueError if it is missing or not one."""
    try:
        tensors = load_file(path)
        count = sum(name.endswith(".grams") for name in tensors)
        orders = tuple(Order(*(tensors[f"{n}.{name}"] for name in _NAMES)) for n in range(count))
        return NgramModel(orders, int(tensors["vocabulary"][0]))
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"model: {path} is not an n-gram model of Tutelage ({error})") from error


def train_ngrams(sequences: Sequence[np.ndarray], vocabulary: int, order: int = ORDER) -> NgramModel:
    """Train a model on sequences of token ids below `vocabulary`. Raises ValueError if they hold no token."""
    if not sum(map(len, sequences)):
        raise ValueError("an n-gram model needs training text, and there is none")
    words, predicted = _lay_out(sequences, order)
    runs = [(grams[predicted], contexts[predicted]) for grams, contexts in _runs(words, order)]
    made = []
    places = np.arange(len(predicted))
    for n in range(order, 0, -1):
        grams, contexts = runs[n - 1]
        # The highest order uses raw counts. Lower orders use continuation counts: the number of distinct tokens that
        # precede an n-gram, so that mere repetition does not count.
        values, first, counts = np.unique(grams[places], return_index=True, return_counts=True)
        places = places[first]
        made.append(_smooth(values, contexts[places], counts))
    return NgramModel(tuple(reversed(made)), vocabulary)


def _smooth(grams: np.ndarray, contexts: np.ndarray, counts: np.ndarray) -> Order:
    """Discounted probabilities of the n-grams, and the probability mass that each context leaves to lower orders."""
    level = np.minimum(counts, 3)
    taken = _discounts(counts)[level]
    known, group = np.unique(contexts, return_inverse=True)
    totals = np.bincount(group, weights=counts)
    left = np.bincount(group, weights=taken) / totals
    direct = (counts - taken) / totals[group]
    return Order(grams, direct.astype(np.float32), known, left.astype(np.float32))


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Discounts of counts 0, 1, 2 and >= 3, from the numbers of n-grams that occur once, twice ...: float64[4]."""
    once, twice, thrice, often = (max(int((counts == number).sum()), 1) for number in (1, 2, 3, 4))
    rate = once / (once + 2 * twice)
    found = [1 - 2 * rate * twice / once, 2 - 3 * rate * thrice / twice, 3 - 4 * rate * often / thrice]
    # With little text the estimates may exceed the counts, so they are clipped.
    return np.array([0.0, *(min(max(discount, 0.1), number - 0.1) for number, discount in enumerate(found, 1))])


def _lay_out(sequences: Sequence[np.ndarray], order: int) -> tuple[np.ndarray, np.ndarray]:
    """All sequences concatenated, uint64, each with order - 1 begin tokens before it and an end token after it; and the
    positions to predict.

    Example: sequences [[7]], order 2 -> words [_BEGIN, 9, _END], predicted [1, 2].
    """
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    starts = np.cumsum(lengths + order) - (lengths + order) + order - 1
    words = np.full(int((lengths + order).sum()), _BEGIN, np.uint64)
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    if len(offsets):
        words[np.repeat(starts, lengths) + offsets] = np.concatenate(sequences).astype(np.uint64) + np.uint64(2)
    words[starts + lengths] = _END
    counts = lengths + 1
    steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return words, np.repeat(starts, counts) + steps


def _runs(words: np.ndarray, order: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For n = 1, 2 ... the hash of the n-gram that ends at each position, and of its context (the n-gram without its
    last token), uint64 each."""
    spread = (words + np.uint64(1)) * GOLDEN
    spread ^= spread >> np.uint64(32)
    spread *= GOLDEN
    found = []
    before = np.zeros(len(words), np.uint64)
    for _ in range(order):
        context = np.concatenate([np.zeros(1, np.uint64), before[:-1]])
        before = context * GOLDEN + spread
        found.append((before, context))
    # The empty context is the same everywhere.
    found[0] = (spread, np.zeros(len(words), np.uint64))
    return found


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The value of each wanted key, 0 if it is missing, and whether it is known: float64 and bool."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    known = keys[place] == wanted
    return np.where(known, values[place], 0.0), known
