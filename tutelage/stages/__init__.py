"""What a recipe can train: one file a kind. To add a kind, write its file and name it in AnyStage."""

from __future__ import annotations

from tutelage.stages.best_of_n import BestOfN
from tutelage.stages.classify import Classify
from tutelage.stages.dpo import Dpo
from tutelage.stages.grpo import Grpo
from tutelage.stages.knowledge_probe import KnowledgeProbe
from tutelage.stages.kto import Kto
from tutelage.stages.mlm import Mlm
from tutelage.stages.ppo import Ppo
from tutelage.stages.pretrain import Pretrain
from tutelage.stages.pretrained_model import PretrainedModel
from tutelage.stages.reward import RewardModel
from tutelage.stages.sft import Sft
from tutelage.stages.synth import Synth

AnyStage = (
    Pretrain
    | Mlm
    | Sft
    | Classify
    | RewardModel
    | Dpo
    | Kto
    | Grpo
    | Ppo
    | BestOfN
    | KnowledgeProbe
    | Synth
    | PretrainedModel
)
