"""Keys and values of running requests, one contiguous row each, and the forward pass of a step over them.

A token at position p is in column p of its request's row. Attention reads rows as they are: on CPUs, gathering pages
for every layer of every step would read and write the cache once more. Pages of the pool are copied out of rows when
they enter the prefix index, and into rows when a request starts with them.

Shape suffixes: N tokens of a step, B decoding rows, G key-value heads, H query heads, Q query heads per key-value head,
K head size, T columns, V vocabulary, L layers, P pages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tutelage.engine.adapters import StepAdapters, adapt_layers
from tutelage.engine.decode_kernel import DecodeKernel, supports
from tutelage.engine.pages import PAGE
from tutelage.engine.requests import Chunk, Request, StepPlan
from tutelage.model import attention
from tutelage.model.attention import ScoreOptions
from tutelage.model.inference_copy import compute_dtype, int8_copy, packed_copy
from tutelage.model.latent import LatentCache
from tutelage.model.sizes import cache_shape
from tutelage.model.transformer import Transformer


class Rows:
    """Rows of a key-value cache for a `Transformer`. Both tensors grow when needed: rows and columns by doubling, and
    the store of pages up to the highest page in the prefix index."""

    static = False

    def __init__(self, model: Transformer, max_rows: int, int8: bool = False) -> None:
        c = model.config
        self.model, self.max_rows, self.context, self.int8 = model, max_rows, c.context, int8
        self.fast: Transformer | None = None  # what computes; made of the model when first needed
        self.adapters: StepAdapters | None = None  # once a request has one
        self.requests: list[Request] = []  # by row
        tensors, heads, size = cache_shape(c)
        # Keys, values: [2, L, rows, G, T, K]; latents are both at once: [1, L, rows, 1, T, K].
        self.kv = self._zeros(tensors, c.depth, 0, heads, 0, size)
        self.store = self._zeros(0, tensors, c.depth, heads, PAGE, size)  # [P, 2 or 1, L, G, PAGE, K]

    @torch.inference_mode()
    def admit(self, request: Request, expected: int) -> None:
        """Give a request the next row, and copy what is computed from its pages there. `expected` requests, running
        and waiting, make the rows grow once."""
        request.row = len(self.requests)
        self.requests.append(request)
        rows = len(self.requests) if len(self.requests) <= self.kv.shape[2] else min(expected, self.max_rows)
        rest = request.settings.max_tokens - len(request.generation.tokens)
        self._grow(rows, min(len(request.ids) + rest, self.context))
        if computed := request.computed:
            pages = torch.tensor(request.pages[: -(-computed // PAGE)], device=self.store.device)
            prefix = self.store.index_select(0, pages).permute(1, 2, 3, 0, 4, 5).flatten(3, 4)
            self.kv[:, :, request.row, :, :computed] = prefix[..., :computed, :]

    @torch.inference_mode()
    def remove(self, request: Request) -> None:
        """Free a request's row; the last row takes its place."""
        last = self.requests.pop()
        if last is not request:
            # All that this step has read, which is not counted as computed yet, and may be accepted of a draft.
            columns = len(last.ids) + (len(last.draft.tokens) if last.draft else 0)
            self.kv[:, :, request.row, :, :columns] = self.kv[:, :, last.row, :, :columns]
            self.requests[request.row], last.row = last, request.row
        request.row = -1

    @torch.inference_mode()
    def save(self, request: Request, place: int, page: int) -> None:
        """Copy the `place`-th page of a request's row to the store, as page `page`."""
        if page >= len(self.store):
            store = self._zeros(max(page + 1, 2 * len(self.store)), *self.store.shape[1:])
            store[: len(self.store)] = self.store
            self.store = store
        columns = self.kv[:, :, request.row, :, place * PAGE : (place + 1) * PAGE]
        self.store[page, ..., : columns.shape[-2], :] = columns

    @torch.inference_mode()
    def forward(self, plan: StepPlan) -> torch.Tensor:
        """Run a step; returns the logits after each decoding request's token and each token of its draft, then after
        each chunk that ends its prompt, [B, V]. The requests' `computed` is as before; the caller advances it."""
        decodes = [request for request in plan.decodes if not request.draft]
        drafted = [Chunk(request, 1 + len(request.draft.tokens)) for request in plan.decodes if request.draft]
        fresh = [chunk for chunk in plan.chunks if not chunk.request.computed]
        resumed = [chunk for chunk in plan.chunks if chunk.request.computed]
        # The compiled loops read any row, and drafts as they read single tokens. Else decoding requests are in the
        # first rows, and a draft is a chunk that is resumed.
        compiled = supports(self.kv)
        decodes = decodes if compiled else self._arranged(decodes)
        looped, resumed = (drafted, resumed) if compiled else ([], [*drafted, *resumed])
        chunks = [*looped, *fresh, *resumed]
        tokens, positions, rows = flat_tokens(decodes, chunks)
        device = self.kv.device
        count = len(decodes) + sum(chunk.count for chunk in looped)
        attend = _StepAttention(self, count, compiled, fresh, resumed, positions, rows)
        fast = self._follow_adapters([*((request, 1) for request in decodes), *((c.request, c.count) for c in chunks)])
        hidden_ND = fast.hidden(torch.from_numpy(tokens).to(device), torch.from_numpy(positions).to(device), attend)
        ends = np.cumsum([chunk.count for chunk in chunks]) + len(decodes)
        end_of = {id(chunk): int(end) for chunk, end in zip(chunks, ends, strict=True)}
        places = {id(request): range(place, place + 1) for place, request in enumerate(decodes)}
        for chunk in drafted:
            places[id(chunk.request)] = range(end_of[id(chunk)] - chunk.count, end_of[id(chunk)])
        sampled = [place for request in plan.decodes for place in places[id(request)]]
        sampled += [end_of[id(chunk)] - 1 for chunk in plan.chunks if chunk.ends_prefill]
        if sampled != list(range(len(tokens))):
            hidden_ND = hidden_ND.index_select(0, torch.tensor(sampled, dtype=torch.int64, device=device))
        return fast.logits(hidden_ND)

    def weights_changed(self) -> None:
        """Copy the model's weights again."""
        self.fast = self.adapters = None

    def close(self) -> None:
        """Free the cache and the copy of the weights."""
        self.kv, self.store = self.kv.new_empty(0), self.store.new_empty(0)
        self.fast = self.adapters = None

    def _follow_adapters(self, runs: list[tuple[Request, int]]) -> Transformer:
        """What computes a step with so many tokens of each request."""
        if self.fast is None:
            self.fast = int8_copy(self.model) if self.int8 else packed_copy(self.model)
        if self.adapters is None and any(request.adapter for request, _ in runs):
            self.adapters = StepAdapters()
            adapt_layers(self.fast, self.adapters)
        if self.adapters is not None:
            self.adapters.assign([(request.adapter, count) for request, count in runs], self.kv.device)
        return self.fast

    def _arranged(self, decodes: Sequence[Request]) -> list[Request]:
        """The decoding requests by row, after moving them to the first rows, so that attention reads one slice."""
        count, wanted = len(decodes), set(map(id, decodes))
        others = [row for row in range(count) if id(self.requests[row]) not in wanted]
        for request in decodes:
            if request.row >= count:
                self._swap(request.row, others.pop())
        return self.requests[:count]

    def _swap(self, a: int, b: int) -> None:
        self.kv[:, :, [a, b]] = self.kv[:, :, [b, a]]
        self.requests[a], self.requests[b] = self.requests[b], self.requests[a]
        self.requests[a].row, self.requests[b].row = a, b

    def _grow(self, rows: int, columns: int) -> None:
        old_rows, old_columns = self.kv.shape[2], self.kv.shape[4]
        if rows > old_rows or columns > old_columns:
            new_rows = old_rows if rows <= old_rows else min(max(rows, 2 * old_rows), self.max_rows)
            new_columns = old_columns if columns <= old_columns else min(max(columns, 2 * old_columns), self.context)
            kv = self._zeros(*self.kv.shape[:2], new_rows, self.kv.shape[3], new_columns, self.kv.shape[5])
            kv[:, :, :old_rows, :, :old_columns] = self.kv
            self.kv = kv

    def _zeros(self, *shape: int) -> torch.Tensor:
        # Zeros, since columns that are masked must be finite.
        weight = self.model.embedding.weight
        return torch.zeros(shape, dtype=compute_dtype(weight), device=weight.device)


