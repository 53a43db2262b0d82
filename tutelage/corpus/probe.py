"""Texts that come with Tutelage to measure a model's loss on, never to train it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from tutelage.records import Document


def probe_documents() -> Iterator[Document]:
    """The texts, every one of them held out."""
    whole = resources.files(__package__).joinpath("probe.txt").read_text(encoding="utf-8")
    for number, text in enumerate(whole.split("\n%%\n")):
        yield Document(text.strip("\n"), f"probe:{number}", split="held_out")
