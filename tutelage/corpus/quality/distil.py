"""A judge's scores, distilled into a model small enough to score every document of a corpus.

FineWeb-Edu (Penedo et al. 2024, arXiv 2406.17557) put a regression on top of a frozen encoder; here the classifier of
words and pairs of words is taught the score as a share of the highest. What it gives is laid on the judge's scale, so
that it gives each score as often as the judge did: little data makes any regression timid, and none would reach 5.
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
from tutelage.corpus.minhash import Hashes
from tutelage.corpus.quality.agreement import Figure, area, f1, spearman
from tutelage.corpus.quality.classifier import PLACES, Classifier, fit, hashed_words
from tutelage.corpus.quality.rubric import HIGHEST, judged_part
from tutelage.corpus.quality.sources import learned, read_scores
from tutelage.corpus.rules.checks import Check, drop_broken
from tutelage.files import atomic_file

FEWEST = 50  # scores, to learn from and to be checked by
THRESHOLD = 3.0  # FineWeb-Edu's
FOLDS = 5
_EPOCHS = 10
_RECIPE = 1  # to be raised whenever `distil` would make another model of the same scores


class JudgedSettings(Settings, tag="judged", tag_field="kind", frozen=True, kw_only=True):
    """Documents are described by their `judged_score`, from 0 to 5, as a judge would score them. Those go whose score,
    rounded to a whole number, is below `at_least`: FineWeb-Edu keeps from 3 on (Penedo et al. 2024, arXiv 2406.17557).

    model:  a file of `tutelage scorer`; or
    scores: files of a judge's scores, of `tutelage judge` or any rows {"text", "score"}, to train one from, once.
    """

    model: str | None = None
    scores: tuple[str, ...] = ()
    at_least: float | None = THRESHOLD

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.scores):
            raise SettingsError("say which model scores with model, or train one from scores")


@dataclass(frozen=True, eq=False)
class ScoreModel:
    """cuts: float64[HIGHEST], the probability from which on a text is scored 1, 2 ... rather than one less."""

    classifier: Classifier
    cuts: np.ndarray

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """The score of each text, by its beginning as the judge read it: float64[N], from 0 to HIGHEST."""
        return on_scale(self.classifier.score([judged_part(text) for text in texts]), self.cuts)

    def save(self, path: Path) -> None:
        """Writes the model, as safetensors."""
        tensors = {"weights": self.classifier.weights, "bias": np.array([self.classifier.bias]), "cuts": self.cuts}
        with atomic_file(path) as temporary:
            save_file(tensors, temporary)


@dataclass(frozen=True)
class Agreement:
    """How far the model agrees with the judge about texts that it did not learn from.

    scores:   how many texts the judge gave 0, 1 ... HIGHEST (rounded).
    spearman: the correlation of the ranks.
    area:     how often a text from the threshold on scores above another.
    f1, precision, recall: of the texts the model would keep, as against those the judge would.
    f1_of_all: what keeping everything would reach.

    What hangs on the threshold is None where the judge put all texts on one side of it.
    """

    threshold: float
    scores: tuple[int, ...]
    spearman: Figure
    area: Figure | None
    f1: Figure | None
    precision: float | None
    recall: float | None
    f1_of_all: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        plain = asdict(self)
        for name in ("spearman", "area", "f1"):
            found: Figure | None = getattr(self, name)
            plain[name] = found._asdict() if found is not None else None
        return plain


def distil(texts: Sequence[str], scores: np.ndarray, threshold: float = THRESHOLD) -> tuple[ScoreModel, Agreement]:
    """A model of scores from 0 to HIGHEST, and how far it agrees with them. Each fifth of the texts is scored by what
    was learned from the others; the model that is given has learned from all.

    Raises:
        ValueError: there are too few scores, or they are all the same: nothing can be learned, or said, from them.
    """
    if len(texts) < FEWEST:
        raise ValueError(f"{len(texts):,} scores are too few to learn from and to check it by; give at least {FEWEST}")
    if (scores == scores[0]).all():
        raise ValueError(
            f"all {len(texts):,} scores are {scores[0]:g}, so there is nothing to learn from them; take other "
            "documents, or a rubric or a judge that tells them apart"
        )
    words = hashed_words([judged_part(text) for text in texts])
    folds = np.random.default_rng(0).permutation(np.arange(len(texts)) % FOLDS)
    found = np.empty(len(texts))
    for fold in range(FOLDS):
        inside = folds == fold
        found[inside] = _fit(words, scores, np.flatnonzero(~inside)).score_words(words)[inside]
    model = ScoreModel(_fit(words, scores, np.arange(len(texts))), _cuts(found, scores))
    # Where to cut is learned too, so each fifth is cut by the others.
    held_out = np.empty(len(texts))
    for fold in range(FOLDS):
        inside = folds == fold
        held_out[inside] = on_scale(found[inside], _cuts(found[~inside], scores[~inside]))
    return model, agreement(held_out, scores, threshold)


def _fit(words: Hashes, scores: np.ndarray, rows: np.ndarray) -> Classifier:
    return fit(words, scores / HIGHEST, np.ones(len(scores)), _EPOCHS, rows)


def _cuts(found: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Where to cut so that as many are found to reach each score as do."""
    ordered = np.sort(found)[::-1]
    counts = [(np.round(scores) >= level).sum() for level in range(1, HIGHEST + 1)]
    # Half-way between the last that reaches it and the first that does not.
    bounds = np.concatenate([[1.0], ordered, [0.0]])
    return np.array([(bounds[count] + bounds[count + 1]) / 2 for count in counts])


def on_scale(found: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Probabilities as scores from 0 to HIGHEST: at the n-th cut n - 1/2, in a straight line between them."""
    steps = np.concatenate([[0.0], cuts, [1.0]]) + 1e-12 * np.arange(HIGHEST + 2)  # they must not be the same
    return np.interp(found, steps, [0.0, *(np.arange(HIGHEST) + 0.5), float(HIGHEST)])


def agreement(found: np.ndarray, scores: np.ndarray, threshold: float = THRESHOLD) -> Agreement:
    """How far scores that were found agree with those of the judge; float64[N] both, not all the same."""
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
    """The model that `ScoreModel.save` wrote; ValueError where there is none."""
    try:
        tensors = load_file(path)
        classifier = Classifier(tensors["weights"].reshape(PLACES), float(tensors["bias"][0]))
        return ScoreModel(classifier, tensors["cuts"].reshape(HIGHEST))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"model: {path} is none that `tutelage scorer` made of scores: {error}") from error


def judged(settings: JudgedSettings) -> Step:
    """The step of these settings; ValueError where the model, or what to train it from, is not there."""

    def learn(path: Path) -> None:
        distil(*read_scores(settings.scores))[0].save(path)

    own = None if settings.model is None else local_file(settings.model)
    path = own or learned(["judged", _RECIPE], settings.scores, learn)
    model = open_score_model(path)

    def step(batch: DocumentBatch) -> None:
        scores = model.score(batch.texts)
        batch.describe({"judged_score": scores.tolist()})
        limit = settings.at_least
        broken = np.zeros(len(scores), bool) if limit is None else np.round(scores) < limit
        drop_broken(batch, [Check("judged score too low", broken, scores)])

    return step
