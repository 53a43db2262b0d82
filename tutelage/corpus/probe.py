"""Built-in texts for measuring the loss of a model. They are never trained on."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from tutelage.records import Document


def probe_documents() -> Iterator[Document]:
    """The texts, all of them held out."""
    whole = resources.files(__package__).joinpath("probe.txt").read_text(encoding="utf-8")
    for number, text in enumerate(whole.split("\n%%\n")):
        yield Document(text.strip("\n"), f"probe:{number}", split="held_out")
