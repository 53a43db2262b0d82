"""`tutelage sft`, `dpo`, `kto` and `reward`: a recipe template for one fine-tuning stage, with safe defaults that
follow from model and data.

Whatever the overrides set stays; everything else is worked out here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from tutelage.batching.preferences import answers
from tutelage.chat import chat_tokenizer, make_renderer, read_conversations
from tutelage.chat.formats import read_preferences
from tutelage.chat.render.make import with_chat_settings
from tutelage.config import SettingsError, apply_overrides, convert, suggest, to_plain
from tutelage.files import read_json
from tutelage.find_model import Base, find_base, find_model
from tutelage.io.data_files import COMPRESSED, SUFFIXES, held_out_path
from tutelage.ledger import Ledger
from tutelage.model.carried import checkpoint_dtype
from tutelage.model.hub import CONFIG, load_chat_files, load_config
from tutelage.model.sizes import parameter_count
from tutelage.process import faster_precision
from tutelage.recipe import Recipe, check_recipe
from tutelage.records import AnyPreference, Conversation, Split
from tutelage.stages.data import DataSettings
from tutelage.stages.data_files import DocumentData, QuestionData, TextData
from tutelage.stages.fine_tune import EPOCHS, LORA_LR_FACTOR, own_step_tokens
from tutelage.stages.preferences import PREFERENCE_LR_SHARE
from tutelage.stages.pretrained_model import has_turns
from tutelage.stages.train_stage import trained_stages
from tutelage.train.lr_range_test import default_lr
from tutelage.train.optimizers import OptimizerSettings

# The kind of stage and its name: stages.sft.lr=1e-4.
Kind = Literal["sft", "dpo", "kto", "reward", "grpo", "ppo"]
SAMPLES: tuple[Kind, ...] = ("grpo", "ppo")  # their recipes are made by `rl_recipe`
OF_HELD_OUT_ROWS = ("preferences", "held_out_rows")  # evaluations that need held-out rows
# A file of fewer rows is read for more than three epochs, until this many steps are done; but not by a published model
# that can chat already.
FEW_ROWS, FEW_STEPS = 1000, 100
# From how many rows on a share is held out. Of fewer than MANY_ROWS it is larger, so that a handful of rows tell
# whether the stage learned anything; of fewer than SOME_ROWS every row is needed.
SOME_ROWS, HELD_OUT_OF_SOME = 20, 0.2
MANY_ROWS, HELD_OUT = 100, 0.05
# Fewer held-out rows are too few to select a checkpoint by; and at most so many evaluations during training: one takes
# as long as several steps.
EVAL_FROM, EVALS = 10, 5
# Of the base's rate, for few rows, which are read often: there it learns most and forgets least (the lab's finding 2).
FEW_ROWS_LR_SHARE = 0.1
HELD_OUT_PAIRS = 0.1  # pairs are fewer than conversations, and an accuracy needs many
LARGE = 20_000_000  # parameters from which on matrix products take most of a step, so that their dtype matters
REPLAY = 0.5  # of the model's training text, where that is known


@dataclass(frozen=True)
class DataSize:
    """The size of a file of conversations or preferences: exact where it has `few` rows, else of its first."""

    few: bool
    count: int
    tokens: int
    longest: int


def sft_recipe(
    model: str | Path,
    data: Path | Mapping[Path, float],
    *,
    held_out: Path | None = None,
    replay_file: Path | None = None,
    eval_file: Path | None = None,
    overrides: Sequence[str] = (),
    kind: Kind = "sft",
) -> Recipe:
    """The recipe of one fine-tuning stage.

    data:        a file of rows, or several with their shares of the trained tokens.
    held_out:    a file of other conversations to measure on; where it is None, the validation split of a folder, or a
                 share of the rows.
    replay_file: text to replay, in place of what the model was trained on.
    eval_file:   questions with answers, to score the model on (see evaluate.questions).
    overrides:   dotted.key=value, such as stages.sft.epochs=2; "stages.sft.replay" is a share of the trained tokens,
                 and "stages.sft.batch_tokens" are those of a step with everything that is replayed in it.
    kind:        the kind of stage; all but "sft" learn from preferences.

    Raises:
        SettingsError: a setting is wrong.
        ValueError: the model or the data cannot be read.
    """
    folder = find_model(model)
    base = find_base(folder)
    files = data if isinstance(data, Mapping) else {data: 1.0}
    table = apply_overrides(_template(kind, base, files, held_out, replay_file, eval_file), overrides)
    stage = table["stages"][kind]
    check_settings(table, kind)
    size = measure(folder, table, kind)
    split = any(held_out_path(path, held_out) is not None for path in files)
    stage.setdefault("held_out", 0.0 if split else _held_out_share(kind, size.count))
    held_out_rows = _held_out_rows(size, table, kind)
    for name, value in _defaults(stage, base, folder, size, held_out_rows, replay_file).items():
        given = stage.setdefault(name, value)
        if isinstance(value, dict) and isinstance(given, dict) and name != "replay_data":
            stage[name] = {**value, **given}
    table.setdefault("seed", stage.get("seed", 0))
    if kind not in table["evaluate"]:
        table["evaluate"][kind] = _suites(convert(table, Recipe, f"tutelage {kind}"), kind, folder, held_out_rows)
    recipe = convert(table, Recipe, f"tutelage {kind}")
    check_recipe(recipe, f"tutelage {kind}")
    return recipe


def data_names(kind: Kind, count: int = 1) -> list[str]:
    """The names of the stage's data in the recipe."""
    first = "chat" if kind == "sft" else "prompts" if kind in SAMPLES else "pairs"
    return [first, *(f"{first}{number}" for number in range(2, count + 1))]


