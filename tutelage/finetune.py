"""`tutelage sft`: a model's folder and a file of conversations as a recipe in which every default is the safe one."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from tutelage import tokenizer as tokenizers
from tutelage.batching.sources import TooLong
from tutelage.chat.formats import read_conversations
from tutelage.chat.formats.rows import SUFFIXES
from tutelage.chat.render.config import read_chat_config
from tutelage.chat.render.hf import chat_tokenizer, has_own_template, make_renderer
from tutelage.chat.render.native import TrainOn
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.config import SettingsError, convert, suggest
from tutelage.corpus.probe import probe_documents
from tutelage.files import read_json
from tutelage.ledger import Ledger
from tutelage.model.hub import CONFIG, find_checkpoint, holds_model, load_config
from tutelage.model.lora import LoraSettings
from tutelage.model.sizes import parameter_count
from tutelage.recipe import RECIPE, SUMMARY, Recipe, Run, check_recipe
from tutelage.stages.data import ChatData, DataSettings, DocumentData, ProbeText, TextData
from tutelage.stages.evaluate import Suite
from tutelage.stages.run import RATES, STAGE
from tutelage.stages.settings import LORA_LR_TIMES, Pretrain, PretrainedModel, Sft
from tutelage.train.find_lr import default_rate
from tutelage.train.optimizers import OptimizerSettings
from tutelage.train.schedule import ScheduleSettings

# Few rows are passed more than three times, until this many steps are done.
FEW_ROWS, FEW_STEPS = 1000, 100
SPARE_FROM, SPARED = 100, 0.05  # the share of the rows kept to measure on; of fewer rows none
# Fewer held-out rows are too few to choose a checkpoint by; and so often is the model looked at, at most: a look takes
# as long as several steps.
LOOK_FROM, LOOKS = 10, 5
# A step of fewer tokens has no room for replayed text beside the conversations.
STEPS_OF_A_PASS, SMALLEST_STEP, LARGEST_STEP = 8, 512, 8192
# Of the base's rate, for few rows, which are read often: there it learns most and forgets least (the lab's finding 2).
RATE_OF_FEW = 0.1
PASSES = 3
NOT_OF_THE_MODEL = (STAGE, RATES, SUMMARY, RECIPE)
REPLAY = 0.5  # of the text the model was trained on, where that is known


@dataclass(frozen=True)
class Base:
    """The model to start from, as a stage, with what is known of how it was made; its `data` is text to measure
    forgetting on, and to replay where it is `known` to be what the model was trained on."""

    known: bool
    stage: PretrainedModel
    data: dict[str, DataSettings]
    optimizer: OptimizerSettings


def find_model(name: str | Path) -> Path:
    """The folder of the model that a name means: the last finished stage of a run's folder, any other model's folder
    itself, or what was fetched from the hub for it. ValueError where there is none."""
    folder = Path(name)
    if not (folder / RECIPE).exists():
        refuse_misspelt(folder)
        return find_checkpoint(name).resolve()
    folder = folder.resolve()
    recipe = convert(read_json(folder / RECIPE), Recipe, str(folder / RECIPE))
    made = [folder / name for name in recipe.stages if holds_model(folder / name)]
    if not made:
        raise ValueError(f"no stage of {folder} is finished; to go on with it: {command_of(Run(recipe, folder))}")
    return made[-1]


def refuse_misspelt(folder: Path) -> None:
    """ValueError for what is no stage of a run that is there; the hub need not be asked about that."""
    path = folder.parent / RECIPE
    if folder.exists() or not path.exists():
        return
    stages = convert(read_json(path), Recipe, str(path)).stages
    if folder.name in stages:
        raise ValueError(f"stage {folder.name} of {folder.parent} is not finished, so there is no model of it yet")
    raise ValueError(f"{folder.parent} has no stage '{folder.name}'{suggest(folder.name, stages)}")


def command_of(run: Run) -> str:
    """The command that makes a run, and goes on with one that was stopped, as far as its folder tells."""
    stages = run.recipe.stages
    base, data = stages.get("base"), run.recipe.data.get("chat")
    if list(stages) == ["base", "sft"] and isinstance(base, PretrainedModel) and isinstance(data, ChatData):
        command = f"tutelage sft --model {base.path} --data {data.path} --out {run.folder}"
    else:
        command = f"tutelage run RECIPE out={run.folder}"
    return f"{command}, with the settings it was begun with"


def find_base(folder: Path) -> Base:
    """What is known of a model: where it is a stage of a run, the text, rate and optimizer of its pre-training too."""
    recipe_path = folder.parent / RECIPE
    texts: dict[str, DataSettings] = {"probe": ProbeText()} if _can_say_probe(folder) else {}
    elsewhere = Base(
        False, PretrainedModel(path=str(folder), data=dict.fromkeys(texts, 1.0)), texts, OptimizerSettings()
    )
    if not recipe_path.exists():
        return elsewhere
    recipe = convert(read_json(recipe_path), Recipe, str(recipe_path))
    name: str | None = folder.name
    while name is not None and not isinstance(stage := recipe.stages[name], Pretrain):
        if isinstance(stage, PretrainedModel):
            return elsewhere
        name = stage.parent
    assert isinstance(stage, Pretrain)
    made = PretrainedModel(
        path=str(folder), data=stage.data, held_out=stage.held_out, lr=stage.lr, batch_tokens=stage.batch_tokens
    )
    return Base(True, made, {name: recipe.data[name] for name in stage.data}, stage.optimizer)


def _can_say_probe(folder: Path) -> bool:
    """Whether a model's tokenizer has all characters of the texts that come with Tutelage; one of characters alone
    has those of its own text."""
    try:
        tokenizers.load(folder).encode_batch([document.text for document in probe_documents()])
    except tokenizers.EncodingError:
        return False
    return True


@dataclass(frozen=True)
class Rows:
    """The size of a file of conversations: exact where it has few rows, else of its first."""

    few: bool
    count: int
    tokens: int
    longest: int


def measure(data: Path, model: Path, train_on: TrainOn, max_refused: float, max_broken: float) -> Rows:
    """Render the first rows with the model's tokenizer and template."""
    source = read_chat_config(model)
    renderer = make_renderer(chat_tokenizer(tokenizers.load(model), source), source)
    rows = list(islice(read_conversations(data, Ledger("rows"), max_broken), FEW_ROWS))
    made = renderer.render_rows(rows, train_on)
    refused = [one for one in made if isinstance(one, ValueError)]
    if refused and (max_refused == 0 or len(refused) == len(made)):
        raise refused[0]
    lengths = [len(one.ids) for ones in made if isinstance(ones, list) for one in ones]
    return Rows(len(rows) < FEW_ROWS, len(rows), sum(lengths), max(lengths))


