"""`tutelage sft`: a model's folder and a file of conversations as a recipe in which every default is the safe one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tutelage import tokenizer as tokenizers
from tutelage.chat.formats import read_conversations
from tutelage.chat.renderer import Mask, Renderer
from tutelage.chat.template import TEMPLATE_TOKENS
from tutelage.config import SettingsError, convert
from tutelage.files import read_json
from tutelage.ledger import Ledger
from tutelage.model.hub import CONFIG
from tutelage.recipe import RECIPE, Recipe, check_recipe
from tutelage.stages.data import ChatData, DataSettings
from tutelage.stages.evaluate import Suite
from tutelage.stages.settings import ModelFolder, PretrainSettings, SftSettings
from tutelage.train.optimizers import OptimizerSettings

# Few rows are passed more than three times, until this many steps are done.
FEW_ROWS, FEW_STEPS = 1000, 100
SPARE_FROM, SPARED = 100, 0.05  # the share of the rows kept to measure on; of fewer rows none
STEPS_OF_A_PASS, LARGEST_STEP = 8, 8192
PASSES = 3
REPLAY = 0.5  # of the text the model was trained on, where that is known


@dataclass(frozen=True)
class Base:
    """The model to start from, as a stage, with what is known of how it was made."""

    stage: ModelFolder
    data: dict[str, DataSettings]
    optimizer: OptimizerSettings


def find_model(folder: Path) -> Path:
    """The folder of the model that a path means: itself, or the last finished stage of a run."""
    if (folder / CONFIG).exists() or not (folder / RECIPE).exists():
        return folder
    stages = convert(read_json(folder / RECIPE), Recipe, str(folder / RECIPE)).stages
    made = [folder / name for name in stages if (folder / name / CONFIG).exists()]
    if not made:
        raise ValueError(f"{folder} is a run in which no stage is finished; run its recipe first")
    return made[-1]


def find_base(folder: Path) -> Base:
    """What is known of a model: where it is a stage of a run, the text, rate and optimizer of its pre-training too."""
    recipe_path = folder.parent / RECIPE
    if not recipe_path.exists():
        return Base(ModelFolder(path=str(folder)), {}, OptimizerSettings())
    recipe = convert(read_json(recipe_path), Recipe, str(recipe_path))
    name: str | None = folder.name
    while name is not None and not isinstance(stage := recipe.stages[name], PretrainSettings):
        if isinstance(stage, ModelFolder):
            return Base(ModelFolder(path=str(folder)), {}, OptimizerSettings())
        name = stage.parent
    assert isinstance(stage, PretrainSettings)
    made = ModelFolder(
        path=str(folder), data=stage.data, held_out=stage.held_out, lr=stage.lr, batch_tokens=stage.batch_tokens
    )
    return Base(made, {name: recipe.data[name] for name in stage.data}, stage.optimizer)


@dataclass(frozen=True)
class Rows:
    """The size of a file of conversations: exact where it has few rows, else of its first."""

    few: bool
    count: int
    tokens: int
    longest: int


def measure(data: Path, model: Path, mask: Mask) -> Rows:
    """Render the first rows with the model's tokenizer."""
    tokenizer = tokenizers.load(model).extend(TEMPLATE_TOKENS)
    rows = list(islice(read_conversations(data, Ledger("rows")), FEW_ROWS))
    lengths = [len(rendered.ids) for rendered in Renderer(tokenizer).render_batch(rows, mask)]
    return Rows(len(rows) < FEW_ROWS, len(rows), sum(lengths), max(lengths))


def finetune_recipe(
    model: Path,
    data: Path,
    *,
    mask: Mask = "assistant",
    replay: float | None = None,
    lr: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
) -> Recipe:
    """The recipe of one fine-tuning stage. What is None follows from the data and from what is known of the model.

    Raises:
        SettingsError: the model's rate is not known and `lr` is not given.
        ValueError: the model or the data cannot be read.
    """
    model = find_model(model.resolve())
    base = find_base(model)
    if lr is None and base.stage.lr is None:
        raise SettingsError(f"it is not known with which learning rate {model} was trained; say one for it with --lr")
    rows = measure(data, model, mask)
    batch_tokens = LARGEST_STEP
    if rows.few:
        batch_tokens = min(LARGEST_STEP, max(rows.longest, math.ceil(rows.tokens / STEPS_OF_A_PASS)))
    share = (REPLAY if base.stage.data else 0.0) if replay is None else replay
    if share >= 1:
        raise SettingsError(f"--replay is {share}; it is a share of the graded tokens: at least 0, below 1")
    steps = None
    if epochs is None:
        steps = max(FEW_STEPS, PASSES * math.ceil(rows.tokens / batch_tokens)) if rows.few else None
        epochs = None if rows.few else PASSES
    stage = SftSettings(
        parent="base",
        data={"chat": 1.0},
        mask=mask,
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
    suites: list[Suite] = ["format", "forgetting"] if base.stage.data else ["format"]
    recipe = Recipe(
        name=data.stem,
        data={**base.data, "chat": ChatData(path=str(data.resolve()))},
        stages={"base": base.stage, "sft": stage},
        evaluate={"sft": suites},
        seed=seed,
    )
    check_recipe(recipe, "tutelage sft")
    return recipe
