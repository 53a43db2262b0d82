"""A small classifier of texts: good or not, told by words and pairs of words.

Logistic regression on hashed words and pairs, of which fastText's classifier (Joulin et al. 2016) is the form with one
more matrix. Trained one text after the other, so that the same texts give the same model to the bit; fastText would do
so with one thread only, and then its training often ends in NaN. Models that fastText wrote are read all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tutelage.corpus.extras import load
from tutelage.corpus.language import load_fasttext
from tutelage.corpus.minhash import Hashes
from tutelage.corpus.words import encode, plain_tokens
from tutelage.files import atomic_file

PLACES = 1 << 20
FASTTEXT_SUFFIXES = (".bin", ".ftz")
_RATE = 0.1
_TEXTS = 1024  # taken apart at a time: as characters they take four times their room

Score = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Classifier:
    """weights: float32[PLACES], of hashed words and pairs; bias: the log-odds of a text without words."""

    weights: np.ndarray
    bias: float

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """How probable it is that each text is a good one, float64[N]."""
        return self.score_words(hashed_words(texts))

    def score_words(self, words: Hashes) -> np.ndarray:
        """`score` of texts whose words are known."""
        odds = load("tutelage.corpus.quality.loops").score(words.values, words.bounds, self.weights, self.bias)
        return 1 / (1 + np.exp(-odds))

    def save(self, path: Path) -> None:
        """Writes the model, as safetensors."""
        with atomic_file(path) as temporary:
            save_file({"weights": self.weights, "bias": np.array([self.bias])}, temporary)


def train_classifier(positives: Sequence[str], negatives: Sequence[str], epochs: int = 5) -> Classifier:
    """A classifier that tells positives from negatives; both together count the same, however many there are.

    Raises:
        ValueError: one of the two is empty.
    """
    if not positives or not negatives:
        raise ValueError("a classifier needs texts to prefer and texts to tell them from; one of the two has none")
    labels = np.repeat([1.0, 0.0], [len(positives), len(negatives)])
    importance = np.where(labels == 1, 0.5 / len(positives), 0.5 / len(negatives)) * len(labels)
    texts = [*positives, *negatives]
    return fit(hashed_words(texts), labels, importance, epochs, np.arange(len(texts)))


def hashed_words(texts: Sequence[str]) -> Hashes:
    """The words of texts; in memory they are a good part of what the texts are."""
    parts = [plain_tokens(encode(list(texts[at : at + _TEXTS]))) for at in range(0, len(texts), _TEXTS)]
    counts = [np.diff(part.bounds) for part in parts]
    bounds = np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()
    return Hashes(np.concatenate([np.zeros(0, np.uint64), *(part.values for part in parts)]), bounds)


def fit(words: Hashes, labels: np.ndarray, importance: np.ndarray, epochs: int, rows: np.ndarray) -> Classifier:
    """A classifier that has learned from the texts at `rows` to give each a probability near its label, from 0 to 1.
    Each counts as much as its importance says; both float64[N], N texts in all."""
    draw = np.random.default_rng(0)
    orders = np.stack([rows[draw.permutation(len(rows))] for _ in range(epochs)])
    weights, squares = np.zeros(PLACES, np.float32), np.full(PLACES, 1e-6, np.float32)
    loops = load("tutelage.corpus.quality.loops")
    bias = loops.learn(words.values, words.bounds, labels, importance, orders, weights, squares, _RATE)
    return Classifier(weights, float(bias))


def open_scorer(path: Path, label: str | None) -> Score:
    """What scores texts by a model in a file: one that `Classifier.save` wrote, or one of fastText.

    label: of a fastText model, the label that is the good one, as "hq" for __label__hq.

    Raises:
        ValueError: there is no model, or it does not have the label.
    """
    if path.suffix not in FASTTEXT_SUFFIXES:
        return _open_classifier(path).score
    model = load_fasttext(path)
    labels = [name.removeprefix("__label__") for name in model.get_labels()]
    if label not in labels:
        raise ValueError(f"label: {path} tells {', '.join(labels)} apart; say which of them is the good one")

    def score(texts: Sequence[str]) -> np.ndarray:
        found = [model.predict(" ".join(text.split()), k=len(labels)) for text in texts]
        return np.array([dict(zip(names, odds, strict=True)).get(f"__label__{label}", 0.0) for names, odds in found])

    return score


def _open_classifier(path: Path) -> Classifier:
    try:
        tensors = load_file(path)
        if "cuts" in tensors:
            raise ValueError("it was made of a judge's scores; use it in a step of kind judged")
        return Classifier(tensors["weights"].reshape(PLACES), float(tensors["bias"][0]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"model: {path} is neither a classifier of Tutelage nor named as one of fastText (.bin, .ftz): {error}"
        ) from error
