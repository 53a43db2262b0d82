"""Settings of parts of a model: RoPE scaling, mixtures of experts."""

from __future__ import annotations

from typing import Literal

from tutelage.config import Settings

Activation = Literal["swiglu", "swiglu_clamped", "geglu_tanh", "gelu", "gelu_tanh", "relu2"]


class Experts(Settings, frozen=True, kw_only=True):
    """A mixture of experts in place of the MLP (see `moe`).

    count:           routed experts.
    used:            of which each token uses so many.
    width:           hidden size of an expert.
    shared:          experts that every token uses; together they are one MLP (DeepSeekMoE, arXiv 2401.06066).
    scores:          what the router's logits become: softmax over all experts, or a sigmoid of each.
    normalised:      the weights of a token's experts are divided by their sum. Mixtral and Qwen3 say yes, OLMoE no.
    scaling:         and multiplied by this.
    groups:          experts form so many groups of equal size.
    used_groups:     a token uses experts of so many groups.
    group_score:     of a group: its best expert's, or the sum of its best two.
    selection_bias:  choose by score plus a bias, which balances the experts without a loss (see `train.router`).
    bias:            biases in the router and the experts.
    dense_layers:    layers with a plain MLP.
    """

    count: int
    used: int
    width: int
    shared: int = 0
    scores: Literal["softmax", "sigmoid"] = "softmax"
    normalised: bool = True
    scaling: float = 1.0
    groups: int = 1
    used_groups: int = 1
    group_score: Literal["best", "best_two"] = "best_two"
    selection_bias: bool = False
    bias: bool = False
    dense_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("count", "used", "width", "groups", "used_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"experts.{name} is {getattr(self, name)}; it must be at least 1")
        if self.shared < 0:
            raise ValueError(f"experts.shared is {self.shared}; it must not be negative")
        if self.count % self.groups or self.used_groups > self.groups:
            raise ValueError(
                f"{self.count} experts cannot form {self.groups} equal groups of which {self.used_groups} are used; "
                "choose experts.groups that divides experts.count, and experts.used_groups of at most experts.groups"
            )
        usable = self.count // self.groups * self.used_groups
        if self.used > usable:
            raise ValueError(f"experts.used is {self.used}, but a token can choose from {usable} experts only")


class Latent(Settings, frozen=True, kw_only=True):
    """Multi-head latent attention in place of keys and values by head (see `latent`).

    rank:       size of the latent, from which keys and values are computed; the cache holds it.
    query_rank: size of the compressed queries; not compressed where left out.
    plain:      size of a head's queries and keys without positions.
    rotated:    and with rotary positions, which all heads' keys share.
    value:      size of a head's values.
    """

    rank: int
    query_rank: int | None = None
    plain: int
    rotated: int
    value: int

    def __post_init__(self) -> None:
        if min(self.rank, self.query_rank or 1, self.plain, self.value) < 1 or self.rotated < 2 or self.rotated % 2:
            raise ValueError("latent: every size must be at least 1, and rotated even")
        if self.value > self.plain + self.rotated:
            raise ValueError(
                f"latent.value is {self.value}, more than plain + rotated = {self.plain + self.rotated}; lower it"
            )


class LinearScaling(Settings, frozen=True, kw_only=True, tag="linear", tag_field="kind"):
    """Positions are divided by `factor` (Chen et al. 2023, arXiv 2306.15595)."""

    factor: float


class Llama3Scaling(Settings, frozen=True, kw_only=True, tag="llama3", tag_field="kind"):
    """Llama 3.1. Pairs that turn fewer than `low_frequency_factor` times in `original_context` tokens are slowed by
    `factor`, those that turn more than `high_frequency_factor` times are unchanged, those between are interpolated."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_context: int


class YarnScaling(Settings, frozen=True, kw_only=True, tag="yarn", tag_field="kind"):
    """YaRN (Peng et al. 2023, arXiv 2309.00071): as Llama 3.1, interpolated between `beta_slow` and `beta_fast` turns;
    rotated vectors are multiplied by `magnitude`. `truncate` rounds both ends to whole dimensions."""

    factor: float
    original_context: int
    magnitude: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


class LongScaling(Settings, frozen=True, kw_only=True, tag="longrope", tag_field="kind"):
    """LongRoPE (Ding et al. 2024, arXiv 2402.13753) within the original context: each frequency has its own divisor;
    rotated vectors are multiplied by `magnitude`."""

    divisors: tuple[float, ...]
    magnitude: float


RopeScaling = LinearScaling | Llama3Scaling | YarnScaling | LongScaling
