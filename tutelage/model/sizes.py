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


class ModelConfig(Settings, frozen=True, kw_only=True):
    """A model's shape with every number settled; written beside its weights as config.json."""

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
    norm: Literal["rms", "layer"]
    norm_eps: float
    mlp: Literal["swiglu", "gelu", "relu2"]
    bias: bool
    qk_norm: bool
    tied: bool


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
    width, q_and_kv = config.width, (config.heads + 2 * config.kv_heads) * config.head_size
    layer_norm = config.norm == "layer" and config.bias
    norm = width * (2 if layer_norm else 1)
    block = 2 * norm + _block_matrices(config)
    if config.bias:
        block += q_and_kv + width + config.mlp_width * (2 if config.mlp == "swiglu" else 1) + width
    if config.qk_norm:
        block += 2 * config.head_size
    positions = config.context * width if config.position == "learned" else 0
    embeddings = config.vocab * width * (1 if config.tied else 2)
    return embeddings + positions + config.depth * block + norm


def _block_matrices(config: ModelConfig) -> int:
    """The weights that one block multiplies a token by: all but gains and biases."""
    q_and_kv = (config.heads + 2 * config.kv_heads) * config.head_size
    up = config.mlp_width * (2 if config.mlp == "swiglu" else 1)
    return config.width * (q_and_kv + config.heads * config.head_size + up + config.mlp_width)


def flops_per_token(config: ModelConfig, segment: float) -> float:
    """Floating-point operations to train on one token of segments `segment` tokens long, forward and backward.

    Two a multiply-add, three times the forward pass (PaLM, appendix B, arXiv 2204.02311): 6 a weight that is multiplied
    (the embedding is only looked up), and 6 x head width x segment a layer for the causal half of the attention.
    """
    multiplied = config.depth * _block_matrices(config) + config.vocab * config.width
    attention = 6 * config.depth * config.heads * config.head_size * segment
    return 6 * multiplied + attention


def kv_bytes_per_token(config: ModelConfig, bytes_per_number: int = 4) -> int:
    """Bytes of key-value cache that one token of one sequence takes."""
    return 2 * config.depth * config.kv_heads * config.head_size * bytes_per_number


def training_bytes(config: ModelConfig, muon: bool) -> int:
    """Bytes of weights, gradients and optimizer state in float32. AdamW keeps two numbers a weight, Muon one; Muon
    takes the matrices inside the blocks."""
    count = parameter_count(config)
    matrices = config.depth * _block_matrices(config) if muon else 0
    return 4 * (4 * count - matrices)


def activation_bytes(config: ModelConfig, tokens: int) -> int:
    """Bytes of float32 that the forward pass of `tokens` tokens, in segments of one length, keeps for the backward."""
    width, queries, keys = config.width, config.heads * config.head_size, config.kv_heads * config.head_size
    norm = width * (3 if config.norm == "rms" else 2)
    # Queries, keys and values are views of one product, which is kept whole for as long as any of the three is.
    product, copied = queries + 2 * keys, config.position == "rotary" or config.qk_norm
    if config.kv_heads == config.heads:
        attention = product + (queries + keys if copied else 0)
    else:  # keys and values are repeated for every query head
        attention = 2 * queries + (queries if copied else 0) + (product if config.qk_norm or not copied else 0)
    attention += queries + (queries + keys if config.qk_norm else 0)
    mlp = config.mlp_width * (4 if config.mlp == "swiglu" else 2)
    return 4 * tokens * (config.depth * (2 * norm + attention + mlp) + norm + width)