def _held_out_share(kind: Kind, rows: int) -> float:
    if kind != "sft":
        return HELD_OUT_PAIRS if rows >= MANY_ROWS else 0.0
    return HELD_OUT if rows >= MANY_ROWS else HELD_OUT_OF_SOME if rows >= SOME_ROWS else 0.0


def _template(
    kind: Kind,
    base: Base,
    files: Mapping[Path, float],
    held_out: Path | None,
    replay_file: Path | None,
    eval_file: Path | None,
) -> dict[str, Any]:
    """The recipe as a table, without what follows from the size of the data."""
    names, first = data_names(kind, len(files)), next(iter(files))
    row_kind = "chat" if kind == "sft" else "preferences"
    own: dict[str, dict[str, Any]] = {
        name: {"kind": row_kind, "path": str(path.resolve())} for name, path in zip(names, files, strict=True)
    }
    if held_out is not None:
        own[names[0]]["held_out"] = str(held_out.resolve())
    others: dict[str, DataSettings] = {} if replay_file is None else {"documents": text_data(replay_file)}
    if eval_file is not None:
        others["questions"] = QuestionData(path=str(eval_file.resolve()))
    texts = {name: to_plain(settings) for name, settings in {**base.data, **others}.items()}
    shares = dict(zip(names, files.values(), strict=True))
    return {
        "name": first.stem,
        "data": {**texts, **own},
        "stages": {"base": to_plain(base.stage), kind: {"kind": kind, "from": "base", "data": shares}},
        "evaluate": {},
    }


def check_settings(table: Mapping[str, Any], kind: Kind) -> None:
    """SettingsError where an override is mistaken, before the defaults are worked out from it."""
    stages = table["stages"]
    unknown = [name for name in stages if name not in ("base", kind) and "kind" not in stages[name]]
    if unknown:
        raise SettingsError(f"tutelage {kind}: there is no stage '{unknown[0]}'{suggest(unknown[0], ('base', kind))}")
    stage = dict(stages[kind])
    if stage.get("epochs") is None:
        stage.setdefault("steps", 1)
    # Their defaults are not known yet, and what is set may fit no other.
    for name in ("replay", "replay_data", "replay_weight", "optimizer"):
        stage.pop(name, None)
    if stage.get("lora") is not None:
        stage["optimizer"] = {"kind": "adamw"}
    convert({**table, "stages": {**stages, kind: stage}}, Recipe, f"tutelage {kind}")