def talks(model: Path) -> bool:
    """Whether a model has turns already, so that how it answers can be tried before it is fine-tuned."""
    known = tokenizers.load(model).special_tokens
    return has_own_template(read_chat_config(model)) or all(name in known for name in TEMPLATE_TOKENS)


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


def looks_of(
    rows: Rows, held_out: int, batch_tokens: int, steps: int | None, epochs: int | None
) -> int | Literal["epoch"]:
    """How often the model is looked at while it trains (evaluate_every): at the end of every pass, but of many passes
    LOOKS times in all; never where too few rows are `held_out` to choose by."""
    if held_out < LOOK_FROM:
        return 0
    steps_of_a_pass = math.ceil(rows.tokens / batch_tokens)
    passes = epochs if epochs is not None else (steps or 0) / steps_of_a_pass
    if passes <= LOOKS or not rows.few:
        return "epoch"
    return math.ceil(passes * steps_of_a_pass / LOOKS)


def replay_of(said: str) -> tuple[Path | None, float]:
    """What `--replay SHARE` or `--replay FILE=SHARE` says; SettingsError where it says neither."""
    file, _, number = said.rpartition("=")
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise SettingsError(
            f"--replay is '{said}'; give the share of trained tokens that is replayed text, at least 0 and below 1, "
            "or a file of text and the share, as in docs.parquet=0.05"
        )
    if file and not share:
        raise SettingsError(f"--replay names {file} but replays nothing of it; give a share above 0")
    return (Path(file) if file else None), share


def text_of(path: Path) -> DataSettings:
    """A file to replay text from: rows with a column "text", told by its name, else plain text."""
    stem = path.with_suffix("") if path.suffix in (".gz", ".zst") else path
    whole = str(path.resolve())
    return DocumentData(path=whole) if path.is_dir() or stem.suffix in SUFFIXES else TextData(path=whole)


