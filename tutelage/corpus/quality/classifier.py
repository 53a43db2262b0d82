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
from tutelage.corpus.words import encode, plain_tokens
from tutelage.files import atomic_file

PLACES = 1 << 20
FASTTEXT_SUFFIXES = (".bin", ".ftz")

Score = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Classifier:
    """weights: float32[PLACES], of hashed words and pairs; bias: the log-odds of a text without words."""

    weights: np.ndarray
    bias: float

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """How probable it is that each text is a good one, float64[N]."""
        tokens = plain_tokens(encode(list(texts)))
        odds = load("tutelage.corpus.quality.loops").score(tokens.values, tokens.bounds, self.weights, self.bias)
        return 1 / (1 + np.exp(-odds))

    def save(self, path: Path) -> None:
        """Writes the model, as safetensors."""
        with atomic_file(path) as temporary:
            save_file({"weights": self.weights, "bias": np.array([self.bias])}, temporary)


def train_classifier(
    positives: Sequence[str], negatives: Sequence[str], epochs: int = 5, rate: float = 0.1, seed: int = 0
) -> Classifier:
    """A classifier that tells positives from negatives; both together count the same, however many there are.

    Raises:
        ValueError: one of the two is empty.
    """
    if not positives or not negatives:
        raise ValueError("a classifier needs texts to prefer and texts to tell them from; one of the two has none")
    tokens = plain_tokens(encode([*positives, *negatives]))
    labels = np.repeat([1.0, 0.0], [len(positives), len(negatives)])
    importance = np.where(labels == 1, 0.5 / len(positives), 0.5 / len(negatives)) * len(labels)
    draw = np.random.default_rng(seed)
    orders = np.stack([draw.permutation(len(labels)) for _ in range(epochs)])
    weights, squares = np.zeros(PLACES, np.float32), np.full(PLACES, 1e-6, np.float32)
    loops = load("tutelage.corpus.quality.loops")
    bias = loops.learn(tokens.values, tokens.bounds, labels, importance, orders, weights, squares, rate)
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
        return Classifier(tensors["weights"].reshape(PLACES), float(tensors["bias"][0]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"model: {path} is neither a classifier of Tutelage nor named as one of fastText (.bin, .ftz): {error}"
        ) from error
