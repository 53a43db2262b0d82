"""docs/settings.md: every setting of a recipe with its default, its name in TRL and PEFT, and its meaning, read from
the classes themselves."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union

import msgspec

from tutelage.config import Settings, to_toml_value
from tutelage.model.lora import LoraSettings
from tutelage.model.settings import Experts, Latent
from tutelage.model.sizes import ModelSettings
from tutelage.recipe import Recipe, TokenizerRecipe
from tutelage.rl.reward_settings import (
    FormatReward,
    FunctionReward,
    JudgeReward,
    LengthReward,
    ModelReward,
    OverlongReward,
    RewardSettings,
    UtilityReward,
    VerifierReward,
)
from tutelage.stages.base import Stage
from tutelage.stages.best_of_n import BestOfN
from tutelage.stages.classify import Classify
from tutelage.stages.data_files import (
    BenchmarkData,
    ChatData,
    CorpusData,
    DocumentData,
    PreferenceData,
    ProbeText,
    Prompts,
    QuestionData,
    TextData,
)
from tutelage.stages.data_labelled import LabelledData
from tutelage.stages.data_world import (
    WorldAgents,
    WorldAgentTasks,
    WorldChat,
    WorldProbe,
    WorldPrompts,
    WorldReading,
    WorldText,
    WorldTools,
)
from tutelage.stages.dpo import Dpo
from tutelage.stages.fine_tune import FineTune
from tutelage.stages.grpo import Grpo
from tutelage.stages.knowledge_probe import KnowledgeProbe
from tutelage.stages.kto import Kto
from tutelage.stages.mlm import Mlm
from tutelage.stages.ppo import Ppo
from tutelage.stages.preferences import PreferenceStage
from tutelage.stages.pretrain import Pretrain
from tutelage.stages.pretrained_model import PretrainedModel
from tutelage.stages.reward import RewardModel
from tutelage.stages.rl import RolloutStage
from tutelage.stages.sft import Sft
from tutelage.stages.synth import Synth
from tutelage.stages.train_stage import TrainStage
from tutelage.train.layout import LayoutSettings
from tutelage.train.optimizers import OptimizerSettings
from tutelage.train.router import RouterSettings
from tutelage.train.schedule import ScheduleSettings

TITLE = """# Settings