def _defaults(
    stage: Mapping[str, Any], base: Base, folder: Path, size: DataSize, held_out_rows: int, replay_file: Path | None
) -> dict[str, Any]:
    """Every setting of the stage that follows from the model and the data, given those that are set."""
    replay = _replay_share(stage, base, folder, replay_file)
    own_tokens = own_step_tokens(size.tokens, size.longest, replay > 0 or stage["kind"] != "sft")
    found: dict[str, Any] = {"replay": replay}
    if stage.get("batch_rows") is not None:
        own_tokens = math.ceil(stage["batch_rows"] * size.tokens / size.count)
    elif (batch_tokens := stage.get("batch_tokens")) is not None:
        own_tokens = math.ceil(batch_tokens * (1 - replay))
    elif size.few:  # of more rows the tokens are not known yet, and the stage works it out
        found["batch_tokens"] = math.ceil(own_tokens / (1 - replay))
    if replay_file is not None:
        found["replay_data"] = {"documents": 1.0}
    lora = stage.get("lora")
    if not stage.get("find_lr"):
        found["lr"] = _lr(stage["kind"], base, folder, size, lora is not None)
    if stage.get("epochs") is None and stage.get("steps") is None:
        found |= _length(stage["kind"], size, own_tokens, learned=not base.known and has_turns(folder))
    steps, epochs = (stage.get(name, found.get(name)) for name in ("steps", "epochs"))
    found["evaluate_every"] = evals_during_training(size, held_out_rows, own_tokens, steps, epochs)
    found["eval_minutes"] = "auto"
    if parameter_count(load_config(folder)) >= LARGE:
        found["precision"] = faster_precision()
        if lora is not None and "bfloat16" == found["precision"] == dtype_name(folder):
            found["lora"] = {"base_dtype": "bfloat16"}  # the frozen weights as they are on disk
    evaluated = stage["kind"] == "sft" and stage.get("evaluate_every", found["evaluate_every"])
    found["keep"] = "best_eval" if evaluated else "last"
    found["optimizer"] = to_plain(base.optimizer if lora is None else OptimizerSettings())
    return found


def dtype_name(folder: Path) -> str:
    """The dtype that the checkpoint in a folder says it has."""
    return str(checkpoint_dtype(read_json(folder / CONFIG))).removeprefix("torch.")


def _length(kind: Kind, size: DataSize, own_tokens: int, learned: bool) -> dict[str, int]:
    """How long a stage trains: preferences that are read often are memorised.

    learned: whether the model knows the chat format already: then a dozen epochs of few rows make it forget the rest.
    """
    if kind == "sft":
        steps = max(FEW_STEPS, EPOCHS * math.ceil(size.tokens / own_tokens))
        return {"steps": steps} if size.few and not learned else {"epochs": EPOCHS}
    return {"epochs": EPOCHS if size.few and kind != "reward" else 1}


def _suites(recipe: Recipe, kind: Kind, folder: Path, held_out_rows: int) -> list[str]:
    """The stage's own evaluations, as far as there is something to evaluate on."""
    stage = trained_stages(recipe.stages)[kind]
    suites = [suite for suite in stage.default_suites(recipe) if held_out_rows or suite not in OF_HELD_OUT_ROWS]
    if stage.forgetting_limit() is None or "forgetting" in suites:
        return suites
    if "text" in stage.holds(recipe):
        return [*suites, "forgetting"]
    raise SettingsError(
        f"--max-forgetting needs text that the tokenizer of {folder} can encode; name some of what the model was "
        "trained on: --replay FILE=SHARE"
    )


def measure(folder: Path, table: Mapping[str, Any], kind: Kind) -> DataSize:
    """Render the first rows with the model's tokenizer and template.

    Raises:
        ValueError: a row cannot be trained on, and the settings allow none of these.
    """
    stage = table["stages"][kind]
    tokenizer, config = load_chat_files(folder)
    config = with_chat_settings(config, stage.get("template_settings", {}), stage.get("system") == "fold")
    renderer = make_renderer(chat_tokenizer(tokenizer, config), config)
    files = [table["data"][name] for name in stage["data"]]
    read = chain.from_iterable(_rows(Path(data["path"]), data, kind, "train") for data in files)
    rows = list(islice(read, FEW_ROWS))
    conversations = [side for row in rows for side in _sides(row)]
    made = renderer.render_rows(conversations, stage.get("train_on", "assistant"))
    refused = [row for row in made if isinstance(row, ValueError)]
    if refused and (not stage.get("max_refused") or len(refused) == len(made)):
        raise refused[0]
    lengths = [len(rendered.ids) for row in made if not isinstance(row, ValueError) for rendered in row]
    sides = max((len(_sides(row)) for row in rows), default=1)  # all answers to a prompt are in one micro-batch
    longest = max(lengths) * sides
    return DataSize(len(rows) < FEW_ROWS, len(rows), sum(lengths), longest)