def finetune_recipe(
    model: str | Path,
    data: Path,
    *,
    held_out: Path | None = None,
    train_on: TrainOn = "assistant",
    max_refused: float = 0.0,
    max_broken: float = 0.0,
    too_long: TooLong = "error",
    replay: float | None = None,
    replay_file: Path | None = None,
    max_forgetting: float | None = None,
    lr: float | None = None,
    warmup: float = ScheduleSettings().warmup,
    find_lr: bool = False,
    lora: int | None = None,
    batch_tokens: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
) -> Recipe:
    """The recipe of one fine-tuning stage. What is None follows from the data and from what is known of the model.

    `lora` is the rank of matrices to train in place of the weights; all of the weights are trained where it is None.
    `replay` is a share of the trained tokens: of the text in `replay_file`, or of the text the model was trained on.
    `batch_tokens` are those of a step with all that is replayed in it.
    `held_out` is a file of other conversations; a share of the rows is held out where it is None.

    Raises:
        SettingsError: `replay` is no share.
        ValueError: the model or the data cannot be read.
    """
    folder = find_model(model)
    base = find_base(folder)
    rows = measure(data, folder, train_on, max_refused, max_broken)
    share = _replayed(base, folder, replay, replay_file)
    # Replayed text comes on top, so that a step holds as many conversations with it as without.
    own_tokens = _step_of(rows) if batch_tokens is None else math.ceil(batch_tokens * (1 - share))
    if batch_tokens is None:
        batch_tokens = math.ceil(own_tokens / (1 - share))
    if lr is None and not find_lr:
        lr = _rate(base, folder, rows, lora)
    steps = None
    if epochs is None:
        steps = max(FEW_STEPS, PASSES * math.ceil(rows.tokens / own_tokens)) if rows.few else None
        epochs = None if rows.few else PASSES
    spared = SPARED if held_out is None and rows.count >= SPARE_FROM else 0.0
    looks = looks_of(rows, _held_out_rows(rows, spared, held_out, max_broken), own_tokens, steps, epochs)
    replayed = {"documents": text_of(replay_file)} if replay_file is not None else {}
    stage = Sft(
        parent="base",
        data={"chat": 1.0},
        train_on=train_on,
        max_refused=max_refused,
        too_long=too_long,
        replay=share,
        replay_data=dict.fromkeys(replayed, 1.0),
        max_forgetting=max_forgetting,
        lr=lr,
        find_lr=find_lr,
        epochs=epochs,
        steps=steps,
        seed=seed,
        batch_tokens=batch_tokens,
        held_out=spared,
        optimizer=base.optimizer if lora is None else OptimizerSettings(),
        schedule=ScheduleSettings(warmup=warmup),
        lora=None if lora is None else LoraSettings(rank=lora),
        evaluate_every=looks,
        keep="behaviour" if looks else "last",
    )
    suites: list[Suite] = ["format"]
    if base.data or replayed:
        suites.append("forgetting")
    elif max_forgetting is not None:
        raise SettingsError(
            f"--max-forgetting needs text that {folder} can write; name some of what it was trained on: --replay "
            "FILE=SHARE"
        )
    if talks(folder):
        suites.append("before")
    others = None if held_out is None else str(held_out.resolve())
    chat = ChatData(path=str(data.resolve()), held_out=others, max_broken=max_broken)
    recipe = Recipe(
        name=data.stem,
        data={**base.data, **replayed, "chat": chat},
        stages={"base": base.stage, "sft": stage},
        evaluate={"sft": suites},
        seed=seed,
    )
    check_recipe(recipe, "tutelage sft")
    return recipe


def _replayed(base: Base, folder: Path, replay: float | None, file: Path | None) -> float:
    """The share of the trained tokens that is replayed text."""
    share = (REPLAY if base.known else 0.0) if replay is None else replay
    if share and not base.known and file is None:
        raise SettingsError(
            f"--replay needs the text that {folder} was trained on, and that is not known; name another: --replay "
            "FILE=SHARE"
        )
    if share >= 1:
        raise SettingsError(f"--replay is {share}; it is a share of the trained tokens: at least 0, below 1")
    return share


def _rate(base: Base, folder: Path, rows: Rows, lora: int | None) -> float | None:
    """The peak rate, where it does not follow from the base's own."""
    times = 1 if lora is None else LORA_LR_TIMES
    if base.stage.lr is None:
        return default_rate(parameter_count(load_config(folder))) * times
    return float(f"{base.stage.lr * RATE_OF_FEW * times:.3g}") if rows.few else None


def _step_of(rows: Rows) -> int:
    """The tokens of the conversations of a step."""
    if not rows.few:
        return LARGEST_STEP
    return min(LARGEST_STEP, max(SMALLEST_STEP, rows.longest, math.ceil(rows.tokens / STEPS_OF_A_PASS)))


def _held_out_rows(rows: Rows, spared: float, file: Path | None, max_broken: float) -> int:
    """How many rows are held out; of a file, as far as it matters."""
    if file is None:
        return int(rows.count * spared)
    return sum(1 for _ in islice(read_conversations(file, Ledger("held out"), max_broken), LOOK_FROM))
