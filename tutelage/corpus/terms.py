"""Terms of service of sites, in classes, as metadata."""

from __future__ import annotations

import msgspec

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.consent import lines_of_list
from tutelage.text.urls import url_host

FIELD = "terms"


class TermsSettings(Settings, tag="terms", tag_field="kind", frozen=True, kw_only=True):
    """Adds the metadata field `terms`: the class of the terms of service of a page's site, such as those of the Data
    Provenance Initiative (Longpre et al. 2024, arXiv 2407.14933): "no restrictions", "no crawling", "no AI",
    "non-commercial" ... The classes are those of the file; subdomains have those of their domain.

    path: JSON lines, {"host": ..., "terms": ...}.
    drop: classes whose pages are dropped.
    """

    path: str
    drop: tuple[str, ...] = ()


def terms(settings: TermsSettings) -> Step:
    """Note the class of the terms of service, and drop some of them.

    Raises:
        ValueError: the file is invalid, or has no site of a class to drop.
    """
    classes: dict[str, str] = {}
    for number, line in enumerate(lines_of_list(settings.path), 1):
        try:
            row = msgspec.json.decode(line)
            classes[row["host"].lower().removeprefix("www.")] = str(row["terms"])
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            raise ValueError(f'{settings.path}, line {number}: write {{"host": "...", "terms": "..."}}') from None
    for name in settings.drop:
        if name not in classes.values():
            known = ", ".join(sorted(set(classes.values())))
            raise ValueError(f"drop: no site of {settings.path} has the terms '{name}'; it has {known}")

    def step(batch: DocumentBatch) -> None:
        found = [_class_of(url_host(document.meta.get("url", "")), classes) for document in batch.documents]
        batch.add_metadata({FIELD: found})
        gone = [place for place, name in enumerate(found) if name in settings.drop]
        batch.drop(gone, "terms of service", [str(found[place]) for place in gone])

    return step


def _class_of(host: str, classes: dict[str, str]) -> str | None:
    while host:
        if host in classes:
            return classes[host]
        host = host.partition(".")[2]
    return None
