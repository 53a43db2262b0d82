"""`tutelage sft`: a model's folder and a file of conversations as a recipe in which every default is the safe one."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tutelage import tokenizer as tokenizers
from tutelage.batching.sources import TooLong
from tutelage.chat.formats import read_conversations
from tutelage.chat.renderer import TrainOn
from tutelage.chat.source import read_source
from tutelage.chat.verified import chat_tokenizer, make_renderer
from tutelage.config import SettingsError, convert
from tutelage.files import read_json
from tutelage.ledger import Ledger
from tutelage.model.hub import CONFIG, find_checkpoint, load_config
from tutelage.model.sizes import parameter_count
from tutelage.recipe import RECIPE, SUMMARY, Recipe, Run, check_recipe
from tutelage.stages.data import ChatData, DataSettings, ProbeText
from tutelage.stages.evaluate import Suite
from tutelage.stages.run import STAGE
from tutelage.stages.settings import ModelFolder, PretrainSettings, SftSettings
from tutelage.train.optimizers import OptimizerSettings

# Few rows are passed more than three times, until this many steps are done.
FEW_ROWS, FEW_STEPS = 1000, 100
SPARE_FROM, SPARED = 100, 0.05  # the share of the rows kept to measure on; of fewer rows none
# A step of fewer tokens has no room for replayed text beside the conversations.
STEPS_OF_A_PASS, SMALLEST_STEP, LARGEST_STEP = 8, 512, 8192
# Of the base's rate, for few rows, which are read often: there it learns most and forgets least (the lab's finding 2).
RATE_OF_FEW = 0.1
PASSES = 3
NOT_OF_THE_MODEL = (STAGE, SUMMARY, RECIPE)
REPLAY = 0.5  # of the text the model was trained on, where that is known


@dataclass(frozen=True)
class Base:
    """The model to start from, as a stage, with what is known of how it was made."""

    stage: ModelFolder
    data: dict[str, DataSettings]
    optimizer: OptimizerSettings


def find_model(name: str | Path) -> Path:
    """The folder of the model that a name means: the last finished stage of a run's folder, any other model's folder
    itself, or what was fetched from the hub for it. ValueError where there is none."""
    folder = Path(name)
    if not (folder / RECIPE).exists():
        return find_checkpoint(name).resolve()
    folder = folder.resolve()
    stages = convert(read_json(folder / RECIPE), Recipe, str(folder / RECIPE)).stages
    made = [folder / name for name in stages if (folder / name / CONFIG).exists()]
    if not made:
        raise ValueError(f"{folder} is a run in which no stage is finished; run its recipe first")
    return made[-1]


def find_base(folder: Path) -> Base:
    """What is known of a model: where it is a stage of a run, the text, rate and optimizer of its pre-training too."""
    recipe_path = folder.parent / RECIPE
    elsewhere = Base(ModelFolder(path=str(folder), data={"probe": 1.0}), {"probe": ProbeText()}, OptimizerSettings())
    if not recipe_path.exists():
        return elsewhere
    recipe = convert(read_json(recipe_path), Recipe, str(recipe_path))
    name: str | None = folder.name
    while name is not None and not isinstance(stage := recipe.stages[name], PretrainSettings):
        if isinstance(stage, ModelFolder):
            return elsewhere
        name = stage.parent
    assert isinstance(stage, PretrainSettings)
    made = ModelFolder(
        path=str(folder), data=stage.data, held_out=stage.held_out, lr=stage.lr, batch_tokens=stage.batch_tokens
    )
    return Base(made, {name: recipe.data[name] for name in stage.data}, stage.optimizer)


def default_rate(parameters: int) -> float:
    """A peak learning rate for a model of which nothing is known but its size: 2e-5 at a billion parameters, falling
    with the cube root of the size (1e-5 at 8 billion, as in Tulu 3, arXiv 2411.15124), between 5e-6 and 3e-4."""
    return float(f"{min(3e-4, max(5e-6, 2e-5 * (1e9 / parameters) ** (1 / 3))):.1e}")


@dataclass(frozen=True)
class Rows:
    """The size of a file of conversations: exact where it has few rows, else of its first."""

    few: bool
    count: int
    tokens: int
    longest: int


def measure(data: Path, model: Path, train_on: TrainOn, max_refused: float, max_broken: float) -> Rows:
    """Render the first rows with the model's tokenizer and template."""
    source = read_source(model)
    renderer = make_renderer(chat_tokenizer(tokenizers.load(model), source), source)
    rows = list(islice(read_conversations(data, Ledger("rows"), max_broken), FEW_ROWS))
    made = renderer.render_rows(rows, train_on)
    refused = [one for one in made if isinstance(one, ValueError)]
    if refused and (max_refused == 0 or len(refused) == len(made)):
        raise refused[0]
    lengths = [len(one.ids) for ones in made if isinstance(ones, list) for one in ones]
    return Rows(len(rows) < FEW_ROWS, len(rows), sum(lengths), max(lengths))


