"""A transformer: a decoder or, with `causal` off, an encoder. Published families are configurations of it (see
`families`).

Shape suffixes: N tokens laid end to end, D width, H query heads, G key-value heads, K head size (of a named head:
its outputs), V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from tutelage.model import attention
from tutelage.model.block import Attend, Block, make_norm
from tutelage.model.embedding_rows import TrainedEmbeddingRows
from tutelage.model.logprobs import label_logprobs
from tutelage.model.lora_dropout import LoraDropout
from tutelage.model.mlm_head import MlmHead
from tutelage.model.moe import Routing
from tutelage.model.rotary import rotation_at, rotation_table, window_rotation_table
from tutelage.model.shared_prefixes import Sharing, shared_attention, sharing_of, spread
from tutelage.model.sizes import ModelConfig
from tutelage.records import TOKEN_TYPES, Batch

# Batches are padded to multiples of this where few distinct shapes are wanted.
PAD_MULTIPLE = 128

# A scalar of segments that were sampled at another temperature than 1: their log-probabilities are at it, too.
TEMPERATURE = "temperature"


class Outputs(NamedTuple):
    """What a model computes for a batch. A tuple, so that FSDP2 finds the tensors in it and hooks their gradients.

    logprobs: log-probabilities of the labels at the trained positions, float32 [trained].
    heads:    named heads at all positions, float32: [N] if a head has one output, [N, K] if it has more.
    """

    logprobs: torch.Tensor
    heads: Mapping[str, torch.Tensor]


# (model, batch, heads, labels) -> what `Transformer.forward` returns.
SharedForward = Callable[["Transformer", Batch, bool, bool], "torch.Tensor | Outputs"]


def make_embedding(rows: int, width: int) -> nn.Embedding:
    """An embedding of zeros, which `initialise` or a file fills. nn.Embedding's own random numbers would be wasted, and
    on the meta device, where a model is built before its file is read, drawing them costs a second of imports."""
    return nn.Embedding.from_pretrained(torch.zeros(rows, width), freeze=False)


class Transformer(nn.Module):
    """`model(batch)` returns the log-probabilities of the labels at the trained positions, float32 [trained], in order;
    `model.outputs(batch)` returns them with the named heads. The scalar TEMPERATURE divides the logits of a segment.

    activation_checkpointing: save only the input of each block, and run the block again in the backward pass.
    token_count:              the rows of the vocabulary that have a token; published models often pad it with more.
    embedding_rows:           trained rows of a few tokens; None unless the embedding is frozen.
    row_orders:               of matrices that processes share, in which order their rows are stored (see
                              `train.tensor_parallel`); none otherwise.
    shared_forward:           computes micro-batches whose tokens processes share (see `train.context_parallel`).
    varlen_attention:         attend without padding (see `train.kernels`).
    output:                   computes logits in place of the output embedding; None but in copies for inference.
    routings:                 what the routers of the last forward pass decided, for each layer with experts; of the
                              first positions where the batch was padded. Kept only where gradients are.
    """

    rotations: torch.Tensor
    window_rotations: torch.Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.activation_checkpointing, self.token_count = config, False, config.vocab
        self.embedding = make_embedding(config.vocab, config.width)
        self.position_embedding = make_embedding(config.context, config.width) if config.position == "learned" else None
        self.token_type_embedding = make_embedding(config.token_types, config.width) if config.token_types else None
        self.embedding_norm = make_norm(config) if config.embedding_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.score_options = [attention.score_options(config, layer) for layer in range(config.depth)]
        self.final_norm = nn.Identity() if config.norm_place == "post" else make_norm(config)
        self.mlm_head = MlmHead(config) if config.mlm_head else None
        self.head = None if config.tied else nn.Linear(config.width, config.vocab, bias=False)
        self.row_orders: dict[str, torch.Tensor] = {}
        self.shared_forward: SharedForward | None = None
        self.varlen_attention = False
        self.output: nn.Module | None = None
        self.embedding_rows: TrainedEmbeddingRows | None = None
        self.lora_dropout: LoraDropout | None = None
        self.routings: list[Routing] = []
        self.heads = nn.ModuleDict(
            {name: nn.Linear(config.width, outputs, bias=False) for name, outputs in config.output_heads.items()}
        )
        if config.position == "rotary":
            self.register_buffer("rotations", torch.empty(0), persistent=False)
        if config.window_rope_theta is not None:
            self.register_buffer("window_rotations", torch.empty(0), persistent=False)
        if not self.embedding.weight.is_meta:
            self.reset_rotations()

    def reset_rotations(self) -> None:
        """Compute the rotary tables, which are not saved."""
        device = self.embedding.weight.device
        if self.config.position == "rotary":
            self.rotations = rotation_table(self.config).to(device)
        if self.config.window_rope_theta is not None:
            self.window_rotations = window_rotation_table(self.config).to(device)

    def outputs(self, batch: Batch) -> Outputs:
        """Log-probabilities and named heads. It calls the module, not `forward`, so that hooks run (FSDP2 gathers
        parameters in them). A loss must read the same heads in every micro-batch: processes reduce gradients together.
        """
        return self(batch, heads=True)

    def head_values(self, batch: Batch) -> Mapping[str, torch.Tensor]:
        """The named heads alone, without log-probabilities."""
        outputs: Outputs = self(batch, heads=True, labels=False)
        return outputs.heads

    def forward(self, batch: Batch, heads: bool = False, labels: bool = True) -> torch.Tensor | Outputs:
        if self.shared_forward is not None:
            return self.shared_forward(self, batch, heads, labels)
        tokens_N, positions_N, lengths = batch.tokens_N, batch.positions_N, batch.lengths
        types_N = batch.streams.get(TOKEN_TYPES)
        assert types_N is None or not any(batch.shifts), "token types are of segments with targets"
        trained = selected = batch.weights_N.nonzero()[:, 0]
        if self._pads_batches():
            if extra := -len(tokens_N) % PAD_MULTIPLE:  # one more segment, whose outputs are dropped
                tokens_N, positions_N = F.pad(tokens_N, (0, extra)), F.pad(positions_N, (0, extra))
                types_N = None if types_N is None else F.pad(types_N, (0, extra))
                lengths = (*lengths, extra)
            selected = F.pad(trained, (0, -len(trained) % PAD_MULTIPLE))
        # Losses of routers count every position of the batch.
        plain = self._pads_batches() or self.lora_dropout is not None or self.config.experts is not None
        sharing = None if plain else sharing_of(batch)
        if sharing is None or not self.config.causal:  # without causality equal beginnings have unequal hidden states
            hidden_ND = self.hidden(tokens_N, positions_N, self.within_segments(lengths), types_N)
        else:
            tokens_C, positions_C = tokens_N[sharing.unique_C], positions_N[sharing.unique_C]
            hidden_CD = self.hidden(tokens_C, positions_C, self._within_shared(lengths, sharing))
            hidden_ND = spread(hidden_CD, sharing)
        head_outputs = self.head_outputs(hidden_ND.narrow(0, 0, len(batch.tokens_N))) if heads else {}
        if not labels:
            return Outputs(hidden_ND.new_zeros(0), head_outputs)
        if TEMPERATURE in batch.scalars:
            hidden_ND = hidden_ND[: len(batch.tokens_N)] / temperatures(batch)
        if len(trained) != len(hidden_ND):
            hidden_ND = hidden_ND.index_select(0, selected)
        if self.mlm_head is not None:
            hidden_ND = self.mlm_head(hidden_ND)
        labels_N = batch.labels_N.index_select(0, selected)
        rows = self.embedding_rows
        row_arguments = () if rows is None else (rows.ids_R, rows.head_rows)
        logprobs = label_logprobs(hidden_ND, self.head_weight, labels_N, self.config.logit_softcap, *row_arguments)
        logprobs = logprobs[: len(trained)]
        return Outputs(logprobs, head_outputs) if heads else logprobs

    def head_outputs(self, hidden_ND: torch.Tensor) -> dict[str, torch.Tensor]:
        """Named heads of hidden states: [N] or [N, K], in float32 at least, also under autocast."""
        outputs = {}
        with torch.autocast(hidden_ND.device.type, enabled=False):
            for name, linear in self.heads.items():
                dtype = torch.promote_types(hidden_ND.dtype, torch.float32)
                output_NK = hidden_ND.to(dtype) @ linear.get_parameter("weight").to(dtype).T
                outputs[name] = output_NK[:, 0] if output_NK.shape[1] == 1 else output_NK
        return outputs

    def set_head(self, name: str, weight_KD: torch.Tensor) -> None:
        """Add or replace a named head; it is trained, also where the rest is frozen."""
        outputs, width = weight_KD.shape
        linear = nn.Linear(width, outputs, bias=False, device="meta")
        linear.weight = nn.Parameter(weight_KD)
        self.heads[name] = linear
        self.config = msgspec.structs.replace(self.config, output_heads={**self.config.output_heads, name: outputs})

    def _pads_batches(self) -> bool:
        """Whether batches are padded to few distinct sizes. On CPUs PyTorch compiles bfloat16 products for every new
        shape, which costs several times the product."""
        device = self.embedding.weight.device.type
        return device == "cpu" and torch.is_autocast_enabled(device)

    def hidden(
        self,
        tokens_N: torch.Tensor,
        positions_N: torch.Tensor,
        attend: Attend,
        types_N: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Hidden states after the last norm, [N, D]. Token types are 0 where `types_N` is None."""
        c = self.config
        rows = self.embedding_rows
        x_ND = self.embedding(tokens_N) if rows is None else rows.embed(self.embedding, tokens_N)
        if c.embedding_scale != 1:
            # Rounded to the weights' dtype: in bfloat16 Gemma was trained with 55.5, not with sqrt(3072).
            x_ND = x_ND * torch.tensor(c.embedding_scale, dtype=x_ND.dtype).item()
        if self.token_type_embedding is not None:
            types_N = torch.zeros_like(tokens_N) if types_N is None else types_N
            x_ND = x_ND + self.token_type_embedding(types_N.long())
        if torch.is_autocast_enabled(x_ND.device.type):
            # The residual stream too: autocast alone would leave it, and every read of it, in float32.
            x_ND = x_ND.to(torch.get_autocast_dtype(x_ND.device.type))
        rotation = window_rotation = None
        if self.position_embedding is not None:
            x_ND = x_ND + self.position_embedding(positions_N).to(x_ND.dtype)
        else:
            rotation = window_rotation = rotation_at(self.rotations, positions_N, x_ND.dtype)
        x_ND = self.embedding_norm(x_ND)
        if c.window_rope_theta is not None:
            window_rotation = rotation_at(self.window_rotations, positions_N, x_ND.dtype)
        routings = []
        for layer, block in enumerate(self.blocks):
            own_rotation = None if layer in c.unrotated else window_rotation if layer in c.windowed else rotation
            if self.activation_checkpointing and torch.is_grad_enabled():
                x_ND, routing = checkpoint(
                    block, x_ND, own_rotation, attend, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x_ND, routing = block(x_ND, own_rotation, attend)
            if routing is not None and torch.is_grad_enabled():
                routings.append(routing)
        self.routings = routings
        return self.final_norm(x_ND)

    def logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Logits over the vocabulary, [N, V]."""
        cap = self.config.logit_softcap
        if self.mlm_head is not None:
            hidden_ND = self.mlm_head(hidden_ND)
        logits_NV = hidden_ND @ self.head_weight.T if self.output is None else self.output(hidden_ND)
        if self.embedding_rows is not None:
            logits_NV = self.embedding_rows.replace_logits(hidden_ND, logits_NV)
        return logits_NV if cap is None else cap * torch.tanh(logits_NV / cap)

    def within_segments(self, lengths: tuple[int, ...]) -> Attend:
        """Attention within segments of these lengths."""
        if self.varlen_attention:
            device = self.embedding.weight.device
            starts_S1 = F.pad(torch.tensor(lengths, device=device).cumsum(0, dtype=torch.int32), (1, 0))
            return lambda layer, q, k, v, sinks=None: attention.varlen_attention(
                q, k, v, starts_S1, max(lengths), self.score_options[layer]
            )
        plan = attention.plan_padding(lengths, self.embedding.weight.device, self.config.causal)
        return lambda layer, q, k, v, sinks=None: attention.segment_attention(
            q, k, v, plan, self.score_options[layer], sinks
        )

    def _within_shared(self, lengths: tuple[int, ...], sharing: Sharing) -> Attend:
        plan = attention.plan_padding(lengths, self.embedding.weight.device)
        return lambda layer, q, k, v, sinks=None: shared_attention(
            q, k, v, sharing, plan, self.score_options[layer], sinks
        )

    @property
    def head_weight(self) -> torch.Tensor:
        """The output embedding, [V, D]; with an `mlm_head` also the bias, [V, D + 1]."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return weight if self.mlm_head is None else self.mlm_head.with_bias(weight)


def temperatures(batch: Batch) -> torch.Tensor:
    """The temperature of each position's segment, [N, 1]."""
    values_S = batch.scalars[TEMPERATURE]
    return torch.repeat_interleave(values_S, torch.tensor(batch.lengths, device=values_S.device))[:, None]


# The projections into the residual stream.
RESIDUAL = ("attention_out.weight", "mlp_down.weight", "shared_down.weight", "experts.down.weight")


@torch.no_grad()
def initialise(model: Transformer, seed: int, std_of: Callable[[str], float] = lambda name: 1.0) -> Transformer:
    """Set random weights: normal with standard deviation 0.02. The projections into the residual stream are divided
    by sqrt(2 depth), so that its variance does not grow with depth (GPT-2, Radford et al. 2019, section 2.3). The same
    seed gives the same weights. `std_of` gives a factor on the standard deviation of a parameter by its name."""
    generator = torch.Generator().manual_seed(seed)
    residual_std = 0.02 / math.sqrt(2 * model.config.depth)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or name.endswith("sinks.weight"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(0.0 if model.config.norm == "rms_zero_centred" else 1.0)
        else:
            std = (residual_std if name.endswith(RESIDUAL) else 0.02) * std_of(name)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model
