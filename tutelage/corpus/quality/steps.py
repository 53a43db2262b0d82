"""Model-based quality steps: a classifier, or any function that scores texts."""

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

_RECIPE = 1  # increase it whenever `train_classifier` would train a different model on the same texts
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+|(?<=[。！？])(?![」』”’）。！？]|\s|$)")


class ModelSettings(Settings, frozen=True, kw_only=True):
    """The classifier: a model file, or one that is trained once and cached.

    model:     a file of `Classifier.save` (`tutelage scorer`), or of fastText (.bin, .ftz).
    label:     for fastText: the positive label, such as "hq" for __label__hq.
    positives: files of good texts, to train on if no model is given; with
    negatives: files of ordinary texts.
    """

    model: str | None = None
    label: str | None = None
    positives: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        trained = bool(self.positives and self.negatives)
        if (self.model is None) != trained or bool(self.positives) != bool(self.negatives):
            raise SettingsError("set either model, or positives and negatives to train one")


class QualitySettings(ModelSettings, tag="quality", tag_field="kind", frozen=True, kw_only=True):
    """Adds the metadata field `quality`, the probability of the positive class, and drops documents below `at_least`.
    To keep the top tenth of the corpus, as DCLM does (Li et al. 2024, arXiv 2406.11794), omit `at_least` and add a
    step of kind keep_top."""

    at_least: float | None = None


class ToxicitySettings(ModelSettings, tag="toxicity", tag_field="kind", frozen=True, kw_only=True):
    """Adds the metadata field `toxicity`, the maximum probability over the sentences. Sentences above `at_most` are
    cut, and a document with no other sentence is dropped. Dolma cuts above 0.4 (Soldaini et al. 2024, arXiv
    2402.00159). Here `label`, or `positives`, is the toxic class.

    at_most: None cuts nothing.
    """

    at_most: float | None = 0.4


class ScoreSettings(Settings, tag="score", tag_field="kind", frozen=True, kw_only=True):
    """Scores documents with a user function from a list of texts to one number per text.

    function: "package.module:name", importable from the working directory.
    name:     metadata field for the score.
    at_least, at_most: documents below, or above, are dropped.
    """

    function: str
    name: str = "score"
    at_least: float | None = None
    at_most: float | None = None


def scorer(settings: ModelSettings) -> Score:
    """A function that scores texts. Raises ValueError if the model, or a file to train it on, is missing."""
    if settings.model is not None:
        return open_scorer(local_file(settings.model), settings.label)

    def learn(path: Path) -> None:
        positives = read_texts(settings.positives, "positives")
        train_classifier(positives, read_texts(settings.negatives, "negatives")).save(path)

    what = ["classifier", _RECIPE, len(settings.positives)]
    return open_scorer(learned(what, [*settings.positives, *settings.negatives], learn), None)


def quality(settings: QualitySettings) -> Step:
    """Score documents with a classifier and drop low scores (DCLM, arXiv 2406.11794, section 4.4)."""
    score = scorer(settings)

    def step(batch: DocumentBatch) -> None:
        scores = score(batch.texts)
        batch.add_metadata({"quality": scores.tolist()})
        drop_broken(batch, [below("low quality", scores, settings.at_least)])

    return step


def toxicity(settings: ToxicitySettings) -> Step:
    """Cut toxic sentences with a classifier (Dolma, arXiv 2402.00159)."""
    score = scorer(settings)

    def step(batch: DocumentBatch) -> None:
        spans = [_sentences(text) for text in batch.texts]
        rows = [(place, begin, end) for place, own in enumerate(spans) for begin, end in own]
        texts = batch.texts
        scores = score([texts[place][begin:end] for place, begin, end in rows])
        worst = np.full(len(texts), -1.0)
        np.maximum.at(worst, np.array([place for place, _, _ in rows], np.int64), scores)
        batch.add_metadata({"toxicity": [found if found >= 0 else None for found in worst.tolist()]})
        if settings.at_most is None:
            return
        cut: dict[int, list[tuple[int, int]]] = {}
        for (place, begin, end), toxic in zip(rows, (scores > settings.at_most).tolist(), strict=True):
            if toxic:
                cut.setdefault(place, []).append((begin, end))
        gone = [place for place, own in cut.items() if len(own) == len(spans[place])]
        left = [_without(text, cut[place]) if place in cut else None for place, text in enumerate(texts)]
        batch.rewrite([None if place in gone else text for place, text in enumerate(left)], "toxic sentences cut")
        batch.drop(sorted(gone), "all sentences toxic")

    return step


def _sentences(text: str) -> list[tuple[int, int]]:
    """The (begin, end) offsets of the sentences of a text."""
    ends = [match.start() for match in _SENTENCE_END.finditer(text)]
    begins = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    return [(begin, end) for begin, end in zip(begins, [*ends, len(text)], strict=True) if text[begin:end].strip()]


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """A text without some of its sentences, and without the white space around them."""
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
    """Score documents with a user function and drop those outside the limits. Raises ValueError if it is not found."""
    module, _, name = settings.function.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"function: {settings.function} cannot be imported ({error}); write it as package.module:function"
        ) from error

    def step(batch: DocumentBatch) -> None:
        scores = np.asarray(function(batch.texts), np.float64)
        if scores.shape != (len(batch),):
            raise ValueError(
                f"function: {settings.function} returned shape {scores.shape} for {len(batch)} texts; it must return "
                "one number per text"
            )
        batch.add_metadata({settings.name: scores.tolist()})
        low, high = f"{settings.name} too low", f"{settings.name} too high"
        drop_broken(batch, [below(low, scores, settings.at_least), above(high, scores, settings.at_most)])

    return step
