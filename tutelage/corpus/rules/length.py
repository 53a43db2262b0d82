"""Filter by document length."""

from __future__ import annotations

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.columns import characters_of
from tutelage.corpus.rules.checks import above, below, drop_broken


class LengthSettings(Settings, tag="length", tag_field="kind", frozen=True, kw_only=True):
    """Keeps documents of `shortest` to `longest` characters. CCNet drops those below 300 (Wenzek et al. 2019)."""

    shortest: int | None = None
    longest: int | None = None

    def __post_init__(self) -> None:
        if self.shortest is None and self.longest is None:
            raise SettingsError("a step of kind length needs shortest or longest, in characters")


def length(settings: LengthSettings) -> Step:
    """Drop documents that are too short or too long."""

    def step(batch: DocumentBatch) -> None:
        characters = characters_of(batch).lengths
        short = below("too short", characters, settings.shortest)
        drop_broken(batch, [short, above("too long", characters, settings.longest)])

    return step
