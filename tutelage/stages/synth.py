"""Synthesis as a stage: a model makes conversations for later stages, by the methods of `tutelage synth`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from tutelage.config import SettingsError
from tutelage.files import atomic_file, to_json
from tutelage.ledger import Ledger
from tutelage.records import Message
from tutelage.stages.base import DataSetup, DataStage, Reads, StageContext
from tutelage.stages.data import conversations, documents, tasks
from tutelage.synth.gate import GateSettings
from tutelage.synth.method import Method
from tutelage.synth.methods import AnyMethod
from tutelage.synth.output import DATA, read_lines
from tutelage.synth.recipe import SynthRecipe, template_hash
from tutelage.synth.runner import SYNTHESIS, synthesise
from tutelage.synth.teacher import AnyTeacher, LocalTeacher

INPUT, MADE_IN = "input.jsonl", "synth"


class Synth(DataStage, tag="synth", tag_field="kind", frozen=True, kw_only=True):
    """Write conversations that a model makes of the rows of the stage's data, but not of those that are held out.

    make_rows: the first method: its kind and settings, as in `tutelage synth`; written `make` in a recipe.
    then:     further methods, each on what the one before made.
    teacher:  who answers: an address or a table of settings; the model of `from` where left out.
    gate:     what a made row may not have.
    min_kept: fewer kept rows are an error.
    """

    reads: ClassVar[Reads] = "prompts"
    title: ClassVar[str] = "synthesis"

    make_rows: AnyMethod = msgspec.field(name="make")
    then: list[AnyMethod] = []
    teacher: str | AnyTeacher | None = None
    gate: GateSettings = GateSettings()
    min_kept: Annotated[int, msgspec.Meta(ge=1)] = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.methods[-1].makes != "conversations":
            raise SettingsError(
                f"the last method makes {self.methods[-1].makes}, but later stages read conversations from a stage; "
                "run tutelage synth, and name its file as data"
            )
        self._recipe(".", ".", None)

    @property
    def methods(self) -> list[Method]:
        """All methods in order."""
        return [self.make_rows, *self.then]

    def content(self) -> list[object]:
        return [*super().content(), SYNTHESIS, *map(template_hash, self.methods)]

    def row_kind(self) -> Reads:
        return self.make_rows.takes

    def make(self, at: StageContext) -> DataSetup:
        """The rows, which are in the folder "synth" of the stage too, beside those that were dropped."""
        reading = Ledger(f"{at.name}: input")
        with atomic_file(at.folder / INPUT) as temporary, temporary.open("wb") as file:
            for name in self.data:
                for row in self._rows(name, at, reading):
                    file.write(to_json(row, indent=None, sort=False) + b"\n")
        out = at.folder / MADE_IN
        recipe = self._recipe(at.name, str(at.folder / INPUT), str(at.parent_folder(self)))
        summary = synthesise(recipe, out)
        ledger = Ledger.from_dict(summary["steps"][-1]["ledgers"][1])
        return DataSetup(iter(read_lines(out / DATA)), ledger, {"steps": summary["steps"], "cost": summary["cost"]})

    def _recipe(self, name: str, source: str, parent: str | None) -> SynthRecipe:
        return SynthRecipe(
            name=name,
            make=self.make_rows,
            then=self.then,
            input=source,
            teacher=self.teacher or (LocalTeacher(path=parent) if parent else "world"),
            gate=self.gate,
            min_kept=self.min_kept,
            seed=self.seed,
        )

    def _rows(self, name: str, at: StageContext, ledger: Ledger) -> Iterator[Mapping[str, Any]]:
        """The rows of some data in the form that a synthesis reads."""
        takes = self.make_rows.takes
        if takes == "documents":
            yield from ({"text": row.text} for row in documents(name, at.data) if row.split != "held_out")
        elif takes == "prompts":
            for task in tasks(name, at.data, ledger):
                if task.split != "held_out":
                    yield {"messages": _turns(task.prompt), **({} if task.gold is None else {"answer": task.gold})}
        else:
            for chat in conversations(name, at.data, ledger):
                if chat.split != "held_out":
                    yield {"messages": _turns(chat.messages)}


def _turns(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in messages]
