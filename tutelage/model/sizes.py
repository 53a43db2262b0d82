"""The sizes of a transformer, which follow from its depth, and what they cost in parameters, FLOPs and memory."""

from __future__ import annotations

from typing import Literal

import msgspec

from tutelage.config import Settings
from tutelage.model.settings import Activation, Experts, Latent, RopeScaling


class ModelSettings(Settings, frozen=True, kw_only=True):
    """The model section of a recipe. A setting of None follows from `depth`.

    depth:       number of blocks.
    context:     maximum tokens of a segment.
    width:       size of the residual stream; default 64 * depth.
    heads:       query heads; by default of size 64, or 32 if width < 512.
    kv_heads:    key and value heads, shared by groups of query heads; default `heads`.
    mlp_width:   hidden size of the MLP; default 4 * width, or 8/3 * width rounded up to 32 for swiglu (3 matrices).
    position:    rotary embedding (Su et al. 2021, arXiv 2104.09864) or a learned vector per position.
    rope_theta:  base of the frequencies of rotary positions.
    norm_eps:    added to the variance in norms.
    norm:        RMSNorm (Zhang & Sennrich 2019) or LayerNorm.
    mlp:         swiglu (Shazeer 2020), gelu or squared ReLU.
    bias:        add biases to linear layers and LayerNorm.
    qk_norm:     RMS-normalise queries and keys per head.
    tied:        the output embedding is the input embedding.
    experts:     a mixture of experts in place of the MLP.
    latent:      multi-head latent attention; it has `heads` of sizes of its own.
    sinks:       a score per head that attention may go to instead of a token (gpt-oss).
    mtp:         blocks that predict so many tokens further ahead, in pre-training only (see `mtp`).
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
    experts: Experts | None = None
    latent: Latent | None = None
    sinks: bool = False
    mtp: int = 0


class ModelConfig(Settings, frozen=True, kw_only=True):
    """All sizes of a model, with no default left open; written beside the weights as config.json.

    Fields with a default are those that only published checkpoints change:

    biases:            linear layers with a bias; `bias` adds one to all of them and to LayerNorm.
    qk_norm_over:      `qk_norm` normalises each head, or the whole projection.
    norm_place:        norms come before attention and MLP, after them (before the residual is added), or both;
                       "post" is after the residual is added, without a norm at the end (BERT).
    rotary_share:      fraction of each head that is rotated (partial rotary).
    rope_scaling:      how rotary positions were extended to a longer context.
    unrotated:         layers without positions (NoPE).
    window, windowed:  sliding-window layers, in which a token sees the last `window` tokens, itself included.
    window_rope_theta: RoPE base of those layers, without scaling; None is that of the others.
    attention_scale:   scores are multiplied by it; None is 1 / sqrt(head_size). Set with latent attention.
    attention_softcap, logit_softcap: scores and logits x become cap * tanh(x / cap).
    embedding_scale:   the embedding is multiplied by it.
    latent:            multi-head latent attention; heads then have its sizes.
    sinks:             a score per head that attention may go to instead of a token (gpt-oss).
    experts:           a mixture of experts in place of the MLP, in all but its `dense_layers`.
    mtp:               blocks of multi-token prediction; none in models that are loaded to be used.
    causal:            a token sees no later token; False for models that read in both directions (BERT).
    token_types:       rows of the embedding that tells the parts of a segment apart, such as question and passage.
    embedding_norm:    a norm after the embeddings.
    mlm_head:          a layer and a norm before the output embedding, and a bias on the logits (BERT).
    output_heads:      outputs per position of each named head (see `heads`).
    output_labels:     names of a head's outputs, of heads that have them.
    hf_parameters:     parameter count of a transformers-backed model (see `hf_model`); None for this transformer.
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
    mlp: Activation
    bias: bool
    qk_norm: bool
    tied: bool
    biases: tuple[Literal["qkv", "attention_out", "mlp"], ...] = ()
    qk_norm_over: Literal["head", "projection"] = "head"
    norm_place: Literal["before", "after", "both", "post"] = "before"
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
    sinks: bool = False
    experts: Experts | None = None
    latent: Latent | None = None
    mtp: int = 0
    causal: bool = True
    token_types: int = 0
    embedding_norm: bool = False
    mlm_head: bool = False
    output_heads: dict[str, int] = {}
    output_labels: dict[str, tuple[str, ...]] = {}
    hf_parameters: int | None = None


def has_bias(config: ModelConfig, part: Literal["qkv", "attention_out", "mlp"]) -> bool:
    """Whether this linear layer of every block has a bias."""
    return config.bias or part in config.biases


def is_gated(config: ModelConfig) -> bool:
    """Whether the MLP has a gate matrix beside its up matrix."""
    return config.mlp in ("swiglu", "swiglu_clamped", "geglu_tanh")


