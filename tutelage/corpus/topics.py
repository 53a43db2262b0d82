"""Topics of documents, and a corpus with given shares of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep, rows_of_documents
from tutelage.corpus.fetch import local_file
from tutelage.corpus.quality.classifier import FASTTEXT_SUFFIXES, open_scorer, train_classifier
from tutelage.corpus.quality.sources import learned, read_texts
from tutelage.text.hashing import falls_in, hash_texts
from tutelage.text.language import load_fasttext

_RECIPE = 1  # increase it whenever another model would be trained on the same texts
_LABEL = "__label__"

# The most likely topic of each text, and its probability.
Classify = Callable[[Sequence[str]], tuple[list[str], np.ndarray]]


class TopicsSettings(Settings, tag="topics", tag_field="kind", frozen=True, kw_only=True):
    """Adds the metadata fields `topic` and `topic_confidence`, by a fastText model or one that is trained once from
    examples. WebOrganizer (Wettig et al. 2025, arXiv 2502.10341) distils such a model from an LLM.

    model:    a fastText model (.bin, .ftz) with a label per topic.
    examples: topic -> files of its texts; one classifier per topic tells it from the others.
    """

    model: str | None = None
    examples: dict[str, tuple[str, ...]] = {}

    def __post_init__(self) -> None:
        if (self.model is None) != bool(self.examples) or len(self.examples) == 1:
            raise SettingsError("topics needs either model, or examples of at least two topics")
        if self.model is not None and Path(self.model).suffix not in FASTTEXT_SUFFIXES:
            raise SettingsError(f"model: {self.model} is no fastText model ({', '.join(FASTTEXT_SUFFIXES)})")


class ReweightSettings(Settings, tag="reweight", tag_field="kind", frozen=True, kw_only=True):
    """Samples documents so that the values of a metadata field have given shares of the words; none is repeated. As
    many words are kept as the scarcest value allows.

    field:  the metadata field.
    shares: value -> its share; they need not sum to 1. Documents with other values are dropped.
    """

    field: str = "topic"
    shares: dict[str, float]

    def __post_init__(self) -> None:
        if not self.shares or min(self.shares.values()) < 0 or not sum(self.shares.values()) > 0:
            raise SettingsError("shares must name at least one value with a share above 0, and no negative share")


def topics(settings: TopicsSettings) -> Step:
    """Classify documents by topic. Raises ValueError if the model, or a file to train it on, is missing."""
    classify = _classifier(settings)

    def step(batch: DocumentBatch) -> None:
        names, confidences = classify(batch.texts)
        batch.add_metadata({"topic": names, "topic_confidence": confidences.round(4).tolist()})

    return step


def _classifier(settings: TopicsSettings) -> Classify:
    if settings.model is not None:
        model = load_fasttext(local_file(settings.model))

        def predict(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
            found = [model.predict(" ".join(text.split()), k=1) for text in texts]
            names = [labels[0].removeprefix(_LABEL) if labels else "" for labels, _ in found]
            return names, np.array([odds[0] if len(odds) else 0.0 for _, odds in found], np.float64)

        return predict
    names = list(settings.examples)
    scorers = [open_scorer(_learned(settings.examples, topic), None) for topic in names]

    def best(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
        scores = np.stack([score(texts) for score in scorers], axis=1).reshape(len(texts), len(names))
        return [names[topic] for topic in scores.argmax(1).tolist()], scores.max(1)

    return best


def _learned(examples: dict[str, tuple[str, ...]], topic: str) -> Path:
    """A classifier that tells a topic from the others."""
    others = [path for name, paths in examples.items() if name != topic for path in paths]

    def learn(path: Path) -> None:
        positives = read_texts(examples[topic], f"examples.{topic}")
        train_classifier(positives, read_texts(others, "examples")).save(path)

    return learned(["topic", _RECIPE, len(examples[topic])], [*examples[topic], *others], learn)


def reweight(settings: ReweightSettings) -> GlobalStep:
    """Sample documents to given shares of the words."""
    values = [value for value, share in settings.shares.items() if share > 0]
    codes = hash_texts(values)

    def collect(batch: DocumentBatch) -> Columns:
        found = hash_texts(str(document.facts.get(settings.field, "")) for document in batch.documents)
        return {"value": found, "words": np.array([len(text.split()) for text in batch.texts], np.int64)}

    def decide(corpus: Corpus) -> dict[str, Any]:
        sizes = np.zeros(len(values))
        for shard, words in zip(corpus.columns["value"], corpus.columns["words"], strict=True):
            sizes += [float(np.asarray(words)[np.asarray(shard) == code].sum()) for code in codes]
        for value, size in zip(values, sizes, strict=True):
            if not size:
                raise ValueError(f"shares: no document has {settings.field} = '{value}'; remove it from the shares")
        wanted = np.array([settings.shares[value] for value in values])
        kept = wanted * min(sizes / wanted)
        rates = kept / sizes
        for shard, out in zip(corpus.columns["value"], corpus.decisions("rate", "value", np.float64), strict=True):
            for code, rate in zip(codes, rates, strict=True):
                out[np.asarray(shard) == code] = rate
        return {"rates": dict(zip(values, rates.round(4).tolist(), strict=True))}

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        rates = decisions["rate"].tolist()
        known = np.array([rate > 0 for rate in rates], bool)
        chosen = [falls_in(f"reweight {d.id}", rate) for d, rate in zip(batch.documents, rates, strict=True)]
        gone = np.flatnonzero(~np.array(chosen, bool))
        field = settings.field
        reasons = [
            f"{field} above its share" if known[place] else f"{field} without a share" for place in gone.tolist()
        ]
        batch.drop(gone, reasons, [str(batch.documents[place].facts.get(field, "")) for place in gone.tolist()])

    return GlobalStep(collect, decide, rows_of_documents("rate"), apply)
