"""A small binary text classifier: logistic regression on hashed unigrams and bigrams.

fastText's classifier (Joulin et al. 2016) adds one embedding matrix to this. Training is sequential, so the same texts
give the same model bit for bit; fastText is deterministic with one thread only, and then its training often ends in
NaN. fastText models can be loaded too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tutelage.corpus.language import load_fasttext
from tutelage.corpus.minhash import Hashes
from tutelage.corpus.words import encode, plain_tokens
from tutelage.extras import load
from tutelage.files import atomic_file

PLACES = 1 << 20
FASTTEXT_SUFFIXES = (".bin", ".ftz")
_RATE = 0.1
_TEXTS = 1024  # split at a time; as code points they need four times their memory

Score = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Classifier:
    """weights: float32[PLACES], of hashed unigrams and bigrams; bias: the log-odds of an empty text."""

    weights: np.ndarray
    bias: float

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """The probability of the positive class of each text, float64[N]."""
        return self.score_words(hashed_words(texts))

    def score_words(self, words: Hashes) -> np.ndarray:
        """`score` of texts that are already split into hashed words."""
        odds = load("tutelage.corpus.quality.loops").score(words.values, words.bounds, self.weights, self.bias)
        return 1 / (1 + np.exp(-odds))

    def save(self, path: Path) -> None:
        """Write the model as safetensors."""
        with atomic_file(path) as temporary:
            save_file({"weights": self.weights, "bias": np.array([self.bias])}, temporary)


def train_classifier(positives: Sequence[str], negatives: Sequence[str], epochs: int = 5) -> Classifier:
    """Train a classifier. Both classes have the same total weight, however many texts they have.

    Raises:
        ValueError: one of the two is empty.
    """
    if not positives or not negatives:
        raise ValueError("a classifier needs positive and negative texts; one of the two is empty")
    labels = np.repeat([1.0, 0.0], [len(positives), len(negatives)])
    importance = np.where(labels == 1, 0.5 / len(positives), 0.5 / len(negatives)) * len(labels)
    texts = [*positives, *negatives]
    return fit(hashed_words(texts), labels, importance, epochs, np.arange(len(texts)))


def hashed_words(texts: Sequence[str]) -> Hashes:
    """The hashed words of texts. In memory they are nearly as large as the texts."""
    parts = [plain_tokens(encode(list(texts[at : at + _TEXTS]))) for at in range(0, len(texts), _TEXTS)]
    counts = [np.diff(part.bounds) for part in parts]
    bounds = np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()
    return Hashes(np.concatenate([np.zeros(0, np.uint64), *(part.values for part in parts)]), bounds)


def fit(words: Hashes, labels: np.ndarray, importance: np.ndarray, epochs: int, rows: np.ndarray) -> Classifier:
    """Train on the texts at `rows`.

    labels:     float64[N], target probabilities from 0 to 1.
    importance: float64[N], weight of each text in the loss.
    """
    draw = np.random.default_rng(0)
    orders = np.stack([rows[draw.permutation(len(rows))] for _ in range(epochs)])
    weights, squares = np.zeros(PLACES, np.float32), np.full(PLACES, 1e-6, np.float32)
    loops = load("tutelage.corpus.quality.loops")
    bias = loops.learn(words.values, words.bounds, labels, importance, orders, weights, squares, _RATE)
    return Classifier(weights, float(bias))


def open_scorer(path: Path, label: str | None) -> Score:
    """A function that scores texts with a model file of `Classifier.save` or of fastText.

    label: for fastText: the positive label, such as "hq" for __label__hq.

    Raises:
        ValueError: the model is missing or does not have the label.
    """
    if path.suffix not in FASTTEXT_SUFFIXES:
        return _open_classifier(path).score
    model = load_fasttext(path)
    labels = [name.removeprefix("__label__") for name in model.get_labels()]
    if label not in labels:
        raise ValueError(f"label: {path} has the labels {', '.join(labels)}; set label to the positive one")

    def score(texts: Sequence[str]) -> np.ndarray:
        found = [model.predict(" ".join(text.split()), k=len(labels)) for text in texts]
        return np.array([dict(zip(names, odds, strict=True)).get(f"__label__{label}", 0.0) for names, odds in found])

    return score


def _open_classifier(path: Path) -> Classifier:
    try:
        tensors = load_file(path)
        if "cuts" in tensors:
            raise ValueError("it was distilled from the scores of a judge; use it in a step of kind distilled_score")
        return Classifier(tensors["weights"].reshape(PLACES), float(tensors["bias"][0]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"model: {path} is neither a classifier of `tutelage scorer` nor a fastText model (.bin, .ftz): {error}"
        ) from error
