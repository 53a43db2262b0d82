"""The same weights in a larger model: a longer context, more tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import msgspec
import torch

from tutelage.model.checkpoint import Checkpoint
from tutelage.model.foreign import ForeignModel, grow_foreign
from tutelage.model.sizes import LongScaling, ModelConfig
from tutelage.model.transformer import Transformer


def with_context(checkpoint: Checkpoint, context: int | None) -> Checkpoint:
    """The same weights, shared, with room for `context` tokens, where that is more than the model has.

    Raises:
        ValueError: the model's positions cannot be lengthened.
    """
    config = checkpoint.model.config
    if context is None or context <= config.context:
        return checkpoint
    if config.position == "learned" or isinstance(config.rope_scaling, LongScaling) or config.foreign_parameters:
        kind = "LongRoPE" if config.rope_scaling else "own" if config.foreign_parameters else "learned"
        raise ValueError(
            f"a context of {context} is more than the {config.context} tokens of the model's {kind} positions"
        )
    longer = _with_weights(msgspec.structs.replace(config, context=context), checkpoint.model.state_dict())
    return replace(checkpoint, model=longer)


def _with_weights(config: ModelConfig, tensors: dict[str, torch.Tensor]) -> Transformer:
    """A model of these very weights."""
    with torch.device("meta"):
        model = Transformer(config)
    model.load_state_dict(tensors, assign=True)
    model.reset_rotations()
    return model


@torch.no_grad()
def extend_vocabulary(checkpoint: Checkpoint, names: tuple[str, ...], seed: int) -> Checkpoint:
    """The same model with new special tokens: every old weight stays bit for bit, shared where it is not in a matrix
    that grows, and every new token gets a row.

    A new row is the mean of the old rows (Hewitt 2021: no new token then takes much probability from the old ones) plus
    noise a tenth as wide as the old rows' spread, so that the new tokens can be told apart. Rows that the model has
    beyond its tokens, which published ones often do, are filled first. The old tokens' logits are checked to be
    unchanged.
    """
    tokenizer, old = checkpoint.tokenizer.extend(names), checkpoint.model
    known, wanted = checkpoint.tokenizer.vocab_size, tokenizer.vocab_size
    if wanted == known:
        return checkpoint
    generator = torch.Generator().manual_seed(seed)
    if old.config.foreign_parameters is not None:
        grown = grow_foreign(cast(ForeignModel, old), known, wanted, generator)
        return replace(checkpoint, model=cast(Transformer, grown), tokenizer=tokenizer)
    config = msgspec.structs.replace(old.config, vocab=max(wanted, old.config.vocab))
    tensors = dict(old.state_dict())
    for name in ("embedding.weight", "head.weight"):
        if name in tensors:
            tensor = tensors[name]
            rows = tensor[:known]
            noise = torch.randn((wanted - known, tensor.shape[1]), generator=generator).to(tensor) * rows.std() / 10
            tensors[name] = torch.cat([rows, rows.mean(dim=0, keepdim=True) + noise, tensor[wanted:]])
    new = _with_weights(config, tensors)
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
    # One more column can change how a matrix product is blocked, and with it the last bits of the others.
    bits = max(1e-5, 4 * torch.finfo(before.dtype).eps)
    close = torch.allclose(old.logits(before)[:, :known], new.logits(after)[:, :known], rtol=bits, atol=bits)
    assert close, "extension changed the logits of old tokens"


def resized(model: Transformer, vocab: int) -> Transformer:
    """A model of these very weights with `vocab` rows in its embedding and head; those it did not have are zeros."""
    tensors = dict(model.state_dict())
    if vocab == model.config.vocab:
        return model
    for name in ("embedding.weight", "head.weight"):
        if name in tensors:
            rows = tensors[name][:vocab]
            tensors[name] = torch.cat([rows, rows.new_zeros(vocab - len(rows), rows.shape[1])])
    return _with_weights(msgspec.structs.replace(model.config, vocab=vocab), tensors)
