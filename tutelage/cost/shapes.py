"""The sizes of published models, dense and mixtures of experts, and their parameters: all, and those that a token uses.

Counts are exact: the published weights have as many numbers, in matrices, biases, norms and routers. DeepSeek-V3's bias
of the router, which only chooses experts and gets no gradient, is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in place of the MLP: `count` of hidden size `width`, of which each token uses `used`, and
    `shared` more that every token uses. The first `dense_layers` blocks have a plain MLP of size `dense_width`."""

    count: int
    used: int
    width: int
    shared: int = 0
    dense_layers: int = 0
    dense_width: int = 0


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): ranks of the compressed queries (0: not
    compressed) and keys with values, and the sizes of a head with and without positions, and of its values."""

    query_rank: int
    rank: int
    plain: int
    rotated: int
    value: int


@dataclass(frozen=True)
class Shape:
    """The sizes of a transformer with gated MLPs, RMSNorm before attention and MLP, and an untied output embedding.

    qk_norm:      gains of the norms of queries and keys, in all: 0 without.
    biases:       biases on attention, router and experts, as in gpt-oss.
    sinks:        a number per head that scores may go to instead of a token.
    """

    vocab: int
    depth: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp_width: int = 0
    experts: Experts | None = None
    latent: Latent | None = None
    qk_norm: int = 0
    biases: bool = False
    sinks: bool = False


@dataclass(frozen=True)
class Parameters:
    """All parameters; `active` ones, which one token uses, both vocabulary matrices counted; and those without the
    input embedding, of which a token reads a row."""

    total: int
    active: int
    active_without_lookup: int


def parameters(shape: Shape) -> Parameters:
    """The exact number of parameters."""
    embedding = shape.vocab * shape.width
    total = active = 2 * embedding + shape.width  # the final norm
    for layer in range(shape.depth):
        attention = _attention(shape) + 2 * shape.width
        everything, used = _mlp(shape, layer)
        total, active = total + attention + everything, active + attention + used
    return Parameters(total, active, active - embedding)


def multiplied(shape: Shape) -> int:
    """The weights that a token is multiplied by: those of matrices, of routed experts those that it uses, and of the
    output embedding; without biases, gains and the look-up of the input embedding."""
    latent, experts = shape.latent, shape.experts
    if latent:
        attention = _latent_attention(shape, latent) - latent.query_rank - latent.rank
    else:
        attention = shape.width * 2 * (shape.heads + shape.kv_heads) * shape.head_size
    total = shape.vocab * shape.width + shape.depth * attention
    if experts is None:
        return total + shape.depth * 3 * shape.width * shape.mlp_width
    mixture = shape.width * experts.count + 3 * shape.width * experts.width * (experts.used + experts.shared)
    dense = experts.dense_layers * 3 * shape.width * experts.dense_width
    return total + dense + (shape.depth - experts.dense_layers) * mixture


def cache_bytes_per_token(shape: Shape, bytes_per_number: int = 2) -> int:
    """Bytes of keys and values per token of context; of latent attention, of what both are computed from."""
    latent = shape.latent
    numbers = latent.rank + latent.rotated if latent else 2 * shape.kv_heads * shape.head_size
    return shape.depth * numbers * bytes_per_number


def experts_touched(experts: Experts, batch: int) -> float:
    """The expected number of routed experts that a batch of tokens reads, if each token draws its own at random: E (1 -
    (1 - k/E)^B). Real routers are less even, and touch fewer."""
    return experts.count * (1 - (1 - experts.used / experts.count) ** batch)


def _attention(shape: Shape) -> int:
    """Parameters of the attention of a block."""
    if shape.latent:
        return _latent_attention(shape, shape.latent)
    rows, inner = (shape.heads + 2 * shape.kv_heads) * shape.head_size, shape.heads * shape.head_size
    biases = rows + shape.width if shape.biases else 0
    return shape.width * (rows + inner) + biases + shape.qk_norm + (shape.heads if shape.sinks else 0)


def _latent_attention(shape: Shape, latent: Latent) -> int:
    head = latent.plain + latent.rotated
    queries = shape.width * shape.heads * head
    if latent.query_rank:  # down, a norm, up
        queries = latent.query_rank * (shape.width + 1 + shape.heads * head)
    down = shape.width * (latent.rank + latent.rotated) + latent.rank
    up = latent.rank * shape.heads * (latent.plain + latent.value)
    return queries + down + up + shape.heads * latent.value * shape.width


def _mlp(shape: Shape, layer: int) -> tuple[int, int]:
    """Parameters of the MLP or the experts of a block: all, and those that a token uses."""
    experts = shape.experts
    if experts is None or layer < experts.dense_layers:
        count = 3 * shape.width * (experts.dense_width if experts else shape.mlp_width)
        return count, count
    router = experts.count * (shape.width + shape.biases)
    one = 3 * shape.width * experts.width + (2 * experts.width + shape.width if shape.biases else 0)
    shared = experts.shared * one
    return router + shared + experts.count * one, router + shared + experts.used * one


# Sizes from the config.json of each model on the Hugging Face hub.
SHAPES: dict[str, Shape] = {
    "llama3-8b": Shape(128_256, 32, 4096, 32, 8, 128, 14_336),
    "llama3-70b": Shape(128_256, 80, 8192, 64, 8, 128, 28_672),
    "llama3-405b": Shape(128_256, 126, 16_384, 128, 8, 128, 53_248),
    "mixtral-8x7b": Shape(32_000, 32, 4096, 32, 8, 128, experts=Experts(8, 2, 14_336)),
    "olmoe-1b-7b": Shape(50_304, 16, 2048, 16, 16, 128, experts=Experts(64, 8, 1024), qk_norm=4096),
    "qwen3-30b-a3b": Shape(151_936, 48, 2048, 32, 4, 128, experts=Experts(128, 8, 768), qk_norm=256),
    "qwen3-235b-a22b": Shape(151_936, 94, 4096, 64, 4, 128, experts=Experts(128, 8, 1536), qk_norm=256),
    "deepseek-v2-lite": Shape(
        102_400, 27, 2048, 16, 16, 128, experts=Experts(64, 6, 1408, shared=2, dense_layers=1, dense_width=10_944),
        latent=Latent(0, 512, 128, 64, 128),
    ),
    "deepseek-v3": Shape(
        129_280, 61, 7168, 128, 128, 128, experts=Experts(256, 8, 2048, shared=1, dense_layers=3, dense_width=18_432),
        latent=Latent(1536, 512, 128, 64, 128),
    ),
    "gpt-oss-20b": Shape(201_088, 24, 2880, 64, 8, 64, experts=Experts(32, 4, 2880), biases=True, sinks=True),
    "gpt-oss-120b": Shape(201_088, 36, 2880, 64, 8, 64, experts=Experts(128, 4, 2880), biases=True, sinks=True),
}  # fmt: skip
