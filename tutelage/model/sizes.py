"""The shape of a transformer: one dial, depth, from which the rest follows, and what that shape costs."""

from __future__ import annotations

from typing import Literal

from tutelage.config import Settings


class ModelSettings(Settings, frozen=True, kw_only=True):
    """What a recipe says of a model. Anything left at None follows from `depth`.

    depth:       number of blocks.
    context:     the most tokens one segment may have.
    width:       size of the residual stream; 64 a block.
    heads:       query heads; of size 64, or 32 in models narrower than 512.
    kv_heads:    key and value heads, shared by groups of query heads; as many as `heads`.
    mlp_width:   hidden size of the MLP; 4 x width, or 8/3 x width (rounded up to 32) for the three matrices of swiglu.
    position:    rotary angles (Su et al. 2021, arXiv 2104.09864) or a learned vector a position.
    norm:        RMSNorm (Zhang & Sennrich 2019) or LayerNorm.
    mlp:         swiglu (Shazeer 2020), gelu or squared ReLU.
    bias:        add biases to the linear maps and to LayerNorm.
    qk_norm:     normalise queries and keys per head (RMS).
    tied:        the output head is the embedding.
    """

    depth: int = 4
    context: int = 512
    width: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    mlp_width: int | None = None
    position: Literal["rotary", "learned"] = "rotary"
    rope_theta: float = 10_000.0
    norm: Literal["rms", "layer"] = "rms"
    norm_eps: float = 1e-5
    mlp: Literal["swiglu", "gelu", "relu2"] = "swiglu"
    bias: bool = False
    qk_norm: bool = False
    tied: bool = True


class LinearScaling(Settings, frozen=True, kw_only=True, tag="linear", tag_field="kind"):
    """Positions divided by `factor` (Chen et al. 2023, arXiv 2306.15595)."""

    factor: float


class Llama3Scaling(Settings, frozen=True, kw_only=True, tag="llama3", tag_field="kind"):
    """Llama 3.1: what turns fewer than `low_frequency_factor` times in `original_context` tokens is slowed by `factor`,
    what turns more than `high_frequency_factor` times is left, and what lies between is blended."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_context: int


class YarnScaling(Settings, frozen=True, kw_only=True, tag="yarn", tag_field="kind"):
    """YaRN (Peng et al. 2023, arXiv 2309.00071): as Llama 3.1, blended between the two counts of turns `beta_slow` and
    `beta_fast`; rotated vectors grow by `magnitude`. `truncate` rounds the blend's ends to whole dimensions."""

    factor: float
    original_context: int
    magnitude: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


class LongScaling(Settings, frozen=True, kw_only=True, tag="longrope", tag_field="kind"):
    """LongRoPE (Ding et al. 2024, arXiv 2402.13753) for texts of the context it was first trained with: each frequency
    has its own divisor; rotated vectors grow by `magnitude`."""

    divisors: tuple[float, ...]
    magnitude: float


RopeScaling = LinearScaling | Llama3Scaling | YarnScaling | LongScaling


class ModelConfig(Settings, frozen=True, kw_only=True):
    """A model's shape with every number settled; written beside its weights as config.json.

    What has a default is what published checkpoints differ in:

    biases:            which linear maps have biases; `bias` gives them to all, and to LayerNorm.
    qk_norm_over:      `qk_norm` normalises each head, or the whole projection at once.
    norm_place:        norms stand before attention and MLP, after them (on what is added to the stream), or both.
    rotary_share:      the share of each head that is turned by its position.
    rope_scaling:      how the angles were stretched to a longer context.
    unrotated:         the layers that see no positions.
    window, windowed:  the layers in which a token sees the last `window` tokens, itself included.
    window_rope_theta: the base of the angles in those layers, never stretched; None where it is that of the others.
    attention_scale:   what scores are multiplied by; None is 1 / sqrt(head_size).
    attention_softcap, logit_softcap: scores and logits x become cap * tanh(x / cap).
    embedding_scale:   what the embedding is multiplied by where it enters the stream.
    foreign_parameters: the number of parameters of a model that is not this transformer at all (see `foreign`).
    """

    vocab: int
    depth: int
    context: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp_width: int
    position: Literal["rotary", "learned"]
    rope_theta: float
    norm: Literal["rms", "rms_zero_centred", "layer"]
    norm_eps: float
    mlp: Literal["swiglu", "geglu_tanh", "gelu", "gelu_tanh", "relu2"]
    bias: bool
    qk_norm: bool
    tied: bool
    biases: tuple[Literal["qkv", "attention_out", "mlp"], ...] = ()
    qk_norm_over: Literal["head", "projection"] = "head"
    norm_place: Literal["before", "after", "both"] = "before"
    rotary_share: float = 1.0
    rope_scaling: RopeScaling | None = None
    unrotated: tuple[int, ...] = ()
    window: int | None = None
    windowed: tuple[int, ...] = ()
    window_rope_theta: float | None = None
    attention_scale: float | None = None
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    embedding_scale: float = 1.0
    foreign_parameters: int | None = None


