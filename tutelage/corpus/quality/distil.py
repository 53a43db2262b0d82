"""Distils the scores of an LLM judge into a model small enough to score every document of a corpus.

FineWeb-Edu (Penedo et al. 2024, arXiv 2406.17557) trains a regression on a frozen encoder. Here the classifier of
unigrams and bigrams is trained on score / HIGHEST. Its output is calibrated to the scale of the judge by quantiles, so
that each score is as frequent as in the judge's scores: with little data, a regression shrinks to the mean and never
reaches 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.fetch import local_file
from tutelage.corpus.quality.agreement import Figure, area, f1, spearman
from tutelage.corpus.quality.classifier import PLACES, Classifier, fit
from tutelage.corpus.quality.rubric import HIGHEST, judged_part
from tutelage.corpus.quality.sources import learned, read_scores
from tutelage.corpus.rules.checks import Check, drop_broken
from tutelage.files import atomic_file
from tutelage.text.words import Hashes, hash_words

FEWEST = 50  # scores needed for training and cross-validation
THRESHOLD = 3.0  # FineWeb-Edu's
FOLDS = 5
_EPOCHS = 10
_RECIPE = 1  # increase it whenever `distil` would train a different model on the same scores


class DistilledScoreSettings(Settings, tag="distilled_score", tag_field="kind", frozen=True, kw_only=True):
    """Adds the metadata field `distilled_score`, from 0 to 5, and drops documents whose rounded score is below
    `at_least`. FineWeb-Edu keeps scores of at least 3 (Penedo et al. 2024, arXiv 2406.17557).

    model:  a file of `tutelage scorer`; or
    scores: files of `tutelage judge`, or any rows {"text", "score"}, to train a model on, once.
    """

    model: str | None = None
    scores: tuple[str, ...] = ()
    at_least: float | None = THRESHOLD

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.scores):
            raise SettingsError("set either model, or scores to train one")


@dataclass(frozen=True, eq=False)
class ScoreModel:
    """cuts: float64[HIGHEST], the probabilities at which the score reaches 1, 2 ... HIGHEST."""

    classifier: Classifier
    cuts: np.ndarray

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """The score of each text from 0 to HIGHEST, float64[N]. It reads the same beginning as the judge."""
        return on_scale(self.classifier.score([judged_part(text) for text in texts]), self.cuts)

    def save(self, path: Path) -> None:
        """Write the model as safetensors."""
        tensors = {"weights": self.classifier.weights, "bias": np.array([self.classifier.bias]), "cuts": self.cuts}
        with atomic_file(path) as temporary:
            save_file(tensors, temporary)


@dataclass(frozen=True)
class Agreement:
    """Agreement of the model with the judge on held-out texts (cross-validation).

    score_counts: number of texts that the judge scored 0, 1 ... HIGHEST (rounded).
    spearman:     rank correlation.
    auc:          area under the ROC curve for score >= threshold.
    f1, precision, recall: of the texts that the model keeps, against those that the judge keeps.
    f1_keep_all:  F1 of keeping every text.

    Figures that depend on the threshold are None if the judge put all texts on one side of it.
    """

    threshold: float
    score_counts: tuple[int, ...]
    spearman: Figure
    auc: Figure | None
    f1: Figure | None
    precision: float | None
    recall: float | None
    f1_keep_all: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        plain = asdict(self)
        for name in ("spearman", "auc", "f1"):
            figure: Figure | None = getattr(self, name)
            plain[name] = figure._asdict() if figure is not None else None
        return plain


def distil(texts: Sequence[str], scores: np.ndarray, threshold: float = THRESHOLD) -> tuple[ScoreModel, Agreement]:
    """Train a model of scores from 0 to HIGHEST. Returns it, trained on all texts, and its agreement with the scores in
    five-fold cross-validation.

    Raises:
        ValueError: there are too few scores, or they are all the same.
    """
    if len(texts) < FEWEST:
        raise ValueError(f"{len(texts):,} scores are too few to train and validate a model; give at least {FEWEST}")
    if (scores == scores[0]).all():
        raise ValueError(
            f"all {len(texts):,} scores are {scores[0]:g}, so nothing can be learned from them; use other documents, "
            "another rubric or another judge"
        )
    words = hash_words([judged_part(text) for text in texts])
    folds = np.random.default_rng(0).permutation(np.arange(len(texts)) % FOLDS)
    found = np.empty(len(texts))
    for fold in range(FOLDS):
        inside = folds == fold
        found[inside] = _fit(words, scores, np.flatnonzero(~inside)).score_words(words)[inside]
    model = ScoreModel(_fit(words, scores, np.arange(len(texts))), _cuts(found, scores))
    # The cuts are fitted too, so each fold uses cuts from the other folds.
    held_out = np.empty(len(texts))
    for fold in range(FOLDS):
        inside = folds == fold
        held_out[inside] = on_scale(found[inside], _cuts(found[~inside], scores[~inside]))
    return model, agreement(held_out, scores, threshold)


def _fit(words: Hashes, scores: np.ndarray, rows: np.ndarray) -> Classifier:
    return fit(words, scores / HIGHEST, np.ones(len(scores)), _EPOCHS, rows)


def _cuts(found: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Cuts at which as many predictions reach each score as true scores do.

    Example: with true scores [0, 1, 1, 2] the first cut lies between the third and the fourth largest prediction.
    """
    ordered = np.sort(found)[::-1]
    counts = [(np.round(scores) >= level).sum() for level in range(1, HIGHEST + 1)]
    # Half-way between the last prediction that reaches the score and the first that does not.
    bounds = np.concatenate([[1.0], ordered, [0.0]])
    return np.array([(bounds[count] + bounds[count + 1]) / 2 for count in counts])


