"""Rules with thresholds of their own for each language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.rules.c4 import C4FineWebSettings, C4PaperSettings, c4
from tutelage.corpus.rules.fineweb import FineWebCodeSettings, FineWebPaperSettings, fineweb
from tutelage.corpus.rules.gopher import (
    GopherQualitySettings,
    GopherRepetitionSettings,
    gopher_quality,
    gopher_repetition,
)
from tutelage.corpus.rules.length import LengthSettings, length

Rule = (
    GopherQualitySettings
    | GopherRepetitionSettings
    | FineWebCodeSettings
    | FineWebPaperSettings
    | C4PaperSettings
    | C4FineWebSettings
    | LengthSettings
)
_MAKERS: dict[type, Callable[[Any], Step]] = {
    GopherQualitySettings: gopher_quality,
    GopherRepetitionSettings: gopher_repetition,
    FineWebCodeSettings: fineweb,
    FineWebPaperSettings: fineweb,
    C4PaperSettings: c4,
    C4FineWebSettings: c4,
    LengthSettings: length,
}


class ByLanguageSettings(Settings, tag="by_language", tag_field="kind", frozen=True, kw_only=True):
    """Applies a rule to the documents of each language, as FineWeb-2 does (Penedo et al. 2025, arXiv 2506.20920). Place
    it after a step of kind `language`.

    languages: code -> a rule with its settings, such as { kind = "gopher_quality", stop_words = ["der", "und"] }.
    others:    "keep" or "drop" documents of other languages.
    """

    languages: dict[str, Rule]
    others: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        if not self.languages:
            raise SettingsError("languages must name at least one language and its rule")


def by_language(settings: ByLanguageSettings) -> Step:
    """Apply to each document the rule of its language."""
    rules = {code: _MAKERS[type(rule)](rule) for code, rule in settings.languages.items()}

    def step(batch: DocumentBatch) -> None:
        codes = np.array([str(document.facts.get("language", "")) for document in batch.documents], object)
        if settings.others == "drop":
            gone = np.array([code not in rules for code in codes], bool)
            batch.drop(gone, "no rule for the language", [code or "no language" for code in codes[gone]])
            codes = codes[~gone]
        dropped: dict[int, tuple[str, str]] = {}
        texts: list[str | None] = [None] * len(batch)
        changed = ""
        for code, rule in rules.items():
            places = np.flatnonzero(codes == code)
            if not len(places):
                continue
            part = DocumentBatch([batch.documents[place] for place in places.tolist()])
            rule(part)
            for drop in part.dropped:
                dropped[int(places[drop.origin])] = (drop.reason, drop.detail)
            for document, origin in zip(part.documents, part.origins.tolist(), strict=True):
                texts[places[origin]] = document.text
            changed = next(iter(part.modified), changed)
        batch.rewrite(texts, changed or "rewritten")
        batch.drop(list(dropped), [why for why, _ in dropped.values()], [more for _, more in dropped.values()])

    return step
