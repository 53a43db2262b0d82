"""Batched generation with a key-value cache.

Shape suffixes: N prompt tokens end to end, B rows, G key-value heads, H query heads, K head size, T cache columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import torch

from tutelage.engine.sampling import SamplingSettings, choose, uniforms
from tutelage.model import attention
from tutelage.model.hf_model import HFCache, HFModel, hf_prefill
from tutelage.model.transformer import Transformer
from tutelage.process import keep_freed_memory

# Finished rows are removed from the batch once less than this share is unfinished: copying the cache whenever a row
# finishes costs about as much as the steps it saves.
COMPACT_BELOW = 0.75


@dataclass
class Generation:
    """The answer to one prompt: token ids without the stop token, their log-probabilities at temperature 1, and why it
    ended: at a stop token, at `max_tokens` ("length"), or at the end of the context."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: Literal["stop", "length", "context"] = "length"


class Cache:
    """Keys and values of every layer for B rows, filled column by column. Prompts end in the same column, so shorter
    ones start later; `mask_B1T`, 0 or minus infinity, masks the columns before their start."""

    def __init__(self, model: Transformer, lengths: Sequence[int], columns: int) -> None:
        c = model.config
        weight = model.embedding.weight
        shape = (c.depth, len(lengths), c.kv_heads, columns, c.head_size)
        self.keys, self.values = (torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in range(2))
        self.model, self.score_options = model, model.score_options
        self.column = max(lengths)
        starts_B = torch.tensor([self.column - length for length in lengths], device=weight.device)
        self.ragged = bool(starts_B.any())
        hidden_B1T = (torch.arange(columns, device=weight.device) < starts_B[:, None])[:, None]
        # An additive mask; a boolean one would be converted by every layer in every step.
        self.mask_B1T = torch.zeros(hidden_B1T.shape, dtype=weight.dtype, device=weight.device)
        self.mask_B1T.masked_fill_(hidden_B1T, -torch.inf)

    def step(self, tokens_B: torch.Tensor, positions_B: torch.Tensor) -> torch.Tensor:
        """Read one token per row; returns the logits after it, [B, V]."""
        logits_BV = self.model.logits(self.model.hidden(tokens_B, positions_B, self.attend))
        self.column += 1
        return logits_BV

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only these rows."""
        self.keys, self.values = self.keys.index_select(1, rows), self.values.index_select(1, rows)
        self.mask_B1T = self.mask_B1T.index_select(0, rows)

    def attend(self, layer: int, q_BHK: torch.Tensor, k_BGK: torch.Tensor, v_BGK: torch.Tensor) -> torch.Tensor:
        """Attention of one new token per row to all earlier columns in the layer's window; returns [B, H K]."""
        now, heads, options = self.column, k_BGK.shape[1], self.score_options[layer]
        self.keys[layer, :, :, now], self.values[layer, :, :, now] = k_BGK, v_BGK
        seen = slice(0 if options.window is None else max(0, now + 1 - options.window), now + 1)
        keys_BGTK, values_BGTK = self.keys[layer, :, :, seen], self.values[layer, :, :, seen]
        # Query heads that share a key head take the place of several queries, so that keys are read once.
        q_BGQK = q_BHK.unflatten(1, (heads, -1))
        mask = self.mask_B1T[:, None, :, seen] if self.ragged else None
        return attention.masked_attention(q_BGQK, keys_BGTK, values_BGTK, mask, options).flatten(1)


def prefill(model: Transformer, prompts: Sequence[np.ndarray], columns: int) -> tuple[Cache, torch.Tensor]:
    """Read all prompts in one forward pass without padding; returns the cache and the last logits, [B, V]."""
    lengths = tuple(len(prompt) for prompt in prompts)
    cache = Cache(model, lengths, columns)
    device = model.embedding.weight.device
    row_of_N = np.repeat(np.arange(len(lengths)), lengths)
    positions_N = np.concatenate([np.arange(length) for length in lengths])
    columns_N = torch.from_numpy(positions_N + cache.column - np.asarray(lengths)[row_of_N]).to(device)
    rows_N = torch.from_numpy(row_of_N).to(device)
    plan = attention.plan_padding(lengths, device)

    def attend(layer: int, q_NHK: torch.Tensor, k_NGK: torch.Tensor, v_NGK: torch.Tensor) -> torch.Tensor:
        cache.keys[layer][rows_N, :, columns_N] = k_NGK
        cache.values[layer][rows_N, :, columns_N] = v_NGK
        return attention.segment_attention(q_NHK, k_NGK, v_NGK, plan, cache.score_options[layer])

    tokens_N = torch.from_numpy(np.concatenate(prompts).astype(np.int64)).to(device)
    hidden_ND = model.hidden(tokens_N, torch.from_numpy(positions_N).to(device), attend)
    last_B = torch.from_numpy(np.cumsum(lengths) - 1).to(device)
    return cache, model.logits(hidden_ND.index_select(0, last_B))


