"""A recipe: from a TOML file to finished stages. What is done is known by its fingerprint and not done again."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tutelage import __version__
from tutelage import tokenizer as tokenizers
from tutelage.config import Settings, SettingsError, apply_overrides, convert, fingerprint, read_toml, suggest, to_plain
from tutelage.corpus.text import file_hash
from tutelage.files import LOCK, locked, read_json, write_json
from tutelage.model.hub import load_config
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.process import peak_rss_bytes
from tutelage.progress import status
from tutelage.stages.data import DataSettings, WorldChat, find_data, find_world, holds, identity, plain_texts, world_of
from tutelage.stages.evaluate import Suite, run_suite
from tutelage.stages.prepare import StageContext
from tutelage.stages.run import RATES, STAGE, finished, run_stage
from tutelage.stages.settings import AnyStage, Pretrain, PretrainedModel, Sft, chooses, parent_of
from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings
from tutelage.train.distributed import barrier, broadcast_object, init_distributed, is_main_process

SUMMARY, RECIPE, TOKENIZER, EVALUATION = "summary.json", "recipe.json", "tokenizer", "evaluate"
MADE_OF = "made_of.json"
MODEL_FILES = (".json", ".jinja", ".safetensors")


class TokenizerRecipe(TokenizerSettings, frozen=True, kw_only=True):
    """How the tokenizer is made. `data` names the data it learns from; what pre-training reads where left out. Naming
    the conversations too gives their words tokens of their own, but then other conversations make another tokenizer."""

    data: list[str] | None = None


class Recipe(Settings, frozen=True, kw_only=True):
    """Everything a run is made of. `seed` sets the random weights."""

    name: str
    model: ModelSettings = ModelSettings()
    tokenizer: TokenizerRecipe = TokenizerRecipe()
    data: dict[str, DataSettings]
    stages: dict[str, AnyStage]
    evaluate: dict[str, list[Suite]] = msgspec.field(default_factory=dict)
    seed: int = 0


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check that everything it names is there; SettingsError, in one sentence, where not."""
    table = read_toml(path)
    _find_files(table, path.parent)
    _refuse_unknown_names(table, overrides, str(path))
    table = apply_overrides(table, overrides)
    _find_files(table, Path.cwd())
    recipe = convert(table, Recipe, str(path))
    check_recipe(recipe, str(path))
    return recipe


def _refuse_unknown_names(table: dict[str, Any], overrides: Sequence[str], where: str) -> None:
    """SettingsError where an override sets one thing of a stage, or of data, that the recipe does not have; a new one
    is given whole, or with its kind."""
    names = [override.partition("=")[0].strip() for override in overrides]
    for part, noun in (("stages", "stage"), ("data", "data")):
        known = table.get(part)
        for name in names:
            first, _, rest = name.partition(".")
            inner, dot, _ = rest.partition(".")
            if first != part or not dot or not isinstance(known, dict) or inner in known:
                continue
            if not {f"{part}.{inner}", f"{part}.{inner}.kind"}.intersection(names):
                known_names = suggest(inner, known)
                raise SettingsError(f"{where}: {name}: there is no {noun} '{inner}'{known_names}")


def _find_files(table: dict[str, Any], folder: Path) -> None:
    """Full paths: files that a recipe names stand beside it, those on the command line are told from where one is."""
    for part in ("data", "stages"):
        tables = table.get(part)
        for entry in tables.values() if isinstance(tables, dict) else ():
            for key in ("path", "held_out"):
                if isinstance(entry, dict) and isinstance(entry.get(key), str):
                    entry[key] = str((folder / entry[key]).resolve())


def check_recipe(recipe: Recipe, where: str) -> None:
    """SettingsError where a name is not there, or what can be told before anything runs cannot be."""
    if not recipe.stages:
        raise SettingsError(f"{where}: [stages] is empty; a recipe needs at least one stage")
    try:
        resolve(recipe.model, vocab=1)  # the vocabulary is not known yet, and no size hangs on it
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None
    for name in recipe.tokenizer.data or ():
        find_data(name, recipe.data, f"{where}: tokenizer.data")
    above: list[str] = []
    for name, stage in recipe.stages.items():
        _check_stage(recipe, name, stage, above, f"{where}: stages.{name}")
        above.append(name)
    for name, suites in recipe.evaluate.items():
        _check_suites(recipe, name, suites, where)


