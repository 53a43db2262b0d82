"""`tutelage grpo`, `ppo` and `best-of-n`: a recipe template for one stage that samples, with defaults that follow from
model and data. Whatever the overrides set stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.chat.formats import read_tasks
from tutelage.config import SettingsError, apply_overrides, convert, to_plain
from tutelage.find_model import find_base, find_model
from tutelage.io.data_files import held_out_path
from tutelage.ledger import Ledger
from tutelage.model.hub import load_config
from tutelage.model.sizes import parameter_count
from tutelage.recipe import Recipe, check_recipe
from tutelage.sft_recipe import LARGE, MANY_ROWS, Kind, check_settings, data_names, dtype_name, text_data
from tutelage.stages.data import DataSettings
from tutelage.stages.data_files import QuestionData
from tutelage.stages.fine_tune import LORA_LR_FACTOR
from tutelage.stages.preferences import PREFERENCE_LR_SHARE
from tutelage.stages.pretrained_model import has_turns
from tutelage.train.lr_range_test import default_lr
from tutelage.train.optimizers import OptimizerSettings

NO_REWARD = "say what is rewarded: --reward numeric (a verifier), or --reward-model DIR"
STEPS, EVALS = 100, 5
HELD_OUT = 0.1
# Prompts of one epoch, from which on they are read once; fewer are drawn again until STEPS are done.
MANY = 16 * STEPS
MAX_TOKENS = 256
COUNTED = 2000  # rows that are read to know how many there are


def rl_recipe(
    model: str | Path,
    data: Path | Mapping[Path, float],
    *,
    held_out: Path | None = None,
    replay_file: Path | None = None,
    eval_file: Path | None = None,
    overrides: Sequence[str] = (),
    kind: Kind = "grpo",
) -> Recipe:
    """The recipe of one stage that samples. Arguments as those of `sft_recipe`.

    Raises:
        SettingsError: a setting is wrong.
        ValueError: the model or the data cannot be read.
    """
    folder = find_model(model)
    base = find_base(folder)
    if not has_turns(folder):
        raise SettingsError(f"{folder} does not answer in turns yet; fine-tune it first: tutelage sft --model {folder}")
    files = data if isinstance(data, Mapping) else {data: 1.0}
    names = data_names(kind, len(files))
    own: dict[str, dict[str, Any]] = {
        name: {"kind": "prompts", "path": str(path.resolve())} for name, path in zip(names, files, strict=True)
    }
    own[names[0]] |= {} if held_out is None else {"held_out": str(held_out.resolve())}
    others: dict[str, DataSettings] = {} if replay_file is None else {"documents": text_data(replay_file)}
    if eval_file is not None:
        others["questions"] = QuestionData(path=str(eval_file.resolve()))
    shares = dict(zip(names, files.values(), strict=True))
    table: dict[str, Any] = {
        "name": next(iter(files)).stem,
        "data": {**{n: to_plain(one) for n, one in {**base.data, **others}.items()}, **own},
        "stages": {"base": to_plain(base.stage), kind: {"kind": kind, "from": "base", "data": shares}},
        "evaluate": {},
    }
    table = apply_overrides(table, overrides)
    stage = table["stages"][kind]
    if "rewards" not in stage:
        raise SettingsError(NO_REWARD)
    check_settings(table, kind)
    if stage.get("replay") and not base.known and replay_file is None:
        raise SettingsError(f"--replay needs text that {folder} was trained on; name it: --replay FILE=SHARE")
    rows = sum(_count(table["data"][name]) for name in names)
    has_own = any(held_out_path(path, held_out) is not None for path in files)
    stage.setdefault("held_out", HELD_OUT if not has_own and rows >= MANY_ROWS else 0.0)
    if replay_file is not None:
        stage.setdefault("replay_data", {"documents": 1.0})
    if stage.get("epochs") is None and stage.get("steps") is None:
        stage |= {"epochs": 1} if rows >= MANY else {"steps": STEPS}
    stage.setdefault("max_tokens", min(MAX_TOKENS, load_config(folder).context // 2))
    stage.setdefault("evaluate_every", max(1, (stage.get("steps") or STEPS) // EVALS))
    stage.setdefault("eval_minutes", "auto")
    lora = stage.get("lora")
    stage.setdefault("optimizer", to_plain(base.optimizer if lora is None else OptimizerSettings()))
    if base.stage.lr is None:
        factor = PREFERENCE_LR_SHARE * (LORA_LR_FACTOR if lora is not None else 1)
        stage.setdefault("lr", float(f"{default_lr(parameter_count(load_config(folder))) * factor:.6g}"))
    large = parameter_count(load_config(folder)) >= LARGE
    if large and lora is not None and stage.get("precision") == "bfloat16" == dtype_name(folder):
        lora.setdefault("base_dtype", "bfloat16")
    suites = ["tasks"] if stage["held_out"] or has_own else []
    suites += ["questions"] if eval_file is not None else []
    suites += ["forgetting"] if (base.data and base.stage.held_out) or replay_file is not None else []
    table["evaluate"].setdefault(kind, suites)
    table.setdefault("seed", stage.get("seed", 0))
    recipe = convert(table, Recipe, f"tutelage {kind}")
    check_recipe(recipe, f"tutelage {kind}")
    return recipe


def best_of_n_recipe(model: str | Path, data: Path, overrides: Sequence[str]) -> Recipe:
    """The recipe of one stage that writes the best of several sampled answers.

    Raises:
        SettingsError: a setting is wrong.
        ValueError: the model cannot be read.
    """
    folder = find_model(model)
    context = load_config(folder).context
    stage = {"kind": "best_of_n", "from": "base", "data": {"prompts": 1.0}, "held_out": 0.0}
    table: dict[str, Any] = {
        "name": data.stem,
        "data": {"prompts": {"kind": "prompts", "path": str(data.resolve())}},
        "stages": {
            "base": {"kind": "model", "path": str(folder)},
            "best_of_n": {**stage, "max_tokens": min(MAX_TOKENS, context // 2)},
        },
    }
    table = apply_overrides(table, overrides)
    if "rewards" not in table["stages"]["best_of_n"]:
        raise SettingsError(NO_REWARD)
    recipe = convert(table, Recipe, "tutelage best-of-n")
    check_recipe(recipe, "tutelage best-of-n")
    return recipe


def _count(data: dict[str, Any]) -> int:
    rows = read_tasks(Path(data["path"]), Ledger("rows"), data.get("max_broken", 0.0), data.get("gold_after"))
    return sum(1 for _ in islice(rows, COUNTED))
