"""How surprising a text is to a 5-gram model of text that one wants: its perplexity (CCNet, Wenzek et al. 2019).

CCNet trains on Wikipedia, for each language, over SentencePiece tokens; here they are byte-pair tokens of a tokenizer
trained on the same text. Perplexity is exp(-log-probability / tokens), with one end for each line. To sort documents
into head, middle and tail, let a step of kind percentiles follow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.quality.ngrams import ORDER, NgramModel, load_ngrams, train_ngrams
from tutelage.corpus.quality.sources import learned, read_texts
from tutelage.corpus.rules.checks import above, drop_broken
from tutelage.files import atomic_folder
from tutelage.tokenizer import Tokenizer, TokenizerSettings, load, train

_RECIPE = 1  # to be raised whenever `learn_perplexity` would make another model of the same texts
_MODEL = "ngrams.safetensors"
_DIGIT = re.compile(r"\d")


class PerplexitySettings(Settings, tag="perplexity", tag_field="kind", frozen=True, kw_only=True):
    """Documents are described by their `perplexity`; those above `at_most` are dropped.

    model:      a folder that `learn_perplexity` wrote; or
    positives:  files of texts as one wants them, to train a model from, once.
    vocabulary: tokens of the tokenizer that is trained.
    order:      the length of the longest runs.
    """

    model: str | None = None
    positives: tuple[str, ...] = ()
    vocabulary: int = 8192
    order: int = ORDER
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.positives):
            raise SettingsError("say which model judges with model, or train one from positives")
        if self.order < 1:
            raise SettingsError(f"order is {self.order}; it must be at least 1")


def learn_perplexity(texts: Sequence[str], folder: Path, vocabulary: int, order: int = ORDER) -> None:
    """Writes a tokenizer and an n-gram model of texts into a new folder."""
    lines = [line for text in texts for line in normal_lines(text)]
    tokenizer = train(lines, TokenizerSettings(kind="bpe", vocab=vocabulary))
    model = train_ngrams(tokenizer.encode_batch(lines), tokenizer.vocab_size, order)
    with atomic_folder(folder) as temporary:
        tokenizer.save(temporary)
        model.save(temporary / _MODEL)


def normal_lines(text: str) -> list[str]:
    """The lines of a text that are not blank, in small letters, with 0 for every digit, as CCNet reads them."""
    valid = text.encode("utf-8", "replace").decode("utf-8")  # half a character is no text to a tokenizer
    return [_DIGIT.sub("0", line.strip().lower()) for line in valid.splitlines() if line.strip()]


def perplexities(texts: Sequence[str], tokenizer: Tokenizer, model: NgramModel) -> np.ndarray:
    """The perplexity of each text, float64[N]; nan of one without a word."""
    lines = [normal_lines(text) for text in texts]
    sequences = tokenizer.encode_batch([line for own in lines for line in own])
    logs = model.log_probabilities(sequences)
    per_line = np.array([len(sequence) + 1 for sequence in sequences], np.int64)
    of_text = np.repeat(np.repeat(np.arange(len(texts)), [len(own) for own in lines]), per_line)
    counts = np.bincount(of_text, minlength=len(texts))
    sums = np.bincount(of_text, weights=logs, minlength=len(texts))
    return np.exp(-np.divide(sums, counts, out=np.full(len(texts), np.nan), where=counts > 0))


def perplexity(settings: PerplexitySettings) -> Step:
    """The step of these settings; ValueError where the model, or what to train it from, is not there."""

    def learn(folder: Path) -> None:
        texts = read_texts(settings.positives, "positives")
        learn_perplexity(texts, folder, settings.vocabulary, settings.order)

    what = ["perplexity", _RECIPE, settings.vocabulary, settings.order]
    folder = Path(settings.model) if settings.model is not None else learned(what, settings.positives, learn)
    tokenizer, model = load(folder), load_ngrams(folder / _MODEL)

    def step(batch: DocumentBatch) -> None:
        found = perplexities(batch.texts, tokenizer, model)
        batch.describe({"perplexity": [None if np.isnan(one) else one for one in found.tolist()]})
        drop_broken(batch, [above("perplexity too high", found, settings.at_most)])

    return step