def flat_tokens(decodes: Sequence[Request], chunks: Sequence[Chunk]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, positions and rows of a step laid end to end, int64 [N]: decoding requests, then chunks."""
    tokens = [request.ids[-1] for request in decodes]
    positions = [np.array([request.computed for request in decodes], dtype=np.int64)]
    rows = [request.row for request in decodes]
    counts = [1] * len(decodes)
    for chunk in chunks:
        start = chunk.request.computed
        tokens += chunk.tokens
        positions.append(np.arange(start, start + chunk.count))
        rows.append(chunk.request.row)
        counts.append(chunk.count)
    return np.array(tokens, dtype=np.int64), np.concatenate(positions), np.repeat(rows, counts)


class _StepAttention(LatentCache):
    """Attention of one step: writes the new keys and values into the rows, then reads the rows. The first `decoding`
    tokens are read by the compiled loops, or are one for each of the first rows."""

    def __init__(
        self,
        cache: Rows,
        decoding: int,
        compiled: bool,
        fresh: list[Chunk],
        resumed: list[Chunk],
        positions: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        self.cache, self.resumed, self.options = cache, resumed, cache.model.score_options
        _, _, _, heads, columns, _ = cache.kv.shape
        self.decoding = decoding
        self.decode_positions = positions[:decoding]
        # The lowest column and the one after the highest that a decoding row writes.
        self.first = int(self.decode_positions.min()) if decoding else 0
        self.end = int(self.decode_positions.max()) + 1 if decoding else 0
        # The kernel writes the keys and values of decoding rows itself.
        self.kernel = DecodeKernel(cache.kv, rows[:decoding], self.decode_positions) if decoding and compiled else None
        self.written = self.decoding if self.kernel else 0
        slots_NG = (rows[self.written :, None] * heads + np.arange(heads)) * columns + positions[self.written :, None]
        self.slots = torch.from_numpy(slots_NG.ravel()).to(cache.kv.device)
        fresh_lengths = [chunk.count for chunk in fresh]
        self.fresh = slice(decoding, decoding + sum(fresh_lengths))
        self.plan = attention.plan_padding(fresh_lengths, cache.kv.device) if fresh else None
        self.masks: dict[tuple[int, int | None], torch.Tensor] = {}

    def __call__(
        self,
        layer: int,
        q_NHK: torch.Tensor,
        k_NGK: torch.Tensor,
        v_NGK: torch.Tensor,
        sinks_H: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention of each token to the earlier ones of its request; returns [N, H K]."""
        fresh = self.fresh
        decoded, resumed = self._from_cache(layer, q_NHK[: fresh.start], q_NHK[fresh.stop :], k_NGK, v_NGK, sinks_H)
        if self.plan is not None:
            decoded.append(self.among_fresh(layer, q_NHK[fresh], k_NGK[fresh], v_NGK[fresh], sinks_H))
        outputs = [*decoded, *resumed]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def among_fresh(
        self, layer: int, q_NHK: torch.Tensor, k_NGK: torch.Tensor, v_NGK: torch.Tensor, sinks_H: torch.Tensor | None
    ) -> torch.Tensor:
        assert self.plan is not None
        return attention.segment_attention(q_NHK, k_NGK, v_NGK, self.plan, self.options[layer], sinks_H)

    def over_cache(self, layer: int, q_NHK: torch.Tensor, k_N1K: torch.Tensor) -> torch.Tensor:
        start = self.fresh.start
        decoded, resumed = self._from_cache(layer, q_NHK[:start], q_NHK[start:], k_N1K, k_N1K, None)
        return torch.cat([q_NHK.new_empty(0, q_NHK.shape[1] * q_NHK.shape[2]), *decoded, *resumed])

    def _from_cache(
        self, layer: int, decode_q: torch.Tensor, resume_q: torch.Tensor, k_NGK: torch.Tensor, v_NGK: torch.Tensor,
        sinks_H: torch.Tensor | None,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:  # fmt: skip
        """Write the keys and values of all tokens of the step, and attend from decoding tokens and from resumed chunks,
        whose queries these are."""
        keys, values = self.cache.kv[0, layer], self.cache.kv[-1, layer]
        options, decoded, resumed = self.options[layer], [], []
        if len(self.slots):
            for tensor, new in zip(self.cache.kv, (k_NGK, v_NGK), strict=False):  # the one tensor of latents: once
                cached, new = tensor[layer], new[self.written :]
                cached.view(-1, cached.shape[-1]).index_copy_(0, self.slots, new.flatten(0, 1).to(cached.dtype))
        if self.kernel:
            own = slice(self.decoding)
            decoded.append(self.kernel(layer, decode_q, k_NGK[own], v_NGK[own], options, sinks_H))
        elif self.decoding:
            decoded.append(self._decode(decode_q, keys, values, options, sinks_H))
        start = 0
        for number, chunk in enumerate(self.resumed):
            q_nHK, start = resume_q[start : start + chunk.count], start + chunk.count
            resumed.append(self._resume(number, chunk, q_nHK, keys, values, options, sinks_H))
        return decoded, resumed

    def _decode(
        self, q_BHK: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, options: ScoreOptions,
        sinks_H: torch.Tensor | None,
    ) -> torch.Tensor:  # fmt: skip
        """One token of each of the first rows; returns [B, H K]."""
        first, end = self.first, self.end
        start = 0 if options.window is None else max(0, first + 1 - options.window)
        keys_BGTK, values_BGTK = keys[: self.decoding, :, start:end], values[: self.decoding, :, start:end]
        mask_BT = self._mask(-1, self.decode_positions, start, end, options.window) if first + 1 < end else None
        # Query heads that share a key head take the place of several queries, so that keys are read once.
        q_BGQK = q_BHK.unflatten(1, (keys.shape[1], -1))
        mask = None if mask_BT is None else mask_BT[:, None, None]
        sinks = None if sinks_H is None else sinks_H.unflatten(0, (keys.shape[1], -1))[..., None]
        return attention.masked_attention(q_BGQK, keys_BGTK, values_BGTK, mask, options, sinks).flatten(1)

    def _resume(
        self, number: int, chunk: Chunk, q_nHK: torch.Tensor, keys: torch.Tensor, values: torch.Tensor,
        options: ScoreOptions, sinks_H: torch.Tensor | None,
    ) -> torch.Tensor:  # fmt: skip
        """A chunk whose row holds earlier tokens; returns [chunk, H K]."""
        first, end, row = chunk.request.computed, chunk.request.computed + chunk.count, chunk.request.row
        start = 0 if options.window is None else max(0, first + 1 - options.window)
        mask_nT = self._mask(number, np.arange(first, end), start, end, options.window)
        k_HTK, v_HTK = (
            attention.repeat_heads(cached[row : row + 1, :, start:end], q_nHK.shape[1]) for cached in (keys, values)
        )
        q_HnK, sinks = q_nHK.transpose(0, 1)[None], None if sinks_H is None else sinks_H[:, None, None]
        o_HnK = attention.masked_attention(q_HnK, k_HTK, v_HTK, mask_nT[None, None], options, sinks)
        return o_HnK[0].transpose(0, 1).flatten(1)

    def _mask(self, number: int, positions: np.ndarray, start: int, end: int, window: int | None) -> torch.Tensor:
        """Additive mask, [positions, end - start]: 0 where a token sees a column. Built once for all layers with this
        window; an additive mask, since a boolean one would be converted by every layer."""
        if (number, window) not in self.masks:
            distance = positions[:, None] - np.arange(start, end)
            hidden = torch.from_numpy((distance < 0) | (distance >= (window or end + 1)))
            mask = torch.zeros(hidden.shape, dtype=self.cache.kv.dtype).masked_fill_(hidden, -torch.inf)
            self.masks[number, window] = mask.to(self.cache.kv.device)
        return self.masks[number, window]
