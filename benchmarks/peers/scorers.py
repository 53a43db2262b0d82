"""How far each scorer of `tutelage curate` agrees with people, and a distilled judge with the judge.

    TUTELAGE_DATA=DIR python benchmarks/peers/scorers.py

Prints the figures of docs/curation-parity.md, with 95% intervals. People's judgements are those that DCLM published
(folder quality_labels). The judge is a rule, for none is at hand whose opinion is known otherwise.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.documents import documents, read

from tutelage.corpus.quality.agreement import Figure, area
from tutelage.corpus.quality.classifier import train_classifier
from tutelage.corpus.quality.distil import Agreement, distil
from tutelage.corpus.quality.dsir import PLACES, log_ratios, ngram_places
from tutelage.corpus.quality.ngrams import load_ngrams
from tutelage.corpus.quality.perplexity import learn_perplexity, perplexities
from tutelage.corpus.quality.rubric import judged_part
from tutelage.corpus.words import encode, plain_tokens
from tutelage.tokenizer import load

FOLDS = 5
SCHOOL = frozenset(
    "age analysis average century city class data degree element energy field function group history king "
    "language level method model number point population power process rate research result school science "
    "society space species state student students study system theory time university value war water world".split()
)


def school_score(text: str) -> float:
    """The rule in the place of a judge: how many of the words are of school subjects, from 0 to 5."""
    words = re.findall("[a-z]+", text.lower())
    return min(5.0, float(round(120 * sum(word in SCHOOL for word in words) / max(len(words), 1))))


def from_others(
    texts: list[str], good: np.ndarray, score: Callable[[list[str], list[str], list[str]], np.ndarray]
) -> Figure:
    """The area of a scorer that is given the good and the bad texts of the other folds, and those to score."""
    fold = np.random.default_rng(0).permutation(np.arange(len(texts)) % FOLDS)
    found = np.empty(len(texts))
    for number in range(FOLDS):
        inside = np.flatnonzero(fold == number)
        known = [[texts[i] for i in np.flatnonzero((fold != number) & (good == kind))] for kind in (True, False)]
        found[inside] = score(known[0], known[1], [texts[i] for i in inside])
    return area(found, good)


def by_perplexity(wanted: list[str], texts: list[str]) -> np.ndarray:
    """The less surprising, the better."""
    with tempfile.TemporaryDirectory() as folder:
        learn_perplexity(wanted, Path(folder) / "model", 8192)
        model = load_ngrams(Path(folder) / "model" / "ngrams.safetensors")
        return -perplexities(texts, load(Path(folder) / "model"), model)


def by_dsir(wanted: list[str], raw: list[str], texts: list[str]) -> np.ndarray:
    """DSIR's weights."""
    target, corpus = (
        np.bincount(ngram_places(plain_tokens(encode(one)))[0], minlength=PLACES) for one in (wanted, raw)
    )
    ratios = log_ratios(target, corpus)
    return np.array([ratios[ngram_places(plain_tokens(encode([text])))[0]].sum() for text in texts])


def shown(found: Figure | None) -> str:
    """A figure with its interval."""
    return "-" if found is None else f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def told(found: Agreement) -> str:
    """A line about an agreement."""
    figures = f"area {shown(found.auc)}, ranks {shown(found.spearman)}, F1 {shown(found.f1)}"
    return f"{figures}, F1 of keeping everything {found.f1_keep_all:.2f}"


def main() -> None:
    """Measures, and prints."""
    folder = Path(os.environ.get("TUTELAGE_DATA") or Path(__file__).parents[3] / "shared" / "data")
    labels = folder / "quality_labels" / "split_give.jsonl.gz"
    if not labels.exists():
        sys.exit(f"there is no file {labels}; set TUTELAGE_DATA to the folder of data")
    with gzip.open(labels) as lines:
        rows = [json.loads(line) for line in lines]
    texts, good = [row["text"] for row in rows], np.array([bool(row["label"]) for row in rows])
    wikipedia = [text for text in read(folder / "wikitext2" / "valid.txt.gz") if text.strip()]
    print(f"people's judgements: {len(texts)}, {good.mean():.0%} good")
    print("quality     ", shown(from_others(texts, good, lambda a, b, of: train_classifier(a, b).score(of))))
    print("judged      ", told(distil(texts, 5.0 * good)[1]))
    print(f"perplexity, {len(wikipedia)} articles", shown(area(by_perplexity(wikipedia, texts), good)))
    print("perplexity, the good ones", shown(from_others(texts, good, lambda a, _, of: by_perplexity(a, of))))
    print("dsir        ", shown(from_others(texts, good, lambda a, _, of: by_dsir(a, texts, of))))
    parts = list(dict.fromkeys(part for text in documents() if (part := judged_part(text))))
    scores = np.array([school_score(part) for part in parts])
    print(f"a rule as judge of {len(parts)} documents:", told(distil(parts, scores)[1]))


if __name__ == "__main__":
    main()