Every setting of a recipe, made by `tutelage settings` from the classes that read them;
[a test](../tests/test_settings_page.py) checks that this page is current. `stages.chat.lr=1e-5` after
`tutelage run RECIPE`, `sft`, `dpo`, `kto`, `reward`, `grpo` or `ppo` sets one by its dotted name. The third
column is the name in TRL's configs, transformers' `TrainingArguments` or PEFT's `LoraConfig`; `–` where they have none.
"""

# What users of TRL, transformers and PEFT call a setting.
OTHER_NAMES: Mapping[str, str] = {
    "TrainStage.epochs": "num_train_epochs",
    "TrainStage.steps": "max_steps",
    "TrainStage.batch_rows": "per_device_train_batch_size × gradient_accumulation_steps × processes",
    "TrainStage.micro_tokens": "per_device_train_batch_size, in tokens",
    "TrainStage.precision": "bf16",
    "TrainStage.activation_checkpointing": "gradient_checkpointing",
    "TrainStage.compile": "torch_compile",
    "TrainStage.evaluate_every": "eval_strategy, eval_steps",
    "TrainStage.save_every": "save_steps",
    "TrainStage.keep_checkpoints": "save_total_limit",
    "TrainStage.seed": "data_seed",
    "TrainStage.optimizer": "optim",
    "TrainStage.schedule": "lr_scheduler_type",
    "Stage.lr": "learning_rate",
    "Stage.context": "max_length",
    "Stage.held_out": "eval_dataset (a split)",
    "FineTune.lora": "peft_config",
    "FineTune.template_settings": "chat_template_kwargs",
    "FineTune.keep": "load_best_model_at_end, metric_for_best_model",
    "Sft.train_on": "assistant_only_loss, completion_only_loss",
    "Sft.too_long": "max_length (truncates)",
    "Dpo.loss_type": "loss_type",
    "Dpo.beta": "beta",
    "Dpo.label_smoothing": "label_smoothing",
    "Dpo.gamma": "simpo_gamma",
    "Dpo.nll": "rpo_alpha",
    "Kto.beta": "beta",
    "Kto.desirable_weight": "desirable_weight",
    "Kto.undesirable_weight": "undesirable_weight",
    "RewardModel.centring": "center_rewards_coefficient",
    "RolloutStage.group_size": "num_generations",
    "RolloutStage.max_tokens": "max_completion_length",
    "RolloutStage.temperature": "temperature",
    "RolloutStage.minibatches": "steps_per_generation",
    "RolloutStage.inner_epochs": "num_iterations",
    "RolloutStage.mask_cut_off": "mask_truncated_completions",
    "RolloutStage.clip_low": "epsilon",
    "RolloutStage.clip_high": "epsilon_high",
    "RolloutStage.importance_cap": "vllm_importance_sampling_cap",
    "RolloutStage.kl": "beta",
    "RolloutStage.rewards": "reward_funcs, reward_weights",
    "Grpo.estimator": "scale_rewards",
    "Grpo.loss_type": "loss_type, importance_sampling_level",
    "Grpo.normalisation": "loss_type",
    "LoraSettings.rank": "r",
    "LoraSettings.alpha": "lora_alpha",
    "LoraSettings.dropout": "lora_dropout",
    "LoraSettings.targets": "target_modules",
    "LoraSettings.rank_stabilised": "use_rslora",
    "OptimizerSettings.kind": "optim",
    "OptimizerSettings.betas": "adam_beta1, adam_beta2",
    "OptimizerSettings.eps": "adam_epsilon",
    "OptimizerSettings.weight_decay": "weight_decay",
    "OptimizerSettings.clip": "max_grad_norm",
    "ScheduleSettings.kind": "lr_scheduler_type",
    "ScheduleSettings.warmup": "warmup_ratio",
    "ScheduleSettings.warmup_steps": "warmup_steps",
    "ScheduleSettings.decay": "lr_scheduler_kwargs: num_decay_steps, as a share",
    "ScheduleSettings.final": "lr_scheduler_kwargs: min_lr_ratio",
    "ChatData.path": "--dataset_name",
    "Experts.count": "num_local_experts",
    "Experts.used": "num_experts_per_tok",
    "Experts.width": "moe_intermediate_size",
    "Experts.shared": "n_shared_experts",
    "Experts.normalised": "norm_topk_prob",
    "Experts.scaling": "routed_scaling_factor",
    "Experts.groups": "n_group",
    "Experts.used_groups": "topk_group",
    "Latent.rank": "kv_lora_rank",
    "Latent.query_rank": "q_lora_rank",
    "Latent.plain": "qk_nope_head_dim",
    "Latent.rotated": "qk_rope_head_dim",
    "Latent.value": "v_head_dim",
    "RouterSettings.balance": "router_aux_loss_coef",
    "PretrainedModel.path": "--model_name_or_path",
    "Recipe.seed": "seed",
}

# Title, class, and the class whose fields a section before it has shown.
SECTIONS: tuple[tuple[str, type[Settings], type[Settings] | None], ...] = (
    ("The recipe", Recipe, None),
    ("`[model]`: a model trained from scratch", ModelSettings, None),
    ("`[model.experts]`: a mixture of experts", Experts, None),
    ("`[model.latent]`: multi-head latent attention", Latent, None),
    ("`[tokenizer]`", TokenizerRecipe, None),
    ("`[stages.NAME]`: all kinds", Stage, None),
    ("Stages that train", TrainStage, Stage),
    ("Stages that fine-tune", FineTune, TrainStage),
    ('`kind = "model"`: an existing checkpoint', PretrainedModel, Stage),
    ('`kind = "pretrain"`', Pretrain, TrainStage),
    ('`kind = "mlm"`', Mlm, TrainStage),
    ('`kind = "classify"`', Classify, TrainStage),
    ('`kind = "sft"`', Sft, FineTune),
    ("Stages that learn from preferences", PreferenceStage, FineTune),
    ('`kind = "dpo"`', Dpo, PreferenceStage),
    ('`kind = "kto"`', Kto, PreferenceStage),
    ('`kind = "reward"`', RewardModel, PreferenceStage),
    ("Stages that sample and learn from rewards", RolloutStage, FineTune),
    ('`kind = "grpo"`', Grpo, RolloutStage),
    ('`kind = "ppo"`', Ppo, RolloutStage),
    ('`kind = "best_of_n"`', BestOfN, Stage),
    ('`kind = "knowledge_probe"`', KnowledgeProbe, Stage),
    ('`kind = "synth"`', Synth, Stage),
    ("`rewards.NAME`: all kinds", RewardSettings, None),
    ('`kind = "verifier"`', VerifierReward, RewardSettings),
    ('`kind = "model"`, a reward model', ModelReward, RewardSettings),
    ('`kind = "judge"`', JudgeReward, RewardSettings),
    ('`kind = "utility"`', UtilityReward, RewardSettings),
    ('`kind = "format"`', FormatReward, RewardSettings),
    ('`kind = "length"`', LengthReward, RewardSettings),
    ('`kind = "overlong"`', OverlongReward, RewardSettings),
    ('`kind = "function"`', FunctionReward, RewardSettings),
    ("`lora`", LoraSettings, None),
    ("`layout`", LayoutSettings, None),
    ("`optimizer`", OptimizerSettings, None),
    ("`schedule`", ScheduleSettings, None),
    ("`router`: mixtures of experts", RouterSettings, None),
    ('`[data.NAME]`: `kind = "chat"`', ChatData, None),
    ('`kind = "preferences"`', PreferenceData, None),
    ('`kind = "labelled"`', LabelledData, None),
    ('`kind = "questions"`', QuestionData, None),
    ('`kind = "benchmarks"`', BenchmarkData, None),
    ('`kind = "prompts"`', Prompts, None),
    ('`kind = "text"`', TextData, None),
    ('`kind = "documents"`', DocumentData, None),
    ('`kind = "corpus"`', CorpusData, None),
    ('`kind = "probe"`', ProbeText, None),
    ('`kind = "world"`', WorldText, None),
    ('`kind = "world-chat"`', WorldChat, None),
    ('`kind = "world-prompts"`', WorldPrompts, None),
    ('`kind = "world-probe"`', WorldProbe, None),
    ('`kind = "world-reading"`', WorldReading, None),
    ('`kind = "world-tools"`', WorldTools, None),
    ('`kind = "world-agents"`', WorldAgents, None),
    ('`kind = "world-agent-tasks"`', WorldAgentTasks, None),
)


def settings_page() -> str:
    """The page, in Markdown."""
    return "\n".join([TITLE, *(part for section in SECTIONS for part in _section(*section))])


def _section(title: str, kind: type[Settings], shown: type[Settings] | None) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{_summary(kind)}\n"
    rows = list(setting_rows(kind, shown))
    if rows:
        yield "| setting | default | TRL, PEFT | meaning |\n|---|---|---|---|"
        yield "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows) + "\n"


def setting_rows(kind: type[Settings], shown: type[Settings] | None) -> Iterator[tuple[str, str, str, str]]:
    """Name, default, the name elsewhere and the meaning of each setting that a class adds, or has another meaning or
    default for."""
    before = {} if shown is None else {field.name: field.default for field in msgspec.structs.fields(shown)}
    own = _meanings(kind)
    for field in msgspec.structs.fields(kind):
        if field.name in before and field.name not in own and field.default == before[field.name]:
            continue
        owner = next(c for c in kind.__mro__ if field.name in getattr(c, "__annotations__", {}))
        meaning = next((m[field.name] for c in kind.__mro__ if field.name in (m := _meanings(c))), "")
        meaning = meaning or ("random seed." if field.name == "seed" else "")
        other = next((OTHER_NAMES[n] for c in (kind, owner) if (n := f"{c.__name__}.{field.name}") in OTHER_NAMES), "–")
        choices = _choices(field.type)
        yield f"`{field.encode_name}`", _default(field), other, f"{meaning}{choices}"


def _summary(kind: type[Settings]) -> str:
    """The first paragraph of a class's docstring."""
    text = (kind.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


def _meanings(kind: type) -> dict[str, str]:
    """What the docstring of a class says of each setting: lines "name: text" or "name, other: text"."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in (kind.__dict__.get("__doc__") or "").splitlines()[1:]:
        match = re.match(r"    (\w+(?:, \w+)*): +(\S.*)", line)
        if match:
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif names and line.startswith("     ") and line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = []
    return found


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    elif field.default is msgspec.NODEFAULT:
        return "required"
    else:
        default = field.default
    if isinstance(default, Settings):
        return "see below"
    return "–" if default is None else f"`{to_toml_value(msgspec.to_builtins(default))}`"


def _choices(kind: Any) -> str:
    """The words that a setting can be, where they are a fixed set."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)
    words = [word for option in options if typing.get_origin(option) is Literal for word in typing.get_args(option)]
    return f" One of {', '.join(f'`{word}`' for word in words)}." if len(words) > 1 else ""