def _check_stage(recipe: Recipe, name: str, stage: AnyStage, above: list[str], here: str) -> None:
    if name in (TOKENIZER, "data") or not name.replace("-", "").replace("_", "").isalnum():
        raise SettingsError(f"{here}: '{name}' cannot be a stage's name; use letters, digits, - and _")
    if isinstance(stage, PretrainedModel):
        _check_data(recipe, stage.data, "documents", "model trains on", f"{here}.data")
        try:
            load_config(Path(stage.path))
        except ValueError as error:
            raise SettingsError(f"{here}.path: {error}") from None
        return
    if stage.parent is not None and stage.parent not in above:
        if stage.parent in recipe.stages:
            raise SettingsError(f"{here}.from: '{stage.parent}' stands below '{name}'; put it above")
        known = suggest(stage.parent, above)
        raise SettingsError(f"{here}.from names stage '{stage.parent}', which is not there{known}")
    if stage.lr is not None and not stage.lr > 0:
        raise SettingsError(f"{here}.lr is {stage.lr}; a learning rate must be above 0")
    if (stage.context or 0) > recipe.model.context and recipe.model.position == "learned":
        raise SettingsError(
            f"{here}.context is {stage.context}, but the model has learned positions for {recipe.model.context} tokens "
            'only; use model.position = "rotary" to lengthen the context'
        )
    wanted = "documents" if isinstance(stage, Pretrain) else "conversations"
    _check_data(recipe, stage.data, wanted, f"{stage.__struct_config__.tag} trains on", f"{here}.data")
    if not isinstance(stage, Sft):
        return
    _check_data(recipe, stage.replay_data, "documents", "sft replays", f"{here}.replay_data")
    if stage.max_forgetting is not None and "forgetting" not in recipe.evaluate.get(name, []):
        raise SettingsError(f'{here}.max_forgetting needs evaluate.{name} to hold "forgetting", which measures it')
    if stage.replay and not stage.replay_data and not _base(recipe, stage).data:
        raise SettingsError(
            f"{here}.replay is {stage.replay}, but no text stands above it; name the text that the model was trained "
            "on as the data of its stage"
        )


def _check_suites(recipe: Recipe, name: str, suites: list[Suite], where: str) -> None:
    if name not in recipe.stages:
        known = suggest(name, recipe.stages)
        raise SettingsError(f"{where}: evaluate names stage '{name}', which is not there{known}")
    stage, here = recipe.stages[name], f"{where}: evaluate.{name}"
    if isinstance(stage, PretrainedModel):
        raise SettingsError(f"{where}: evaluate names stage '{name}', but that is a model trained elsewhere")
    if not isinstance(stage, Sft) and {"format", "forgetting", "before"}.intersection(suites):
        raise SettingsError(
            f"{here}: 'format', 'forgetting' and 'before' are asked of a stage of kind 'sft', and '{name}' is "
            "pre-trained; ask 'knowledge' of it"
        )
    replayed = isinstance(stage, Sft) and stage.replay_data
    if "forgetting" in suites and not _base(recipe, stage).data and not replayed:
        raise SettingsError(
            f"{here}: 'forgetting' needs the text that the model was trained on; name it as the data of its stage"
        )
    if "knowledge" in suites and world_of(recipe.data) is None:
        raise SettingsError(
            f"{here}: 'knowledge' asks about the built-in world, but [data] has none of kind 'world'; leave it out"
        )


def _base(recipe: Recipe, stage: AnyStage) -> AnyStage:
    while isinstance(stage, Sft):
        assert stage.parent is not None
        stage = recipe.stages[stage.parent]
    return stage


def _check_data(recipe: Recipe, names: Iterable[str], wanted: str, use: str, here: str) -> None:
    for data_name in names:
        data = find_data(data_name, recipe.data, here)
        if isinstance(data, WorldChat):
            find_world(data, recipe.data, f"{here}.{data_name}")
        if holds(data) != wanted:
            raise SettingsError(f"{here}: '{data_name}' holds {holds(data)}, but {use} {wanted}")