def resolve(settings: ModelSettings, vocab: int) -> ModelConfig:
    """All sizes of the model for a vocabulary of `vocab` tokens.

    Raises:
        ValueError: the sizes do not fit together.
    """
    for name in ("depth", "context", "width", "heads", "kv_heads", "mlp_width"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ValueError(f"model.{name} is {value}; it must be at least 1")
    width = settings.width or 64 * settings.depth
    heads = settings.heads or max(1, width // (64 if width >= 512 else 32))
    kv_heads = settings.kv_heads or heads
    latent = settings.latent
    if latent is not None and (settings.kv_heads or settings.qk_norm or settings.bias or settings.position != "rotary"):
        raise ValueError("model.latent excludes kv_heads, qk_norm, bias and learned positions; leave them out")
    if latent is not None and settings.sinks:
        raise ValueError("model.latent excludes sinks; leave one of them out")
    if settings.mtp < 0 or (settings.mtp and settings.position != "rotary"):
        raise ValueError(f"model.mtp is {settings.mtp}; it must not be negative, and needs rotary positions")
    if latent is None and width % heads:
        raise ValueError(f"model.width {width} cannot be split over {heads} heads; choose a width that {heads} divides")
    if heads % kv_heads:
        raise ValueError(f"model.heads {heads} must be a multiple of model.kv_heads {kv_heads}")
    head_size = width // heads if latent is None else latent.plain + latent.rotated
    if latent is None and settings.position == "rotary" and head_size % 2:
        raise ValueError(f"rotary positions need an even head size, but width {width} / heads {heads} = {head_size}")
    check_dense_layers(settings.experts, settings.depth)
    usual_width = (8 * width // 3 + 31) // 32 * 32 if settings.mlp == "swiglu" else 4 * width
    if settings.experts is not None and not settings.experts.dense_layers:
        if settings.mlp_width is not None:
            raise ValueError("model.mlp_width has no effect where every layer has experts; leave it out")
        usual_width = settings.experts.width
    return ModelConfig(
        vocab=vocab,
        depth=settings.depth,
        context=settings.context,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        mlp_width=settings.mlp_width or usual_width,
        position=settings.position,
        rope_theta=settings.rope_theta,
        norm=settings.norm,
        norm_eps=settings.norm_eps,
        mlp=settings.mlp,
        bias=settings.bias,
        qk_norm=settings.qk_norm,
        tied=settings.tied,
        attention_scale=None if latent is None else head_size**-0.5,
        experts=settings.experts,
        latent=latent,
        sinks=settings.sinks,
        mtp=settings.mtp,
    )


def check_dense_layers(experts: Experts | None, depth: int) -> None:
    """ValueError where `dense_layers` names a layer that the model does not have, or leaves none for experts."""
    if experts is None:
        return
    if not all(0 <= layer < depth for layer in experts.dense_layers):
        raise ValueError(f"experts.dense_layers names layer {max(experts.dense_layers)}; layers are 0 to {depth - 1}")
    if len(set(experts.dense_layers)) == depth:
        raise ValueError("experts.dense_layers names every layer, so no layer has experts; leave experts out")


def parameter_count(config: ModelConfig) -> int:
    """The exact number of parameters; a tied output embedding counts once."""
    if config.hf_parameters is not None:
        return config.hf_parameters
    if config.mtp:
        norm = config.width * (2 if config.norm == "layer" and config.bias else 1)
        used, one_more = _without_mtp(config)
        block = parameter_count(one_more) - parameter_count(used) + 2 * config.width**2 + 3 * norm
        return parameter_count(used) + config.mtp * block
    width = config.width
    norm = width * (2 if config.norm == "layer" and config.bias else 1)
    block_norms = norm * (4 if config.norm_place == "both" else 2)
    positions = config.context * width if config.position == "learned" else 0
    embeddings = config.vocab * width * (1 if config.tied else 2)
    heads = width * sum(config.output_heads.values())
    norms = norm * ((config.norm_place != "post") + config.embedding_norm)
    mlm_head = width * width + width + norm + config.vocab if config.mlm_head else 0
    blocks = config.depth * (block_norms + _attention_vectors(config)) + matrix_weights(config) + _mlp_biases(config)
    return embeddings + positions + config.token_types * width + blocks + norms + mlm_head + heads


def active_parameter_count(config: ModelConfig) -> int:
    """The parameters that one token uses: all but those of the routed experts that it does not choose, and of
    multi-token prediction."""
    config = _without_mtp(config)[0]
    unused = matrix_weights(config) - matrix_weights(config, used=True)
    unused += _mlp_biases(config) - _mlp_biases(config, used=True)
    return parameter_count(config) - unused


def _without_mtp(config: ModelConfig) -> tuple[ModelConfig, ModelConfig]:
    """A model without multi-token prediction, and the same with one more block, of the kind that it adds."""
    used = msgspec.structs.replace(config, mtp=0)
    return used, msgspec.structs.replace(used, depth=config.depth + 1)


def expert_layers(config: ModelConfig) -> list[int]:
    """The layers with a mixture of experts."""
    experts = config.experts
    return [] if experts is None else [layer for layer in range(config.depth) if layer not in experts.dense_layers]


def _attention_vectors(config: ModelConfig) -> int:
    """Biases and gains of the attention of a block."""
    if config.latent is not None:
        return config.latent.rank + (config.latent.query_rank or 0)
    count = (config.heads + 2 * config.kv_heads) * config.head_size if has_bias(config, "qkv") else 0
    count += config.width if has_bias(config, "attention_out") else 0
    count += config.heads if config.sinks else 0
    if config.qk_norm:
        count += config.head_size * (2 if config.qk_norm_over == "head" else config.heads + config.kv_heads)
    return count


def _mlp_biases(config: ModelConfig, used: bool = False) -> int:
    """Biases of all MLPs, routers and experts; of the experts that a token uses if `used`."""
    gated, experts, layers = 2 if is_gated(config) else 1, config.experts, len(expert_layers(config))
    dense = config.mlp_width * gated + config.width if has_bias(config, "mlp") else 0
    count = (config.depth - layers) * dense
    if experts is None:
        return count
    shared = experts.shared * experts.width * gated + config.width if experts.shared and has_bias(config, "mlp") else 0
    routed = experts.used if used else experts.count
    each = experts.count + routed * (experts.width * gated + config.width) if experts.bias else 0
    return count + layers * (shared + each)


def matrix_weights(config: ModelConfig, used: bool = False) -> int:
    """Weights of the matrices of all blocks, without gains and biases; of the experts that a token uses if `used`."""
    if config.mtp:
        plain, one_more = (matrix_weights(each, used) for each in _without_mtp(config))
        return plain + config.mtp * (one_more - plain + 2 * config.width**2)
    per_hidden = config.width * (3 if is_gated(config) else 2)
    experts, layers = config.experts, len(expert_layers(config))
    mlps = (config.depth - layers) * per_hidden * config.mlp_width
    if experts is not None:
        routed = experts.used if used else experts.count
        mlps += layers * (config.width * experts.count + per_hidden * experts.width * (routed + experts.shared))
    return config.depth * _attention_matrices(config) + mlps


def _attention_matrices(config: ModelConfig) -> int:
    """Weights of the matrices of the attention of a block."""
    latent, width, queries = config.latent, config.width, config.heads * config.head_size
    if latent is None:
        return width * 2 * (queries + config.kv_heads * config.head_size)
    query_rank = latent.query_rank
    query = width * queries if query_rank is None else query_rank * (width + queries)
    keys_values = width * (latent.rank + latent.rotated) + latent.rank * config.heads * (latent.plain + latent.value)
    return query + keys_values + config.heads * latent.value * width


def flops_per_token(config: ModelConfig, segment: float) -> float:
    """Training FLOPs per token, forward and backward, in segments of `segment` tokens.

    A multiply-add is 2, forward and backward are 3 times the forward pass (PaLM, appendix B, arXiv 2204.02311). So 6
    per weight in a matrix product (the input embedding is a look-up, and a token uses some of the routed experts), and
    per layer 6 * heads * (size of a query + size of a value) per token that is attended to: half the segment on
    average, and at most the window in a sliding-window layer.
    """
    multiplied = matrix_weights(config, used=True) + (1 + config.mtp) * config.vocab * config.width
    seen = (config.depth + config.mtp - len(config.windowed)) * segment / 2
    if config.window is not None:
        window = min(config.window, segment)
        seen += len(config.windowed) * window * (1 - window / (2 * segment))
    value = config.head_size if config.latent is None else config.latent.value
    return 6 * multiplied + 6 * config.heads * (config.head_size + value) * seen


def kv_bytes_per_token(config: ModelConfig, bytes_per_number: int = 4) -> int:
    """Bytes of key-value cache per token of a sequence; of latents, with latent attention."""
    tensors, heads, size = cache_shape(config)
    return tensors * config.depth * heads * size * bytes_per_number


def cache_shape(config: ModelConfig) -> tuple[int, int, int]:
    """What a cache holds of a token in a layer: tensors (keys and values, or one for both), heads, size of each."""
    if config.latent is not None:
        return 1, 1, config.latent.rank + config.latent.rotated
    return 2, config.kv_heads, config.head_size
