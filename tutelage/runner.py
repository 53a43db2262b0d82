"""Runs a recipe: skips the stages that are finished, by their fingerprints, trains the others in order, evaluates."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage import __version__
from tutelage import tokenizer as tokenizers
from tutelage.config import SettingsError, fingerprint, suggest, to_plain
from tutelage.evaluate.results import EVALUATION
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.suites import SUITES
from tutelage.files import LOCK, locked, read_json, write_json
from tutelage.process import peak_rss_bytes, untested_device
from tutelage.progress import status
from tutelage.recipe import Recipe, read_recipe
from tutelage.stages.base import EVALUATIONS, MADE, RECIPE, SUMMARY, TOKENIZER, StageContext
from tutelage.stages.data import DataSettings, DataTable, MadeData, identity, plain_texts
from tutelage.stages.data_files import ChatData
from tutelage.stages.make_data import make_data
from tutelage.stages.run import LAYOUT, finished, run_stage
from tutelage.stages.train_stage import TrainStage, trained_stages, without_later
from tutelage.tokenizer import END_OF_TEXT
from tutelage.tracking import TrackerName, import_tracker
from tutelage.train.distributed import barrier, broadcast_object, init_distributed, is_main_process
from tutelage.train.layout import use_layout

MADE_OF = "made_of.json"
# Raise it when training a tokenizer gives another one for the same text.
TOKENIZING = 1
# Settings of a model that came later, with their defaults: stages keep their fingerprints.
LATER_MODEL_SETTINGS = {"sinks": False, "mtp": 0}
PREDICTED = "predicted.json"  # of `predicted.predict`, which writes it before the run


@dataclass(frozen=True)
class Run:
    """A recipe in a folder. `out` is how the command line names that folder, for messages that ask for another;
    `track_with` an experiment tracker."""

    recipe: Recipe
    folder: Path
    out: str = "out=DIR"
    track_with: TrackerName | None = None
    _sessions: dict[str, EvalSession] = field(default_factory=dict, repr=False, compare=False)

    def tokenizer_fingerprint(self) -> str:
        """The identity of the tokenizer: its settings and the text it learns from."""
        recipe = self.recipe
        texts = [self.data_identity(name) for name in self.tokenizer_data()]
        return fingerprint(TOKENIZING, to_plain(recipe.tokenizer), texts)

    def tokenizer_data(self) -> list[str]:
        """The data that the tokenizer learns from."""
        if self.recipe.tokenizer.data is not None:
            return self.recipe.tokenizer.data
        stages = [stage for stage in self.recipe.stages.values() if stage.trains and stage.reads == "documents"]
        return list(dict.fromkeys(name for stage in stages for name in stage.data))

    def fingerprint(self, name: str) -> str:
        """hash(settings and versions of the code + the parent's fingerprint + the data's fingerprint)."""
        recipe, stage = self.recipe, self.recipe.stages[name]
        data = [self.data_identity(data_name) for data_name in stage.all_data()]
        models = [self.fingerprint(other) for other in stage.other_models() if other in recipe.stages]
        # The order of the data counts: an epoch is one of the first.
        own = [stage.content(), list(stage.data), data, *models]
        if not stage.trains:
            return fingerprint(*own)
        start = [self.tokenizer_fingerprint(), without_later(to_plain(recipe.model), LATER_MODEL_SETTINGS)]
        parent = self.fingerprint(stage.parent) if stage.parent else start
        return fingerprint(recipe.seed, parent, *own)

    def data_identity(self, name: str) -> list[object]:
        """Everything that decides what data holds; of data that a stage makes, that stage's fingerprint."""
        data = self.recipe.data[name]
        made = [self.fingerprint(data.stage)] if isinstance(data, MadeData) else []
        return [*identity(name, self.recipe.data), *made]

    def data_table(self) -> DataTable:
        """The recipe's data, with what finished stages have made as files."""
        table: dict[str, DataSettings] = dict(self.recipe.data)
        for name, data in self.recipe.data.items():
            if isinstance(data, MadeData) and (path := self.folder / data.stage / MADE).exists():
                table[name] = ChatData(path=str(path))
        return table

    def context(self, name: str) -> StageContext:
        recipe = self.recipe
        return StageContext(
            name=name,
            folder=self.folder / name,
            cache=self.folder / "data",
            seed=recipe.seed,
            model=recipe.model,
            data=self.data_table(),
            stages=recipe.stages,
            folders={name: stage.folder(name, self.folder) for name, stage in recipe.stages.items()},
            tokenizer=self.folder / TOKENIZER,
        )

    def session(self, name: str) -> EvalSession:
        """What the evaluations of a stage read: one for its evaluations during training and for those after it."""
        if name not in self._sessions:
            self._sessions[name] = self.trained_stage(name).session(self.context(name))
        return self._sessions[name]

    def trained_stage(self, name: str) -> TrainStage:
        """A stage that trains; KeyError where it does not."""
        return self.trained_stages()[name]

    def trained_stages(self) -> dict[str, TrainStage]:
        """The stages that train, in order."""
        return trained_stages(self.recipe.stages)

    def stage_done(self, name: str) -> dict[str, Any] | None:
        """What the stage wrote about itself, if it is finished and unchanged; of an external model its folder."""
        if not self.recipe.stages[name].trains:
            return {"path": str(self.context(name).folders[name])}
        return finished(self.folder / name, self.fingerprint(name))

    def tokenizer_done(self) -> bool:
        """Whether the run's tokenizer is there and made of what the recipe says."""
        note = self.folder / TOKENIZER / MADE_OF
        return note.exists() and read_json(note) == self.tokenizer_fingerprint()

    def make_tokenizer(self) -> None:
        """Train the tokenizer, unless it exists or every stage starts from a model."""
        if all(stage.parent or not stage.trains for stage in self.recipe.stages.values()) or self.tokenizer_done():
            return
        status("training the tokenizer")
        recipe = self.recipe
        texts = (text for name in self.tokenizer_data() for text in plain_texts(name, recipe.data))
        # Characters alone: a separator would take the place of a character in so small a vocabulary.
        marks = () if recipe.tokenizer.kind == "char" else (END_OF_TEXT,)
        tokenizers.train(texts, recipe.tokenizer, marks).save(self.folder / TOKENIZER)
        write_json(self.folder / TOKENIZER / MADE_OF, self.tokenizer_fingerprint())

    def evaluate(self, name: str, again: bool = False) -> dict[str, Any]:
        """The results of every suite asked of a stage; what was measured before is read, and not measured `again`."""
        results: dict[str, Any] = {}
        data = [self.data_identity(data_name) for data_name in self.recipe.data]
        for suite in self.recipe.evaluate.get(name, []):
            path = self.folder / name / EVALUATIONS / f"{suite}.json"
            settings = self.trained_stage(name).eval_settings()
            mark = fingerprint(EVALUATION, self.fingerprint(name), suite, data, settings)
            stored = read_json(path) if path.exists() and not again else {}
            if stored.get("fingerprint") != mark:
                found = SUITES[suite].run(self.session(name))
                stored = {"fingerprint": mark, "results": found.to_plain()}
                write_json(path, stored)
            results[suite] = stored["results"]
        if name in self._sessions:
            self._sessions[name].release()
        return results

    def run(self, only: str | None = None) -> dict[str, Any]:
        """Run every stage that is not finished, evaluate, and write summary.json; returns the summary.

        `only` runs one stage, whose parents must be finished, and leaves the others. Where `torchrun` started several
        processes they work on it together; all but the main process end when there is nothing left to train.

        Raises:
            ValueError: another run is writing to the folder, or the recipe cannot be run.
            Stopped: by Ctrl-C or SIGTERM; the same command resumes.
        """
        self.check_folder(only)
        if self.track_with is not None:
            import_tracker(self.track_with)
        with (
            init_distributed(),
            use_layout(self.recipe.layout),
            locked(self.folder, f"name another folder: {self.out}") if is_main_process() else nullcontext(),
        ):
            summary = self._run(only)
        if summary is None:
            sys.exit(0)
        return summary

    def check_folder(self, only: str | None = None) -> None:
        """SettingsError where there is no such stage, or the folder holds something that is not a run."""
        if only is not None and only not in self.recipe.stages:
            raise SettingsError(f"there is no stage '{only}'{suggest(only, self.recipe.stages)}")
        files = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        if RECIPE not in files and set(files) - {LOCK, PREDICTED}:
            raise SettingsError(f"{self.folder} holds files that are not a run; name a new or empty folder: {self.out}")

    def _run(self, only: str | None) -> dict[str, Any] | None:
        """The summary; None on all processes but the main one."""
        began = time.monotonic()
        recipe = self.recipe
        if only is not None and not recipe.stages[only].trains:
            status(f"{only}: an external checkpoint; there is nothing to run")
        if is_main_process():
            if warning := untested_device():
                status(warning)
            self._set_up()
        barrier()
        trained = False
        for name, stage in recipe.stages.items():
            if only not in (None, name) or not stage.trains:
                continue
            done = broadcast_object(is_main_process() and self.stage_done(name) is not None)
            if only and stage.parent and not self.stage_done(stage.parent):
                raise SettingsError(f"stage '{only}' builds on '{stage.parent}', which is not finished; run that first")
            if done:
                status(f"{name}: finished before, skipped")
            else:
                mark = broadcast_object(self.fingerprint(name) if is_main_process() else None)
                self._run_stage(name, mark)
                if is_main_process() and self.fingerprint(name) != mark:
                    raise ValueError(
                        f"stage {name}: its data changed while it ran; put the old files back and run the same command "
                        "to evaluate it, or run it in another folder"
                    )
                trained = True
        return self.summarise(began if trained else None) if is_main_process() else None

    def _run_stage(self, name: str, mark: str) -> None:
        at = self.context(name)
        if self.recipe.stages[name].makes_data:
            make_data(self.recipe.stages[name], at, mark)
        else:
            run_stage(self.trained_stage(name), at, mark, self.session(name), self.track_with)

    def _set_up(self) -> None:
        """Check and write what must exist before the first stage."""
        recipe = self.recipe
        self._refuse_another_run()
        for data_name in recipe.data:
            identity(data_name, recipe.data)  # a missing file is an error now, and not after hours of training
        # The order of stages and data counts.
        write_json(self.folder / RECIPE, {"format": LAYOUT, **to_plain(recipe)}, sort=False)
        self.make_tokenizer()

    def forgetting_exceeds_limit(self) -> str:
        """A sentence where a stage forgot more than its max_forgetting allows; "" where none did, or none asks.

        Only what is sure counts: the lower end of the 95% interval must be above the limit, for one of the texts.
        """
        for name, stage in self.trained_stages().items():
            limit = stage.forgetting_limit()
            if limit is None or not self.stage_done(name):
                continue
            by_data = self.evaluate(name)["forgetting"]["figures"]["by_data"]
            text, worst = max(by_data.items(), key=lambda item: item[1]["low"])
            if worst["low"] > limit:
                return (
                    f"{name} forgets too much: its loss on held-out text '{text}' rose by {worst['increase']:.1%} "
                    f"(95%: {worst['low']:.1%} to {worst['high']:.1%}), and max_forgetting allows {limit:.1%}; replay "
                    "more, train less or at a lower rate"
                )
        return ""

    def _refuse_another_run(self) -> None:
        """SettingsError where the folder holds a run of another name, of other stages or from another model: it would
        be replaced."""
        if not (self.folder / RECIPE).exists():
            return
        other = read_recipe(self.folder / RECIPE)
        here, there = self._external(self.recipe), self._external(other)
        ours, theirs = self.recipe.stages.keys() - here.keys(), other.stages.keys() - there.keys()
        if not any((self.folder / name).exists() for name in theirs):
            return  # it ended before it had trained anything
        if any(self.stage_done(name) for name in ours):
            return  # a model that was moved is the same model
        if other.name != self.recipe.name or here != there or ours.isdisjoint(theirs):
            models = "".join(f", from {path}" for path in there.values()) if here != there else ""
            raise SettingsError(
                f"{self.folder} holds another run, '{other.name}'{models}; name another folder for this one: {self.out}"
            )

    def _external(self, recipe: Recipe) -> dict[str, Path]:
        """The folders of the models that a recipe's stages start from and that it does not train."""
        return {name: stage.folder(name, self.folder) for name, stage in recipe.stages.items() if not stage.trains}

    def summarise(self, began: float | None = None, again: str | None = None) -> dict[str, Any]:
        """Evaluate what is finished and write summary.json: every figure under a plain dotted name.

        `began` is when a run that trained something began; without it the time and memory of the last one stay.
        `again` is a stage to evaluate anew.
        """
        last, recipe_stages = self.summary(), self.recipe.stages
        summary: dict[str, Any] = {"name": self.recipe.name, "version": __version__, "stages": {}, "evaluate": {}}
        for name, stage in recipe_stages.items():
            if stage.trains and (info := self.stage_done(name)):
                summary["stages"][name] = {k: v for k, v in info.items() if k not in ("settings", "stores")}
                results = self.evaluate(name, again=name == again).items()
                summary["evaluate"][name] = {suite: found["rates"] | found["figures"] for suite, found in results}
        seconds = None if began is None else time.monotonic() - began
        summary["seconds"] = last.get("seconds", 0.0) if seconds is None else seconds
        summary["peak_rss_bytes"] = last.get("peak_rss_bytes", 0) if seconds is None else peak_rss_bytes()
        flat = flatten(summary)
        write_json(self.folder / SUMMARY, flat)
        return flat

    def summary(self) -> dict[str, Any]:
        """The figures of the last run; none where there are none."""
        path = self.folder / SUMMARY
        return read_json(path) if path.exists() else {}


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested tables as one table of dotted names; lists are left out, for a figure is a number or a word."""
    if not isinstance(tree, dict):
        return {} if isinstance(tree, list) else {prefix: tree}
    return {k: v for key, sub in tree.items() for k, v in flatten(sub, f"{prefix}.{key}" if prefix else key).items()}
