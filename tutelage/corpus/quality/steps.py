"""Steps that judge documents by a model: a classifier, or any function that scores texts."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.fetch import local_file
from tutelage.corpus.quality.classifier import Score, open_scorer, train_classifier
from tutelage.corpus.quality.sources import learned, read_texts
from tutelage.corpus.rules.checks import above, below, drop_broken

_RECIPE = 1  # to be raised whenever `train_classifier` would make another model of the same texts
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


class ModelSettings(Settings, frozen=True, kw_only=True):
    """What judges: a model in a file, or one that is trained here, once, and kept.

    model:     a file of `Classifier.save`, or of fastText (.bin, .ftz), then with
    label:     the label of fastText's that is the good one, as "hq" for __label__hq.
    positives: files of texts as one wants them, and
    negatives: files of texts as they come, to train from where no model is given.
    """

    model: str | None = None
    label: str | None = None
    positives: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        trained = bool(self.positives and self.negatives)
        if (self.model is None) != trained or bool(self.positives) != bool(self.negatives):
            raise SettingsError("say which model judges with model, or train one from positives and negatives")


class QualitySettings(ModelSettings, tag="quality", tag_field="kind", frozen=True, kw_only=True):
    """Documents are described by their `quality`, the probability that they are good. Those below `at_least` are
    dropped; to keep the best tenth of the corpus, as DCLM does (Li et al. 2024, arXiv 2406.11794), leave it out and let
    a step of kind keep_top follow."""

    at_least: float | None = None


class ToxicitySettings(ModelSettings, tag="toxicity", tag_field="kind", frozen=True, kw_only=True):
    """Documents are described by their `toxicity`, how probable it is of their most toxic sentence. Sentences above
    `at_most` are cut, and a document that is nothing else goes: Dolma cuts above 0.4 (Soldaini et al. 2024, arXiv
    2402.00159). Here the `label`, or the positives, are what is *not* wanted.

    at_most: None cuts nothing.
    """

    at_most: float | None = 0.4


class ScoreSettings(Settings, tag="score", tag_field="kind", frozen=True, kw_only=True):
    """Documents are judged by any function from a list of texts to a number for each.

    function: "package.module:name", importable from where the run is started.
    name:     under which the number is written beside each document.
    at_least, at_most: what is below the one, or above the other, is dropped.
    """

    function: str
    name: str = "score"
    at_least: float | None = None
    at_most: float | None = None


def scorer(settings: ModelSettings) -> Score:
    """What scores texts by these settings; ValueError where the model, or what to train it from, is not there."""
    if settings.model is not None:
        return open_scorer(local_file(settings.model), settings.label)

    def learn(path: Path) -> None:
        positives = read_texts(settings.positives, "positives")
        train_classifier(positives, read_texts(settings.negatives, "negatives")).save(path)

    what = ["classifier", _RECIPE, len(settings.positives)]
    return open_scorer(learned(what, [*settings.positives, *settings.negatives], learn), None)


def quality(settings: QualitySettings) -> Step:
    """The step of these settings."""
    score = scorer(settings)

    def step(batch: DocumentBatch) -> None:
        scores = score(batch.texts)
        batch.describe({"quality": scores.tolist()})
        drop_broken(batch, [below("low quality", scores, settings.at_least)])

    return step


def toxicity(settings: ToxicitySettings) -> Step:
    """The step of these settings."""
    score = scorer(settings)

    def step(batch: DocumentBatch) -> None:
        spans = [_sentences(text) for text in batch.texts]
        rows = [(place, begin, end) for place, own in enumerate(spans) for begin, end in own]
        texts = batch.texts
        scores = score([texts[place][begin:end] for place, begin, end in rows])
        worst = np.full(len(texts), -1.0)
        np.maximum.at(worst, np.array([place for place, _, _ in rows], np.int64), scores)
        batch.describe({"toxicity": [found if found >= 0 else None for found in worst.tolist()]})
        if settings.at_most is None:
            return
        cut: dict[int, list[tuple[int, int]]] = {}
        for (place, begin, end), toxic in zip(rows, (scores > settings.at_most).tolist(), strict=True):
            if toxic:
                cut.setdefault(place, []).append((begin, end))
        gone = [place for place, own in cut.items() if len(own) == len(spans[place])]
        left = [_without(text, cut[place]) if place in cut else None for place, text in enumerate(texts)]
        batch.rewrite([None if place in gone else text for place, text in enumerate(left)], "toxic sentences cut")
        batch.drop(sorted(gone), "toxic throughout")

    return step


def _sentences(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a text stand."""
    ends = [match.start() for match in _SENTENCE_END.finditer(text)]
    begins = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    return [(begin, end) for begin, end in zip(begins, [*ends, len(text)], strict=True) if text[begin:end].strip()]


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """A text without some sentences of it, and without the white space that stood between these and others."""
    left, at = "", 0
    for begin, end in spans:
        left += text[at:begin]
        at = end
        between = " \n" if begin == 0 or text[begin - 1] == "\n" else " "
        while at < len(text) and text[at] in between:
            at += 1
        if text[at : at + 1] == "\n":
            left = left.rstrip(" ")
    return (left + text[at:]).strip()


def by_function(settings: ScoreSettings) -> Step:
    """The step of these settings; ValueError where there is no such function."""
    module, _, name = settings.function.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"function: {settings.function} is not there ({error}); write it as package.module:function"
        ) from error

    def step(batch: DocumentBatch) -> None:
        scores = np.asarray(function(batch.texts), np.float64)
        if scores.shape != (len(batch),):
            raise ValueError(
                f"function: {settings.function} gave {scores.shape} numbers for {len(batch)} texts; one each is needed"
            )
        batch.describe({settings.name: scores.tolist()})
        low, high = f"{settings.name} too low", f"{settings.name} too high"
        drop_broken(batch, [below(low, scores, settings.at_least), above(high, scores, settings.at_most)])

    return step
