"""Agreement of each quality scorer of `tutelage curate` with people, and of a distilled judge with its judge.

    TUTELAGE_DATA=DIR python benchmarks/peers/scorers.py

Prints the figures of docs/curation-parity.md, with 95% intervals. The human labels are those that DCLM published
(folder quality_labels). The judge is a fixed rule, because its true scores are known.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import data_folder
from peers.documents import documents, read

from tutelage.corpus.quality.agreement import Figure, area
from tutelage.corpus.quality.classifier import train_classifier
from tutelage.corpus.quality.distil import Agreement, distil
from tutelage.corpus.quality.dsir import PLACES, log_ratios, ngram_places
from tutelage.corpus.quality.ngrams import load_ngrams
from tutelage.corpus.quality.perplexity import learn_perplexity, perplexities
from tutelage.corpus.quality.rubric import judged_part
from tutelage.text.words import hash_words
from tutelage.tokenizer import load

FOLDS = 5
SCHOOL_WORDS = frozenset(
    "age analysis average century city class data degree element energy field function group history king "
    "language level method model number point population power process rate research result school science "
    "society space species state student students study system theory time university value war water world".split()
)


def school_score(text: str) -> float:
    """The rule that replaces a judge: a score from 0 to 5 by the share of words about school subjects."""
    words = re.findall("[a-z]+", text.lower())
    return min(5.0, float(round(120 * sum(word in SCHOOL_WORDS for word in words) / max(len(words), 1))))


def cross_validated(
    texts: list[str], good: np.ndarray, score: Callable[[list[str], list[str], list[str]], np.ndarray]
) -> Figure:
    """The area under the curve of a scorer that gets the good and bad texts of the other folds, and those to score."""
    fold = np.random.default_rng(0).permutation(np.arange(len(texts)) % FOLDS)
    scores = np.empty(len(texts))
    for number in range(FOLDS):
        inside = np.flatnonzero(fold == number)
        known = [[texts[i] for i in np.flatnonzero((fold != number) & (good == kind))] for kind in (True, False)]
        scores[inside] = score(known[0], known[1], [texts[i] for i in inside])
    return area(scores, good)


def by_perplexity(reference: list[str], texts: list[str]) -> np.ndarray:
    """Negative perplexity under an n-gram model of the reference texts."""
    with tempfile.TemporaryDirectory() as folder:
        learn_perplexity(reference, Path(folder) / "model", 8192)
        model = load_ngrams(Path(folder) / "model" / "ngrams.safetensors")
        return -perplexities(texts, load(Path(folder) / "model"), model)


def by_dsir(target_texts: list[str], raw: list[str], texts: list[str]) -> np.ndarray:
    """DSIR's log importance weights."""
    target, corpus = (np.bincount(ngram_places(hash_words(part))[0], minlength=PLACES) for part in (target_texts, raw))
    ratios = log_ratios(target, corpus)
    return np.array([ratios[ngram_places(hash_words([text]))[0]].sum() for text in texts])


def format_figure(figure: Figure | None) -> str:
    """A figure with its interval."""
    return "-" if figure is None else f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def format_agreement(agreement: Agreement) -> str:
    area, ranks, f1 = map(format_figure, (agreement.auc, agreement.spearman, agreement.f1))
    return f"area {area}, rank correlation {ranks}, F1 {f1}, F1 of keeping everything {agreement.f1_keep_all:.2f}"


def main() -> None:
    """Measure and print."""
    folder = data_folder()
    labels = folder / "quality_labels" / "split_give.jsonl.gz"
    if not labels.exists():
        sys.exit(f"there is no file {labels}; set TUTELAGE_DATA to the data folder")
    with gzip.open(labels) as lines:
        rows = [json.loads(line) for line in lines]
    texts, good = [row["text"] for row in rows], np.array([bool(row["label"]) for row in rows])
    wikipedia = [text for text in read(folder / "wikitext2" / "valid.txt.gz") if text.strip()]
    print(f"human labels: {len(texts)}, {good.mean():.0%} good")
    classifier = cross_validated(texts, good, lambda a, b, of: train_classifier(a, b).score(of))
    print("quality     ", format_figure(classifier))
    print("distilled   ", format_agreement(distil(texts, 5.0 * good)[1]))
    print(f"perplexity, {len(wikipedia)} articles", format_figure(area(by_perplexity(wikipedia, texts), good)))
    print("perplexity, good texts", format_figure(cross_validated(texts, good, lambda a, _, of: by_perplexity(a, of))))
    print("dsir        ", format_figure(cross_validated(texts, good, lambda a, _, of: by_dsir(a, texts, of))))
    parts = list(dict.fromkeys(part for text in documents() if (part := judged_part(text))))
    scores = np.array([school_score(part) for part in parts])
    print(f"a rule as judge of {len(parts)} documents:", format_agreement(distil(parts, scores)[1]))


if __name__ == "__main__":
    main()
