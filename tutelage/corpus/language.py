"""Language identification: the language of a text, its probability, and the fraction of the text in that language.

The bundled model of py3langid (140 languages, byte n-grams, naive Bayes) runs in a compiled loop over its tables, with
the same result. A fastText language model can be used instead.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.fetch import local_file
from tutelage.corpus.rules.checks import Check, drop_broken
from tutelage.extras import load

UNKNOWN = "und"  # ISO 639 "undetermined": no feature of any language in the text
_CHUNK = 300  # characters; about the least from which a language can be identified with some certainty
_FASTTEXT_LABEL = "__label__"


class Found(NamedTuple):
    """The language of each of N texts, and its probability, float64[N]."""

    languages: list[str]
    confidences: np.ndarray


Identify = Callable[[Sequence[str]], Found]


class LanguageSettings(Settings, tag="language", tag_field="kind", frozen=True, kw_only=True):
    """Adds the metadata fields `language` and `language_confidence`, and drops documents in other languages.

    keep:       language codes such as "en"; default: all.
    confidence: minimum probability. Its meaning depends on the model: FineWeb uses 0.65 and CCNet 0.5 with fastText
                models, C4 0.99 with langdetect.
    share:      minimum fraction of characters in the language of the document, identified in chunks of about 300
                characters. Adds the field `language_share`. Default: not checked.
    model:      a fastText model with labels such as __label__en; default: the model of py3langid.
    """

    keep: tuple[str, ...] | None = None
    confidence: float = 0.65
    share: float | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        for name in ("confidence", "share"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise SettingsError(f"{name} is {value}; it must be from 0 to 1")


def language(settings: LanguageSettings) -> Step:
    """Identify languages and filter by them (CCNet, arXiv 1911.00359, section 3.2; py3langid).

    Raises:
        ValueError: the model is not available, or does not know a language to keep.
    """
    identify, known = identifier(settings.model)
    for code in settings.keep or ():
        if code not in known:
            raise ValueError(f"keep: the language model does not know '{code}'; it knows {', '.join(sorted(known))}")

    def step(batch: DocumentBatch) -> None:
        texts = batch.texts
        found = identify(texts)
        fields: dict[str, Sequence[str | float]] = {
            "language": found.languages,
            "language_confidence": found.confidences.round(4).tolist(),
        }
        unsure = found.confidences < settings.confidence
        checks = [Check("low language confidence", unsure, found.confidences)]
        if settings.share is not None:
            shares = language_shares(texts, found.languages, identify)
            fields["language_share"] = shares.round(4).tolist()
            checks.append(Check("mixed languages", shares < settings.share, shares))
        batch.add_metadata(fields)
        if settings.keep is not None:
            other = [place for place, code in enumerate(found.languages) if code not in settings.keep]
            kept = np.delete(np.arange(len(batch)), other)
            batch.drop(other, "other language", [found.languages[place] for place in other])
            checks = [Check(check.reason, check.broken[kept], check.figures[kept]) for check in checks]
        drop_broken(batch, checks)

    return step


def language_shares(texts: Sequence[str], languages: Sequence[str], identify: Identify) -> np.ndarray:
    """Per text, the fraction of its characters in chunks of the given language, float64[N]; 0 for an empty text."""
    pieces = [(place, piece) for place, text in enumerate(texts) for piece in chunks(text)]
    found = identify([piece for _, piece in pieces]).languages
    same, whole = np.zeros(len(texts)), np.zeros(len(texts))
    for (place, piece), code in zip(pieces, found, strict=True):
        whole[place] += len(piece)
        same[place] += len(piece) * (code == languages[place])
    return np.divide(same, whole, out=np.zeros(len(texts)), where=whole > 0)


def chunks(text: str) -> list[str]:
    """Join lines of a text into chunks of about 300 characters; a longer line is a chunk by itself."""
    made: list[str] = []
    length = _CHUNK
    for line in text.splitlines():
        if not line.strip():
            continue
        if length + len(line) > _CHUNK:
            made.append(line)
            length = len(line)
        else:
            made[-1] += "\n" + line
            length += len(line)
    return made


@lru_cache(maxsize=4)
def identifier(model: str | None = None) -> tuple[Identify, frozenset[str]]:
    """A function that identifies languages, and the languages that it knows. Raises ValueError if the model is
    unreadable."""
    return _of_py3langid() if model is None else _of_fasttext(local_file(model))


def _of_py3langid() -> tuple[Identify, frozenset[str]]:
    loaded, loops = load("py3langid.langid"), load("tutelage.corpus.language_loops")
    model = loaded.LanguageIdentifier.from_model_file(loaded.MODEL_FILE, norm_probs=True)
    labels = list(dict.fromkeys(model.nb_classes))
    # A language may occur more than once, for two scripts: add their probabilities.
    of_label = np.array([labels.index(code) for code in model.nb_classes])
    tables = (
        np.asarray(model.tk_nextmove), np.asarray(model.tk_row, np.int64), np.asarray(model.tk_output, np.int64),
        model.nb_ptc.astype(np.float32), model.nb_pc.astype(np.float32),
    )  # fmt: skip

    def identify(texts: Sequence[str]) -> Found:
        spelled = [_spell(text) for text in texts]
        stops = np.cumsum([len(one) for one in spelled], dtype=np.int64)
        scores, known = loops.scores(np.frombuffer(b"".join(spelled), np.uint8), stops, *tables)
        # py3langid is calibrated with this temperature: the square root of the number of bytes.
        scores /= np.sqrt(np.maximum(np.diff(stops, prepend=0), 1))[:, None]
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        merged = np.zeros((len(texts), len(labels)))
        np.add.at(merged.T, of_label, shares.T)
        best = merged.argmax(axis=1)
        languages = [labels[number] if sure else UNKNOWN for number, sure in zip(best, known, strict=True)]
        return Found(languages, np.where(known, merged[np.arange(len(texts)), best], 0.0))

    return identify, frozenset(labels)


def _spell(text: str) -> bytes:
    return unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode("utf-8", "surrogatepass")


def _of_fasttext(path: Path) -> tuple[Identify, frozenset[str]]:
    model = load_fasttext(path)

    def identify(texts: Sequence[str]) -> Found:
        found, confidences = model.predict([" ".join(text.split()) for text in texts]) if texts else ([], [])
        languages = [one[0].removeprefix(_FASTTEXT_LABEL) if one else UNKNOWN for one in found]
        return Found(languages, np.array([min(float(one[0]), 1.0) if len(one) else 0.0 for one in confidences]))

    return identify, frozenset(label.removeprefix(_FASTTEXT_LABEL) for label in model.get_labels())


def load_fasttext(path: Path) -> Any:
    """The fastText model in a file. Raises ValueError if it is missing or not one."""
    if not path.is_file():
        raise ValueError(f"model: there is no file {path}; name a fastText model (.bin or .ftz)")
    try:
        return load("fasttext").load_model(str(path))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"model: {path} is not a fastText model ({error})") from error
