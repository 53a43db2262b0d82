"""The same weights in a larger model: more tokens, a longer context."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal, cast

import msgspec
import torch

from tutelage.model.checkpoint import Checkpoint
from tutelage.model.hf_model import HFModel, resize_hf_embeddings, resize_hf_vocabulary
from tutelage.model.settings import LongScaling, YarnScaling
from tutelage.model.sizes import ModelConfig
from tutelage.model.transformer import Transformer


def with_context(checkpoint: Checkpoint, context: int | None, rope: Literal["keep", "yarn"] = "keep") -> Checkpoint:
    """The same weights, shared, with a context of `context` tokens if that is more than the model has.

    rope: keep the frequencies of rotary positions, or scale them by YaRN, from the context that the model had before it
          was first extended. Several steps so give the same frequencies as one.

    Raises:
        ValueError: the model's positions cannot be extended.
    """
    config = checkpoint.model.config
    if context is None or context <= config.context:
        return checkpoint
    if config.position == "learned" or isinstance(config.rope_scaling, LongScaling) or config.hf_parameters:
        kind = "LongRoPE" if config.rope_scaling else "transformers-backed" if config.hf_parameters else "learned"
        raise ValueError(
            f"a context of {context} is more than the {config.context} tokens of the model's {kind} positions"
        )
    scaling = {} if rope == "keep" else yarn_fields(config, context)
    longer = _rebuild(msgspec.structs.replace(config, context=context, **scaling), checkpoint.model.state_dict())
    return replace(checkpoint, model=longer)


def yarn_fields(config: ModelConfig, context: int) -> dict[str, Any]:
    """The fields of a config that YaRN (Peng et al. 2023, arXiv 2309.00071) changes for a longer context. Scores grow
    by the square of 0.1 ln(factor) + 1: through rotated queries and keys, or, where only a part of a head is rotated
    (latent attention), through their scale, as in DeepSeek-V3.

    Raises:
        ValueError: the model's rotary positions are scaled in another way.
    """
    old = config.rope_scaling
    if old is not None and not isinstance(old, YarnScaling):
        raise ValueError('rope = "yarn" extends plain rotary positions or those of YaRN, and the model has others')
    original = config.context if old is None else old.original_context
    factor = context / original
    growth = 0.1 * math.log(factor) + 1
    if config.latent is not None:
        scale = config.head_size**-0.5 * growth**2
        scaling = YarnScaling(factor=factor, original_context=original, magnitude=1.0)
        return {"rope_scaling": scaling, "attention_scale": scale}
    return {"rope_scaling": YarnScaling(factor=factor, original_context=original, magnitude=growth)}


def _rebuild(config: ModelConfig, tensors: dict[str, torch.Tensor]) -> Transformer:
    """A model with these tensors as its weights."""
    with torch.device("meta"):
        model = Transformer(config)
    model.load_state_dict(tensors, assign=True)
    model.reset_rotations()
    return model


@torch.no_grad()
def extend_vocabulary(checkpoint: Checkpoint, names: tuple[str, ...], seed: int) -> Checkpoint:
    """The same model with new special tokens. Old weights are unchanged bit for bit, and shared except in matrices that
    grow.

    A new row is the mean of the old rows (Hewitt 2021: new tokens then take little probability from old ones) plus
    noise with a tenth of the old rows' standard deviation, so that new tokens differ. Padding rows beyond the known
    tokens, which published models often have, are used first. Logits of old tokens are checked to be unchanged.
    """
    tokenizer, old = checkpoint.tokenizer.extend(names), checkpoint.model
    known, extended = checkpoint.tokenizer.vocab_size, tokenizer.vocab_size
    if extended == known:
        return checkpoint
    generator = torch.Generator().manual_seed(seed)
    if old.config.hf_parameters is not None:
        resized = resize_hf_embeddings(cast(HFModel, old), known, extended, generator)
        return replace(checkpoint, model=cast(Transformer, resized), tokenizer=tokenizer)
    config = msgspec.structs.replace(old.config, vocab=max(extended, old.config.vocab))
    if old.mlm_head is not None:
        raise ValueError(f"BERT's vocabulary cannot grow, and its tokenizer lacks {names[0]}; start from another model")
    tensors = dict(old.state_dict())
    for name in ("embedding.weight", "head.weight"):
        if name in tensors:
            tensor = tensors[name]
            rows = tensor[:known]
            noise = torch.randn((extended - known, tensor.shape[1]), generator=generator).to(tensor) * rows.std() / 10
            tensors[name] = torch.cat([rows, rows.mean(dim=0, keepdim=True) + noise, tensor[extended:]])
    new = _rebuild(config, tensors)
    _check_extension(old, new, known)
    return replace(checkpoint, model=new, tokenizer=tokenizer)


def _check_extension(old: Transformer, new: Transformer, known: int) -> None:
    length = min(32, old.config.context)
    device = old.embedding.weight.device
    tokens_N = torch.arange(length, device=device) * 7919 % known
    positions_N = torch.arange(length, device=device)
    before, after = (m.hidden(tokens_N, positions_N, m.within_segments((length,))) for m in (old, new))
    assert torch.equal(before, after), "extension changed the hidden states"
    assert torch.equal(old.head_weight[:known], new.head_weight[:known]), "extension changed an old row"
    # One more column can change the blocking of a matrix product, and so the last bits of the other columns.
    tolerance = max(1e-5, 4 * torch.finfo(before.dtype).eps)
    close = torch.allclose(old.logits(before)[:, :known], new.logits(after)[:, :known], rtol=tolerance, atol=tolerance)
    assert close, "extension changed the logits of old tokens"


def resize_vocabulary(model: Transformer, vocab: int) -> Transformer:
    """A model with these weights and `vocab` rows in its embedding and head; added rows are zeros."""
    if vocab == model.config.vocab:
        return model
    if model.config.hf_parameters is not None:
        return cast(Transformer, resize_hf_vocabulary(cast(HFModel, model), vocab))
    tensors = dict(model.state_dict())
    for name in ("embedding.weight", "head.weight"):
        if name in tensors:
            rows = tensors[name][:vocab]
            tensors[name] = torch.cat([rows, rows.new_zeros(vocab - len(rows), rows.shape[1])])
    return _rebuild(msgspec.structs.replace(model.config, vocab=vocab), tensors)