def _rows(path: Path, data: Mapping[str, Any], kind: Kind, split: Split) -> Iterator[Conversation | AnyPreference]:
    options = Ledger("rows"), data.get("max_broken", 0.0), data.get("format"), split
    return read_conversations(path, *options) if kind == "sft" else read_preferences(path, *options)


def _sides(row: Conversation | AnyPreference) -> Sequence[Conversation]:
    return [row] if isinstance(row, Conversation) else answers(row)


def evals_during_training(
    size: DataSize, held_out_rows: int, batch_tokens: int, steps: int | None, epochs: int | None
) -> int | Literal["epoch"]:
    """The stage's evaluate_every: the end of every epoch, but of many epochs EVALS times in all; never where too few
    rows are held out to select a checkpoint by."""
    if held_out_rows < EVAL_FROM:
        return 0
    steps_per_epoch = math.ceil(size.tokens / batch_tokens)
    count = epochs if epochs is not None else (steps or 0) / steps_per_epoch
    if count <= EVALS or not size.few:
        return "epoch"
    return math.ceil(count * steps_per_epoch / EVALS)


def parse_data(option: str) -> tuple[Path, float]:
    """The file and its share of `--data FILE` or `--data FILE=SHARE`; SettingsError for a share that is not above 0."""
    file, equals, number = option.rpartition("=")
    try:
        share = float(number) if equals else 1.0
    except ValueError:
        return Path(option), 1.0  # a name with "=" in it
    if not equals:
        return Path(option), 1.0
    if not (file and 0 < share < math.inf):
        raise SettingsError(f"--data is '{option}'; give a file and a share above 0, such as chats.jsonl=2")
    return Path(file), share


def parse_replay(option: str) -> tuple[Path | None, float]:
    """The file and the share of `--replay SHARE` or `--replay FILE=SHARE`; SettingsError where it is neither."""
    file, _, number = option.rpartition("=")
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise SettingsError(
            f"--replay is '{option}'; give the share of the trained tokens that is replayed text, at least 0 and below "
            "1, or a file of text and the share, as in docs.parquet=0.05"
        )
    if file and not share:
        raise SettingsError(f"--replay names {file} but replays nothing of it; give a share above 0")
    return (Path(file) if file else None), share


def text_data(path: Path) -> DataSettings:
    """A file to replay text from: rows with a column "text", as its name tells, else plain text."""
    stem = path.with_suffix("") if path.suffix in COMPRESSED else path
    whole = str(path.resolve())
    return DocumentData(path=whole) if path.is_dir() or stem.suffix in SUFFIXES else TextData(path=whole)


def _replay_share(stage: Mapping[str, Any], base: Base, folder: Path, replay_file: Path | None) -> float:
    """The share of the trained tokens that is replayed text."""
    share = stage.get("replay", REPLAY if base.known and stage["kind"] == "sft" else 0.0)
    if not isinstance(share, int | float) or not 0 <= share < 1:
        raise SettingsError(f"--replay is {share}; it is a share of the trained tokens: at least 0, below 1")
    if share and not base.known and replay_file is None:
        raise SettingsError(
            f"--replay needs the text that {folder} was trained on, and that is not known; name another: --replay "
            "FILE=SHARE"
        )
    return float(share)


def _lr(kind: Kind, base: Base, folder: Path, size: DataSize, lora: bool) -> float | None:
    """The peak learning rate, where it does not follow from the base's own."""
    factor = LORA_LR_FACTOR if lora else 1
    if base.stage.lr is None:
        share = 1 if kind == "sft" else PREFERENCE_LR_SHARE
        return float(f"{default_lr(parameter_count(load_config(folder))) * factor * share:.6g}")
    if kind != "sft":
        return None
    return float(f"{base.stage.lr * FEW_ROWS_LR_SHARE * factor:.3g}") if size.few else None


def _held_out_rows(size: DataSize, table: Mapping[str, Any], kind: Kind) -> int:
    """How many rows are held out; of a file, as far as it matters."""
    stage, found = table["stages"][kind], 0
    files = [table["data"][name] for name in stage["data"]]
    parts = [
        held_out_path(Path(data["path"]), Path(data["held_out"]) if data.get("held_out") else None) for data in files
    ]
    if not any(parts):
        return int(size.count * stage["held_out"])
    for data, others in zip(files, parts, strict=True):
        if others is not None:
            path, split = others
            found += sum(1 for _ in islice(_rows(path, data, kind, split), EVAL_FROM))
    return found
