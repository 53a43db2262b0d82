"""The step that extracts text from HTML, in a subprocess with limits on time and memory per page."""

from __future__ import annotations

from dataclasses import replace

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.extract_worker import ExtractWorker
from tutelage.corpus.page_text import HTML_TYPES, Mode


class ExtractSettings(Settings, tag="extract", tag_field="kind", frozen=True, kw_only=True):
    """HTML to plain text. Other documents are kept unchanged.

    mode:      "fast" (resiliparse) or "careful" (trafilatura, ten times slower).
    headline:  put the heading of the page (its only h1) before a text that lacks it. Off, since the benchmark of
               articles counts it as furniture.
    seconds:   limit of CPU time per page; a page beyond it is dropped.
    mebibytes: limit of memory per page; a page beyond it is dropped.
    """

    mode: Mode = "fast"
    headline: bool = False
    seconds: float = 10.0
    mebibytes: int = 4096

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.mebibytes < 256:
            raise SettingsError("seconds must be above 0, mebibytes at least 256")


def extract(settings: ExtractSettings) -> Step:
    """Extract the main text of HTML pages. Drops pages without text and pages that exceed a limit."""
    worker = ExtractWorker(settings.mode, settings.seconds, settings.mebibytes, headline=settings.headline)

    def step(batch: DocumentBatch) -> None:
        texts: list[str | None] = [None] * len(batch)
        dropped: dict[int, str] = {}
        pages = [(p, doc) for p, doc in enumerate(batch.documents) if doc.meta.get("content_type") in HTML_TYPES]
        extracted = worker.texts([document.text for _, document in pages])
        for (place, document), found in zip(pages, extracted, strict=True):
            if found.text:
                texts[place] = found.text
                # Otherwise a second recipe, run on this corpus, would take the text for HTML.
                batch.documents[place] = replace(document, meta={**document.meta, "content_type": "text/plain"})
            else:
                dropped[place] = found.problem or "no text"
        batch.rewrite(texts, "extracted from HTML")
        batch.drop(list(dropped), list(dropped.values()))

    return step
