"""Filters documents by language, its probability, and the fraction of the text in that language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.fetch import local_file
from tutelage.corpus.rules.checks import Check, drop_broken, shares
from tutelage.text.language import UNKNOWN, Identify, identifier

_CHUNK = 300  # characters; about the least from which a language can be identified with some certainty


class LanguageSettings(Settings, tag="language", tag_field="kind", frozen=True, kw_only=True):
    """Adds the metadata fields `language` and `language_confidence`, and drops documents in other languages.

    keep:       language codes such as "en", or "und" for unknown; default: all.
    unknown:    probability below which the language is unknown, "und". Calibrated for the default model: of the right
                answers on sentences in languages that it knows, 1% are below 0.4.
    confidence: minimum probability. Its meaning depends on the model: FineWeb uses 0.65 and CCNet 0.5 with fastText
                models, C4 0.99 with langdetect.
    confidences: language -> its minimum probability, instead of `confidence`.
    share:      minimum fraction of characters in the language of the document, identified in chunks of about 300
                characters. Adds the field `language_share`. Default: not checked.
    model:      a fastText model with labels such as __label__en; default: the model of py3langid.
    """

    keep: tuple[str, ...] | None = None
    unknown: float = 0.4
    confidence: float = 0.65
    confidences: dict[str, float] = {}
    share: float | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        limits = {f"confidences.{code}": value for code, value in self.confidences.items()}
        for name, value in {
            "unknown": self.unknown,
            "confidence": self.confidence,
            "share": self.share,
            **limits,
        }.items():
            if value is not None and not 0 <= value <= 1:
                raise SettingsError(f"{name} is {value}; it must be from 0 to 1")


def language(settings: LanguageSettings) -> Step:
    """Identify languages and filter by them (CCNet, arXiv 1911.00359, section 3.2; py3langid).

    Raises:
        ValueError: the model is not available, or does not know a language to keep.
    """
    identify, known = identifier(None if settings.model is None else local_file(settings.model))
    for name, codes in {"keep": settings.keep or (), "confidences": settings.confidences}.items():
        for code in codes:
            if code not in known and code != UNKNOWN:
                names = ", ".join(sorted(known))
                raise ValueError(f"{name}: the language model does not know '{code}'; it knows {names}")

    def step(batch: DocumentBatch) -> None:
        texts = batch.texts
        found = identify(texts)
        pairs = zip(found.languages, found.confidences >= settings.unknown, strict=True)
        languages = [code if sure else UNKNOWN for code, sure in pairs]
        fields: dict[str, Sequence[str | float]] = {
            "language": languages,
            "language_confidence": found.confidences.round(4).tolist(),
        }
        unsure = found.confidences < [settings.confidences.get(code, settings.confidence) for code in languages]
        checks = [Check("low language confidence", unsure, found.confidences)]
        if settings.share is not None:
            portions = language_shares(texts, languages, identify)
            fields["language_share"] = portions.round(4).tolist()
            checks.append(Check("mixed languages", portions < settings.share, portions))
        batch.add_metadata(fields)
        if settings.keep is not None:
            other = [place for place, code in enumerate(languages) if code not in settings.keep]
            kept = np.delete(np.arange(len(batch)), other)
            batch.drop(other, "other language", [languages[place] for place in other])
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
    return shares(same, whole)


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