def has_bias(config: ModelConfig, part: Literal["qkv", "attention_out", "mlp"]) -> bool:
    """Whether this linear map of every block adds a bias."""
    return config.bias or part in config.biases


def is_gated(config: ModelConfig) -> bool:
    """Whether the MLP multiplies what it makes by a gate, a second matrix of the same size."""
    return config.mlp in ("swiglu", "geglu_tanh")


def resolve(settings: ModelSettings, vocab: int) -> ModelConfig:
    """Settle every size of the model for a vocabulary of `vocab` tokens; ValueError where they cannot fit together."""
    for name in ("depth", "context", "width", "heads", "kv_heads", "mlp_width"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ValueError(f"model.{name} is {value}; it must be at least 1")
    width = settings.width or 64 * settings.depth
    heads = settings.heads or max(1, width // (64 if width >= 512 else 32))
    kv_heads = settings.kv_heads or heads
    if width % heads:
        raise ValueError(f"model.width {width} cannot be split over {heads} heads; choose a width that {heads} divides")
    if heads % kv_heads:
        raise ValueError(f"model.heads {heads} must be a multiple of model.kv_heads {kv_heads}")
    head_size = width // heads
    if settings.position == "rotary" and head_size % 2:
        raise ValueError(f"rotary positions need an even head size, but width {width} / heads {heads} = {head_size}")
    swiglu_width = (8 * width // 3 + 31) // 32 * 32
    return ModelConfig(
        vocab=vocab,
        depth=settings.depth,
        context=settings.context,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        mlp_width=settings.mlp_width or (swiglu_width if settings.mlp == "swiglu" else 4 * width),
        position=settings.position,
        rope_theta=settings.rope_theta,
        norm=settings.norm,
        norm_eps=settings.norm_eps,
        mlp=settings.mlp,
        bias=settings.bias,
        qk_norm=settings.qk_norm,
        tied=settings.tied,
    )


def parameter_count(config: ModelConfig) -> int:
    """The exact number of parameters; a tied head is counted once."""
    if config.foreign_parameters is not None:
        return config.foreign_parameters
    width, q_and_kv = config.width, (config.heads + 2 * config.kv_heads) * config.head_size
    norm = width * (2 if config.norm == "layer" and config.bias else 1)
    block = norm * (4 if config.norm_place == "both" else 2) + _block_matrices(config)
    if has_bias(config, "qkv"):
        block += q_and_kv
    if has_bias(config, "attention_out"):
        block += width
    if has_bias(config, "mlp"):
        block += config.mlp_width * (2 if is_gated(config) else 1) + width
    if config.qk_norm:
        block += config.head_size * (2 if config.qk_norm_over == "head" else config.heads + config.kv_heads)
    positions = config.context * width if config.position == "learned" else 0
    embeddings = config.vocab * width * (1 if config.tied else 2)
    return embeddings + positions + config.depth * block + norm


def _block_matrices(config: ModelConfig) -> int:
    """The weights that one block multiplies a token by: all but gains and biases."""
    q_and_kv = (config.heads + 2 * config.kv_heads) * config.head_size
    up = config.mlp_width * (2 if is_gated(config) else 1)
    return config.width * (q_and_kv + config.heads * config.head_size + up + config.mlp_width)


def flops_per_token(config: ModelConfig, segment: float) -> float:
    """Floating-point operations to train on one token of segments `segment` tokens long, forward and backward.

    Two a multiply-add, three times the forward pass (PaLM, appendix B, arXiv 2204.02311): 6 a weight that is multiplied
    (the embedding is only looked up), and 12 x head width a layer for each token that a token sees: half its segment
    in the mean, and in a windowed layer no more than the window.
    """
    multiplied = config.depth * _block_matrices(config) + config.vocab * config.width
    seen = (config.depth - len(config.windowed)) * segment / 2
    if config.window is not None:
        window = min(config.window, segment)
        seen += len(config.windowed) * window * (1 - window / (2 * segment))
    return 6 * multiplied + 12 * config.heads * config.head_size * seen


def kv_bytes_per_token(config: ModelConfig, bytes_per_number: int = 4) -> int:
    """Bytes of key-value cache that one token of one sequence takes."""
    return 2 * config.depth * config.kv_heads * config.head_size * bytes_per_number


def training_bytes(config: ModelConfig, muon: bool) -> int:
    """Bytes of weights, gradients and optimizer state in float32. AdamW keeps two numbers a weight, Muon one; Muon
    takes the matrices inside the blocks."""
    count = parameter_count(config)
    matrices = config.depth * _block_matrices(config) if muon else 0
    return 4 * (4 * count - matrices)


def lora_parameters(config: ModelConfig, rank: int) -> int:
    """Weights of low-rank pairs beside every matrix of the blocks, where queries, keys, values, gate and up are
    matrices of their own."""
    queries, keys = config.heads * config.head_size, config.kv_heads * config.head_size
    outputs = [queries, keys, keys, *[config.mlp_width] * (2 if is_gated(config) else 1)]
    inner = queries + config.mlp_width + 2 * config.width  # what attention_out and mlp_down read and write
    return config.depth * rank * (sum(config.width + size for size in outputs) + inner)


def lora_training_bytes(config: ModelConfig, rank: int, bytes_per_weight: int = 4) -> int:
    """Bytes of the frozen weights, and of the pairs' weights, gradients and optimizer state in float32."""
    return bytes_per_weight * parameter_count(config) + 16 * lora_parameters(config, rank)


def activation_bytes(config: ModelConfig, tokens: int, segment: int | None = None, *, recompute: bool = False) -> int:
    """Bytes of float32 that the forward pass of `tokens` tokens keeps for the backward, in segments of `segment` tokens
    each (the context where None), which count only where scores are capped: those are kept whole. With `recompute`
    only what each block reads, and all of the one that is run again."""
    width, queries, keys = config.width, config.heads * config.head_size, config.kv_heads * config.head_size
    norm = 2 * width  # what it reads and what it makes, which the matrix behind it keeps
    # Where norms stand behind alone, that is the stream.
    norms = 2 * norm + (2 * width if config.norm_place == "both" else 0)
    # Queries, keys and values are views of one product, which is kept whole for as long as any of the three is.
    product, copied = queries + 2 * keys, config.position == "rotary" or config.qk_norm
    attention = product + (queries + keys if copied else 0)
    masked = attention
    if config.kv_heads != config.heads:  # under a mask keys and values are repeated for every query head
        masked = 2 * queries + (queries if copied else 0) + (product if config.qk_norm or not copied else 0)
    segment = segment or config.context
    masked_layers = len(config.windowed) if config.window is not None and config.window < segment else 0
    if config.attention_softcap is not None:
        masked_layers, masked = config.depth, masked + 2 * config.heads * segment
    mlp = config.mlp_width * (2 + (config.mlp == "swiglu") + 2 * (config.mlp == "geglu_tanh"))
    attentions = (config.depth - masked_layers) * attention + masked_layers * masked
    blocks = config.depth * (norms + queries + mlp) + attentions
    if recompute:
        blocks = blocks // config.depth + config.depth * width
    return 4 * tokens * (blocks + norm + width)
