"""HTML to text as a step: each page in a process of its own, which ends where a page takes too long."""

from __future__ import annotations

from dataclasses import replace

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.extract_worker import ExtractWorker
from tutelage.corpus.page_text import HTML_TYPES, Mode


class ExtractSettings(Settings, tag="extract", tag_field="kind", frozen=True, kw_only=True):
    """HTML to text. Documents that are not HTML pass unchanged; those that were are plain text from here on.

    mode:      "fast" (resiliparse) or "careful" (trafilatura, ten times slower).
    seconds:   of processor time a page may take; then it is dropped.
    mebibytes: of memory a page may take; then it is dropped.
    """

    mode: Mode = "fast"
    seconds: float = 10.0
    mebibytes: int = 4096

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.mebibytes < 256:
            raise SettingsError("seconds must be above 0, mebibytes at least 256")


def extract(settings: ExtractSettings) -> Step:
    """The step: pages without text, or that cannot be read in time, are dropped."""
    worker = ExtractWorker(settings.mode, settings.seconds, settings.mebibytes)

    def step(batch: DocumentBatch) -> None:
        texts: list[str | None] = [None] * len(batch)
        dropped: dict[int, str] = {}
        pages = [(p, one) for p, one in enumerate(batch.documents) if one.meta.get("content_type") in HTML_TYPES]
        extracted = worker.texts([document.text for _, document in pages])
        for (place, document), found in zip(pages, extracted, strict=True):
            if found.text:
                texts[place] = found.text
                # Else a second recipe, run on what this one leaves, would take its text for HTML.
                batch.documents[place] = replace(document, meta={**document.meta, "content_type": "text/plain"})
            else:
                dropped[place] = found.problem or "no text"
        batch.rewrite(texts, "extracted from HTML")
        batch.drop(list(dropped), list(dropped.values()))

    return step