def decode(
    model: Transformer,
    prompts: Sequence[np.ndarray],
    stop_ids: frozenset[int],
    settings: SamplingSettings,
    first_row: int = 0,
) -> Iterator[list[tuple[int, int, float]]]:
    """Yield, step by step, (row, token, log-probability) for every unfinished row; a row's last may be a stop token.
    Rows are numbered from 0; their random streams from `first_row`.

    Raises:
        ValueError: a prompt is empty, or leaves no room in the context.
    """
    context = model.config.context
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompt {row + 1} is empty; there is nothing to continue from")
        if len(prompt) >= context:
            raise ValueError(
                f"prompt {row + 1} has {len(prompt)} tokens; the context of {context} leaves no room to answer"
            )
    device = model.embedding.weight.device
    lengths = [len(prompt) for prompt in prompts]
    draws = None
    if settings.temperature > 0:
        numbers = uniforms(settings.seed, range(first_row, first_row + len(prompts)), settings.max_tokens)
        draws = torch.from_numpy(numbers).to(device)
    rows = np.arange(len(prompts))
    unfinished = np.ones(len(prompts), dtype=bool)
    positions_B = torch.tensor(lengths, device=device)
    steps = min(settings.max_tokens, context + 1 - min(lengths))
    with torch.inference_mode():
        cache: Cache | HFCache
        if model.config.hf_parameters is not None:
            cache, logits_BV = hf_prefill(cast(HFModel, model), prompts)
        else:
            cache, logits_BV = prefill(model, prompts, max(lengths) + steps)
        for step in range(steps):
            tokens_B = choose(logits_BV[:, : model.token_count], settings, None if draws is None else draws[rows, step])
            logits_BV = logits_BV.float()
            logprobs_B = logits_BV.gather(1, tokens_B[:, None])[:, 0] - logits_BV.logsumexp(dim=-1)
            emitted = zip(rows.tolist(), tokens_B.tolist(), logprobs_B.tolist(), strict=True)
            yield [item for item, is_unfinished in zip(emitted, unfinished, strict=True) if is_unfinished]
            unfinished &= ~np.isin(tokens_B.cpu().numpy(), list(stop_ids)) & (positions_B < context).cpu().numpy()
            if not unfinished.any() or step + 1 == steps:
                return
            if unfinished.mean() < COMPACT_BELOW:
                keep = torch.from_numpy(np.flatnonzero(unfinished)).to(device)
                rows, unfinished = rows[unfinished], unfinished[unfinished]
                tokens_B, positions_B = tokens_B[keep], positions_B[keep]
                cache.keep(keep)
            # Finished rows stay in the batch until it is compacted; their positions must stay within the context.
            logits_BV = cache.step(tokens_B, positions_B.clamp(max=context - 1))
            positions_B = positions_B + 1


def generate(
    model: Transformer,
    prompts: Sequence[np.ndarray],
    stop_ids: frozenset[int],
    settings: SamplingSettings,
    *,
    batch: int = 256,
    done: Callable[[int], None] = lambda prompts: None,
) -> list[Generation]:
    """Continue every prompt, `batch` at a time, prompts of similar length together; results are in the prompts' order.
    `done` is called with the number of prompts that were finished since its last call."""
    keep_freed_memory()
    results = [Generation() for _ in prompts]
    order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
    if settings.temperature > 0:
        order = np.arange(len(prompts))  # the random stream of a row depends on its number, so rows must stay in order
    for start in range(0, len(order), batch):
        members = order[start : start + batch]
        for emitted in decode(model, [prompts[i] for i in members], stop_ids, settings, start):
            for row, token, logprob in emitted:
                result = results[members[row]]
                if token in stop_ids:
                    result.finish_reason = "stop"
                    continue
                result.tokens.append(token)
                result.logprobs.append(logprob)
        for i in members:
            context_full = len(prompts[i]) + len(results[i].tokens) > model.config.context
            if results[i].finish_reason != "stop" and context_full and len(results[i].tokens) < settings.max_tokens:
                results[i].finish_reason = "context"
        done(len(members))
    return results