def on_scale(found: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Map probabilities to scores from 0 to HIGHEST: n - 1/2 at the n-th cut, linear in between."""
    steps = np.concatenate([[0.0], cuts, [1.0]]) + 1e-12 * np.arange(HIGHEST + 2)  # they must not be the same
    return np.interp(found, steps, [0.0, *(np.arange(HIGHEST) + 0.5), float(HIGHEST)])


def agreement(found: np.ndarray, scores: np.ndarray, threshold: float = THRESHOLD) -> Agreement:
    """Agreement of predicted scores with those of the judge; float64[N] both. The latter must not be all the same."""
    good, chosen = np.round(scores) >= threshold, np.round(found) >= threshold
    counts = tuple(np.bincount(np.round(scores).astype(int), minlength=HIGHEST + 1).tolist())
    ranked = spearman(found, scores) if np.ptp(found) > 0 else Figure(0.0, -1.0, 1.0)
    if good.all() or not good.any():
        return Agreement(threshold, counts, ranked, None, None, None, None, None)
    hits = int((good & chosen).sum())
    return Agreement(
        threshold,
        counts,
        ranked,
        area(found, good),
        f1(chosen, good),
        hits / int(chosen.sum()) if chosen.any() else None,
        hits / int(good.sum()),
        2 * float(good.mean()) / (1 + float(good.mean())),
    )


def open_score_model(path: Path) -> ScoreModel:
    """Load a model of `ScoreModel.save`. Raises ValueError if it is missing or not one."""
    try:
        tensors = load_file(path)
        classifier = Classifier(tensors["weights"].reshape(PLACES), float(tensors["bias"][0]))
        return ScoreModel(classifier, tensors["cuts"].reshape(HIGHEST))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"model: {path} is not a model of `tutelage scorer --scores`: {error}") from error


def distilled_score(settings: DistilledScoreSettings) -> Step:
    """Score documents with a model distilled from an LLM judge and drop low scores (FineWeb-Edu, arXiv 2406.17557).
    Raises ValueError if the model, or a file to train it on, is missing."""

    def learn(path: Path) -> None:
        distil(*read_scores(settings.scores))[0].save(path)

    own = None if settings.model is None else local_file(settings.model)
    path = own or learned(["distilled_score", _RECIPE], settings.scores, learn)
    model = open_score_model(path)

    def step(batch: DocumentBatch) -> None:
        scores = model.score(batch.texts)
        batch.add_metadata({"distilled_score": scores.tolist()})
        limit = settings.at_least
        broken = np.zeros(len(scores), bool) if limit is None else np.round(scores) < limit
        drop_broken(batch, [Check("distilled score too low", broken, scores)])

    return step