@dataclass(frozen=True)
class Run:
    """A recipe in a folder. `out` is how the command line names that folder, for sentences that ask for another."""

    recipe: Recipe
    folder: Path
    out: str = "out=DIR"

    def tokenizer_fingerprint(self) -> str:
        """What the tokenizer is made of: its settings and the text it learns from."""
        recipe = self.recipe
        texts = [identity(name, recipe.data) for name in self.tokenizer_data()]
        return fingerprint(__version__, to_plain(recipe.tokenizer), texts)

    def tokenizer_data(self) -> list[str]:
        """The data that the tokenizer learns from."""
        if self.recipe.tokenizer.data is not None:
            return self.recipe.tokenizer.data
        reading = [stage for stage in self.recipe.stages.values() if isinstance(stage, Pretrain)]
        return list(dict.fromkeys(name for stage in reading for name in stage.data))

    def fingerprint(self, name: str) -> str:
        """hash(resolved settings + the parent's fingerprint + the data's fingerprint)."""
        recipe, stage = self.recipe, self.recipe.stages[name]
        replayed = stage.replay_data if isinstance(stage, Sft) else {}
        data = [identity(data_name, recipe.data) for data_name in (*stage.data, *replayed)]
        if isinstance(stage, PretrainedModel):
            files = [path for path in sorted(Path(stage.path).iterdir()) if path.suffix in MODEL_FILES]
            files = [path for path in files if path.name not in (STAGE, RATES, SUMMARY, RECIPE)]
            said = {key: value for key, value in to_plain(stage).items() if key not in ("path", "batch_tokens")}
            return fingerprint([(path.name, file_hash(path)) for path in files], said, list(stage.data), data)
        parent = (
            self.fingerprint(stage.parent) if stage.parent else [self.tokenizer_fingerprint(), to_plain(recipe.model)]
        )
        quiet = {"checkpoint_seconds", "micro_tokens", "recompute", "max_forgetting"}
        if not chooses(stage):  # how often a run looks at itself does not change what it becomes
            quiet.add("evaluate_every")
        settings = {key: value for key, value in to_plain(stage).items() if key not in quiet}
        # The order of the data counts: a pass is one over the first.
        return fingerprint(__version__, recipe.seed, settings, list(stage.data), parent, data)

    def context(self, name: str) -> StageContext:
        recipe = self.recipe
        return StageContext(
            name=name,
            folder=self.folder / name,
            cache=self.folder / "data",
            seed=recipe.seed,
            model=recipe.model,
            data=recipe.data,
            stages=recipe.stages,
            folders={
                name: Path(stage.path) if isinstance(stage, PretrainedModel) else self.folder / name
                for name, stage in recipe.stages.items()
            },
            tokenizer=self.folder / TOKENIZER,
        )

    def stage_done(self, name: str) -> dict[str, Any] | None:
        """What the stage wrote of itself, if it is finished and unchanged; of a model made elsewhere what is known."""
        if isinstance(stage := self.recipe.stages[name], PretrainedModel):
            return {"path": stage.path}
        return finished(self.folder / name, self.fingerprint(name))

    def tokenizer_done(self) -> bool:
        """Whether the run's tokenizer is there and made of what the recipe says."""
        note = self.folder / TOKENIZER / MADE_OF
        return note.exists() and read_json(note) == self.tokenizer_fingerprint()

    def make_tokenizer(self) -> None:
        """Train the tokenizer, unless it is there or no stage begins from nothing."""
        if all(parent_of(stage) or isinstance(stage, PretrainedModel) for stage in self.recipe.stages.values()):
            return
        if self.tokenizer_done():
            return
        status("training the tokenizer")
        recipe = self.recipe
        texts = (text for name in self.tokenizer_data() for text in plain_texts(name, recipe.data))
        # Characters alone: a mark between documents would take a character's place in a vocabulary so small.
        marks = () if recipe.tokenizer.kind == "char" else (END_OF_TEXT,)
        tokenizers.train(texts, recipe.tokenizer, marks).save(self.folder / TOKENIZER)
        write_json(self.folder / TOKENIZER / MADE_OF, self.tokenizer_fingerprint())

    def evaluate(self, name: str, again: bool = False) -> dict[str, Any]:
        """The figures of every suite asked for on a stage; those measured before are read, and not measured `again`."""
        results: dict[str, Any] = {}
        for suite in self.recipe.evaluate.get(name, []):
            path = self.folder / name / EVALUATION / f"{suite}.json"
            data = [identity(data_name, self.recipe.data) for data_name in self.recipe.data]
            mark = fingerprint(__version__, self.fingerprint(name), suite, data)
            if again or not path.exists() or (stored := read_json(path))["fingerprint"] != mark:
                stage = self.recipe.stages[name]
                assert not isinstance(stage, PretrainedModel)
                stored = {"fingerprint": mark, "results": run_suite(suite, stage, self.context(name))}
                write_json(path, stored)
            results[suite] = stored["results"]
        return results

    def run(self, only: str | None = None) -> dict[str, Any]:
        """Run every stage that is not finished, evaluate, and write summary.json; returns the summary.

        `only` runs one stage, whose parents must be finished, and leaves the others. Where `torchrun` started several
        processes they work on it together; all but the first end when there is nothing left to train.

        Raises:
            ValueError: another run is writing to the folder, or the recipe cannot be run.
            Stopped: by Ctrl-C or SIGTERM; the same command goes on from there.
        """
        self._refuse(only)
        with (
            init_distributed(),
            locked(self.folder, f"name another folder: {self.out}") if is_main_process() else nullcontext(),
        ):
            summary = self._run(only)
        if summary is None:
            sys.exit(0)
        return summary

    def _refuse(self, only: str | None) -> None:
        """SettingsError where there is no such stage, or the folder holds what is no run."""
        if only is not None and only not in self.recipe.stages:
            raise SettingsError(f"there is no stage '{only}'{suggest(only, self.recipe.stages)}")
        holds = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        if RECIPE not in holds and set(holds) - {LOCK}:
            raise SettingsError(f"{self.folder} holds files that are no run; name a new or empty folder: {self.out}")

    def _run(self, only: str | None) -> dict[str, Any] | None:
        """The summary; None on all processes but the first."""
        began = time.monotonic()
        recipe = self.recipe
        if only is not None and isinstance(recipe.stages[only], PretrainedModel):
            status(f"{only}: a model made elsewhere; there is nothing to run")
        if is_main_process():
            self._set_up()
        barrier()
        trained = False
        for name, stage in recipe.stages.items():
            if only not in (None, name) or isinstance(stage, PretrainedModel):
                continue
            done = broadcast_object(is_main_process() and self.stage_done(name) is not None)
            if only and stage.parent and not self.stage_done(stage.parent):
                raise SettingsError(f"stage '{only}' builds on '{stage.parent}', which is not finished; run that first")
            if done:
                status(f"{name}: finished before, skipped")
            else:
                run_stage(
                    stage, self.context(name), broadcast_object(self.fingerprint(name) if is_main_process() else None)
                )
                trained = True
        return self.summarise(began if trained else None) if is_main_process() else None

    def _set_up(self) -> None:
        """Check and write what stands before the first stage."""
        recipe = self.recipe
        self._refuse_another_run()
        for data_name in recipe.data:
            identity(data_name, recipe.data)  # a file that is not there is told now, and not after hours of training
        write_json(self.folder / RECIPE, to_plain(recipe), sort=False)  # the order of stages and data counts
        self.make_tokenizer()

    def too_forgetful(self) -> str:
        """A sentence where a stage forgot more than its max_forgetting allows; "" where none did, or none asks.

        Only what is sure counts: the lower end of the 95% interval must be above the limit, for one of the texts.
        """
        for name, stage in self.recipe.stages.items():
            if not isinstance(stage, Sft) or stage.max_forgetting is None or not self.stage_done(name):
                continue
            found = self.evaluate(name)["forgetting"]
            texts = found.get("by_data") or {next(iter(found["outcomes"])): found}
            text, worst = max(texts.items(), key=lambda item: item[1]["low"])
            if worst["low"] > stage.max_forgetting:
                return (
                    f"{name} forgets too much: its loss on held-out text '{text}' rose by {worst['increase']:.1%} "
                    f"(95%: {worst['low']:.1%} to {worst['high']:.1%}), and max_forgetting allows "
                    f"{stage.max_forgetting:.1%}; replay more, train less or at a lower rate"
                )
        return ""

    def _refuse_another_run(self) -> None:
        """SettingsError where the folder holds a run of another name, of other stages or from another model: it would
        be replaced."""
        if not (self.folder / RECIPE).exists():
            return
        other = convert(read_json(self.folder / RECIPE), Recipe, str(self.folder / RECIPE))
        here = {name: one.path for name, one in self.recipe.stages.items() if isinstance(one, PretrainedModel)}
        there = {name: one.path for name, one in other.stages.items() if isinstance(one, PretrainedModel)}
        trained = self.recipe.stages.keys() - here.keys()
        begun = [name for name in other.stages.keys() - there.keys() if (self.folder / name).exists()]
        if not begun:
            return  # it ended before it had trained anything
        if any(self.stage_done(name) for name in trained):
            return  # a model that was moved is the same model
        if other.name != self.recipe.name or here != there or trained.isdisjoint(other.stages.keys() - there.keys()):
            models = "".join(f", from {path}" for path in there.values()) if here != there else ""
            raise SettingsError(
                f"{self.folder} holds another run, '{other.name}'{models}; name another folder for this one: {self.out}"
            )

    def summarise(self, began: float | None = None, again: str | None = None) -> dict[str, Any]:
        """Evaluate what is finished and write summary.json: every figure under a plain dotted name.

        `began` is when a run that trained something began; without it the time and memory of the last one stay.
        `again` is a stage that is measured anew.
        """
        last = self.summary()
        summary: dict[str, Any] = {"name": self.recipe.name, "version": __version__, "stages": {}, "evaluate": {}}
        for name, stage in self.recipe.stages.items():
            if not isinstance(stage, PretrainedModel) and (info := self.stage_done(name)):
                summary["stages"][name] = {k: v for k, v in info.items() if k not in ("settings", "stores")}
                summary["evaluate"][name] = self.evaluate(name, again=name == again)
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
