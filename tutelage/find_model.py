"""From what people write for a model to its folder, and what is known about how it was made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tutelage.chat.render.config import OTHER_TEMPLATES
from tutelage.config import suggest
from tutelage.files import atomic_folder, read_json, write_json
from tutelage.model.carried import CARRIED
from tutelage.model.gguf.read import read_gguf
from tutelage.model.hub import CONFIG, find_checkpoint, holds_model, save_model
from tutelage.recipe import read_recipe
from tutelage.runner import Run
from tutelage.stages.base import RECIPE, RUN_FILES
from tutelage.stages.data import DataSettings
from tutelage.stages.data_files import ProbeText
from tutelage.stages.kept import kept_steps
from tutelage.stages.pretrained_model import MODEL_FILES, PretrainedModel, can_encode_probe
from tutelage.stages.train_stage import trained_stages
from tutelage.train.optimizers import OptimizerSettings

# In the folder of an unpacked GGUF file: which file it was.
UNPACKED = "gguf_source.json"


@dataclass(frozen=True)
class Base:
    """The model to start from, as a stage, with what is known about how it was made; its `data` is text to measure
    forgetting on, and to replay where it is `known` to be the model's training text."""

    known: bool
    stage: PretrainedModel
    data: dict[str, DataSettings]
    optimizer: OptimizerSettings


def find_model(name: str | Path) -> Path:
    """The folder of a model: the last finished stage of a run's folder, any other model's folder itself (RUN/STAGE, or
    RUN/STAGE@STEP for weights that were kept), what was fetched from the hub, or a GGUF file unpacked. ValueError where
    there is none."""
    folder = Path(name)
    if folder.suffix == ".gguf" and folder.is_file():
        return unpack_gguf(folder)
    if not (folder / RECIPE).exists():
        check_stage_name(folder)
        return find_checkpoint(name).resolve()
    folder = folder.resolve()
    recipe = read_recipe(folder / RECIPE)
    made = [folder / name for name in recipe.stages if holds_model(folder / name)]
    if not made:
        raise ValueError(f"no stage of {folder} is finished; to resume it: {resume_command(Run(recipe, folder))}")
    return made[-1]


def unpack_gguf(path: Path) -> Path:
    """The folder of a GGUF file's model, NAME-unpacked beside it: made once, and again if the file has changed."""
    folder = path.resolve().with_name(f"{path.stem}-unpacked")
    status = path.stat()
    source = {"file": path.name, "bytes": status.st_size, "modified": status.st_mtime_ns}
    record = folder / UNPACKED
    if record.exists() and read_json(record) == source:
        return folder
    if folder.exists() and not record.exists():
        raise ValueError(f"{folder} is in the way of unpacking {path.name}; move or rename it")
    with atomic_folder(folder) as temporary:
        save_model(temporary, read_gguf(path))
        write_json(temporary / UNPACKED, source)
    return folder


def check_stage_name(folder: Path) -> None:
    """ValueError for a stage that an existing run does not have; the hub need not be asked about that."""
    path = folder.parent / RECIPE
    if folder.exists() or not path.exists():
        return
    stages = read_recipe(path).stages
    name, _, step = folder.name.partition("@")
    if name not in stages:
        raise ValueError(f"{folder.parent} has no stage '{name}'{suggest(name, stages)}")
    if step:
        kept = kept_steps(folder.with_name(name))
        listed = ", ".join(map(str, kept)) or "none; set save_every"
        raise ValueError(f"{folder.parent} has no weights of step {step} of '{name}' (kept: {listed})")
    raise ValueError(f"stage {name} of {folder.parent} is not finished, so it has no model yet")


def resume_command(run: Run) -> str:
    """The command that makes a run, and resumes one that was stopped, as far as its folder tells."""
    external = [stage.folder(name, run.folder) for name, stage in run.recipe.stages.items() if not stage.trains]
    paths = [path for data in run.recipe.data.values() if (path := getattr(data, "path", None)) is not None]
    first, *rest = run.recipe.stages
    if first == "base" and rest in (["sft"], ["dpo"], ["kto"], ["reward"]) and external and paths:
        command = f"tutelage {rest[0]} --model {external[0]} --data {paths[-1]} --out {run.folder}"
    else:
        command = f"tutelage run RECIPE out={run.folder}"
    return f"{command}, with the settings it was begun with"


def find_base(folder: Path) -> Base:
    """What is known about a model: where it is a stage of a run, the text, rate and optimizer of its pre-training."""
    texts: dict[str, DataSettings] = {"probe": ProbeText()} if can_encode_probe(folder) else {}
    external = PretrainedModel(path=str(folder), data=dict.fromkeys(texts, 1.0))
    path = folder.parent / RECIPE
    if not path.exists():
        return Base(False, external, texts, OptimizerSettings())
    recipe = read_recipe(path)
    trained = trained_stages(recipe.stages)
    name = folder.name.partition("@")[0]
    while name in trained and trained[name].fine_tunes:
        name = trained[name].parent or ""
    if name not in trained:
        return Base(False, external, texts, OptimizerSettings())
    stage = trained[name]
    base = PretrainedModel(
        path=str(folder), data=stage.data, held_out=stage.held_out, lr=stage.lr, batch_tokens=stage.batch_tokens
    )
    return Base(True, base, {name: recipe.data[name] for name in stage.data}, stage.optimizer)


def publish(run: Run) -> None:
    """Let the run's own folder be its last model's too, so that other programs load it by the name it was given. The
    files are links, where the disk has them: nothing is stored twice."""
    made = find_model(run.folder)
    for path in sorted(made.iterdir(), key=lambda path: path.name == CONFIG):  # the config last: then all is there
        carried = any(path.match(pattern) for pattern in CARRIED)
        if path.name in RUN_FILES or not (path.suffix in MODEL_FILES or carried):
            continue
        target = run.folder / path.name
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, target)
    if (made / OTHER_TEMPLATES).is_dir():
        shutil.copytree(made / OTHER_TEMPLATES, run.folder / OTHER_TEMPLATES, dirs_exist_ok=True)
