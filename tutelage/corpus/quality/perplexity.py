"""Perplexity of documents under a 5-gram model of target text (CCNet, Wenzek et al. 2019, arXiv 1911.00359).

CCNet trains one model per language on Wikipedia, over SentencePiece tokens; here the tokens are those of a BPE
tokenizer trained on the same text. Perplexity is exp(-log-probability / tokens), with one end token per line. To sort
documents into head, middle and tail, add a step of kind percentiles.
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

_RECIPE = 1  # increase it whenever `learn_perplexity` would train a different model on the same texts
_MODEL = "ngrams.safetensors"
_DIGIT = re.compile(r"\d")


class PerplexitySettings(Settings, tag="perplexity", tag_field="kind", frozen=True, kw_only=True):
    """Adds the metadata field `perplexity`, and drops documents above `at_most`.

    model:      a folder of `learn_perplexity`; or
    positives:  files of target texts, to train a model on, once.
    vocabulary: vocabulary size of the trained tokenizer.
    order:      the largest n of the n-grams.
    """

    model: str | None = None
    positives: tuple[str, ...] = ()
    vocabulary: int = 8192
    order: int = ORDER
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.positives):
            raise SettingsError("set either model, or positives to train one")
        if self.order < 1:
            raise SettingsError(f"order is {self.order}; it must be at least 1")


def learn_perplexity(texts: Sequence[str], folder: Path, vocabulary: int, order: int = ORDER) -> None:
    """Train a tokenizer and an n-gram model, and write them to a new folder."""
    lines = [line for text in texts for line in normal_lines(text)]
    tokenizer = train(lines, TokenizerSettings(kind="bpe", vocab=vocabulary))
    model = train_ngrams(tokenizer.encode_batch(lines), tokenizer.vocab_size, order)
    with atomic_folder(folder) as temporary:
        tokenizer.save(temporary)
        model.save(temporary / _MODEL)


def normal_lines(text: str) -> list[str]:
    """The non-blank lines of a text in lower case, with 0 for every digit, as in CCNet."""
    valid = text.encode("utf-8", "replace").decode("utf-8")  # a tokenizer rejects lone surrogates
    return [_DIGIT.sub("0", line.strip().lower()) for line in valid.splitlines() if line.strip()]


def perplexities(texts: Sequence[str], tokenizer: Tokenizer, model: NgramModel) -> np.ndarray:
    """The perplexity of each text, float64[N]; nan for a text without words."""
    lines = [normal_lines(text) for text in texts]
    sequences = tokenizer.encode_batch([line for text_lines in lines for line in text_lines])
    logs = model.log_probabilities(sequences)
    per_line = np.array([len(sequence) + 1 for sequence in sequences], np.int64)
    of_text = np.repeat(np.repeat(np.arange(len(texts)), [len(text_lines) for text_lines in lines]), per_line)
    counts = np.bincount(of_text, minlength=len(texts))
    sums = np.bincount(of_text, weights=logs, minlength=len(texts))
    return np.exp(-np.divide(sums, counts, out=np.full(len(texts), np.nan), where=counts > 0))


def perplexity(settings: PerplexitySettings) -> Step:
    """Score documents by perplexity and drop high ones (CCNet, arXiv 1911.00359, section 3.3). Raises ValueError if the
    model, or a file to train it on, is missing."""

    def learn(folder: Path) -> None:
        texts = read_texts(settings.positives, "positives")
        learn_perplexity(texts, folder, settings.vocabulary, settings.order)

    what = ["perplexity", _RECIPE, settings.vocabulary, settings.order]
    folder = Path(settings.model) if settings.model is not None else learned(what, settings.positives, learn)
    tokenizer, model = load(folder), load_ngrams(folder / _MODEL)

    def step(batch: DocumentBatch) -> None:
        found = perplexities(batch.texts, tokenizer, model)
        batch.add_metadata({"perplexity": [None if np.isnan(value) else value for value in found.tolist()]})
        drop_broken(batch, [above("perplexity too high", found, settings.at_most)])

    return step