def publish(run: Run) -> None:
    """Let the run's own folder be its last model's too, so that other programs load it by the name it was given. The
    files are links, where the disk knows them: nothing is stored twice."""
    made = find_model(run.folder)
    for path in sorted(made.iterdir(), key=lambda path: path.name == CONFIG):  # where the config stands, all is there
        if path.suffix not in (".json", ".safetensors", ".jinja") or path.name in NOT_OF_THE_MODEL:
            continue
        target = run.folder / path.name
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, target)


def finetune_recipe(
    model: str | Path,
    data: Path,
    *,
    train_on: TrainOn = "all",
    max_refused: float = 0.0,
    max_broken: float = 0.0,
    too_long: TooLong = "error",
    replay: float | None = None,
    lr: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
) -> Recipe:
    """The recipe of one fine-tuning stage. What is None follows from the data and from what is known of the model.

    Raises:
        SettingsError: `replay` is no share.
        ValueError: the model or the data cannot be read.
    """
    folder = find_model(model)
    base = find_base(folder)
    if lr is None and base.stage.lr is None:
        lr = default_rate(parameter_count(load_config(folder)))
    rows = measure(data, folder, train_on, max_refused, max_broken)
    if lr is None and rows.few and base.stage.lr is not None:
        lr = float(f"{base.stage.lr * RATE_OF_FEW:.3g}")
    batch_tokens = LARGEST_STEP
    if rows.few:
        own = max(SMALLEST_STEP, rows.longest, math.ceil(rows.tokens / STEPS_OF_A_PASS))
        batch_tokens = min(LARGEST_STEP, own)
    known = "probe" not in base.data
    share = (REPLAY if known else 0.0) if replay is None else replay
    if share and not known:
        raise SettingsError(f"--replay needs the text that {folder} was trained on, and that is not known")
    if share >= 1:
        raise SettingsError(f"--replay is {share}; it is a share of the graded tokens: at least 0, below 1")
    steps = None
    if epochs is None:
        steps = max(FEW_STEPS, PASSES * math.ceil(rows.tokens / batch_tokens)) if rows.few else None
        epochs = None if rows.few else PASSES
    stage = SftSettings(
        parent="base",
        data={"chat": 1.0},
        train_on=train_on,
        max_refused=max_refused,
        too_long=too_long,
        replay=share,
        lr=lr,
        epochs=epochs,
        steps=steps,
        seed=seed,
        # Replayed text comes on top, so that a step holds as many conversations with it as without.
        batch_tokens=math.ceil(batch_tokens / (1 - share)),
        held_out=SPARED if rows.count >= SPARE_FROM else 0.0,
        optimizer=base.optimizer,
        keep="last",
    )
    suites: list[Suite] = ["format", "forgetting"]
    recipe = Recipe(
        name=data.stem,
        data={**base.data, "chat": ChatData(path=str(data.resolve()), max_broken=max_broken)},
        stages={"base": base.stage, "sft": stage},
        evaluate={"sft": suites},
        seed=seed,
    )
    check_recipe(recipe, "tutelage sft")
    return recipe
