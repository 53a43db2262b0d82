"""The adversarial compression ratio: how short a prompt makes the model write a text exactly?

A text is memorised where its shortest prompt has fewer tokens than the text (Schwarzschild et al. 2024, arXiv
2404.15146, definition 1). Prompts are searched for with greedy coordinate gradient (GCG: Zou et al. 2023, arXiv
2307.15043, algorithm 1): the gradient of the loss by the one-hot prompt proposes tokens to swap, and the best of a
batch of swaps is kept. The search may miss a prompt, so that a ratio is a lower bound.

Shapes: B candidate prompts, L tokens of a prompt, T tokens of the target, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tutelage.model.hub import Checkpoint
from tutelage.model.transformer import Transformer


@dataclass(frozen=True)
class GcgSettings:
    """How long to search.

    steps:      for a prompt length.
    candidates: swaps that are scored in a step.
    top:        tokens that the gradient proposes for each place.
    seed:       of the swaps.
    """

    steps: int = 100
    candidates: int = 64
    top: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Compression:
    """The shortest prompt that was found, as ids and as text, and tokens of the target per token of it; None where none
    shorter than the target was found."""

    target_tokens: int
    ids: tuple[int, ...] | None
    prompt: str | None

    @property
    def ratio(self) -> float | None:
        return None if self.ids is None else self.target_tokens / len(self.ids)

    def to_plain(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {"ratio": self.ratio, "target_tokens": self.target_tokens, "prompt": self.prompt}


def compress(checkpoint: Checkpoint, text: str, settings: GcgSettings) -> Compression:
    """The adversarial compression of a text. The length of the prompt doubles until one is found, then the lengths
    between are searched by halves.

    Raises:
        ValueError: transformers holds the model; or the text has fewer than two tokens, or twice its tokens do not fit
            into the context.
    """
    tokenizer, model = checkpoint.tokenizer, checkpoint.model
    if model.config.hf_parameters is not None:
        raise ValueError("the search for short prompts needs an architecture of Tutelage's own; leave --acr out")
    target_T = torch.from_numpy(tokenizer.encode(text).astype(np.int64)).to(model.embedding.weight.device)
    opening = torch.from_numpy(tokenizer.document_edges[0].astype(np.int64)).to(target_T)
    if len(target_T) < 2 or len(opening) + 2 * len(target_T) > model.config.context:
        raise ValueError(
            f"a text to compress has 2 tokens or more, twice as many in the context; not {len(target_T):,}"
        )
    allowed = np.setdiff1d(np.arange(tokenizer.vocab_size), list(tokenizer.special_tokens.values()))
    search = _Search(model, opening, target_T, torch.from_numpy(allowed).to(target_T), settings)
    failed, length = 0, 1
    while (found := search.prompt(length)) is None:
        if length == len(target_T) - 1:
            return Compression(len(target_T), None, None)
        failed, length = length, min(2 * length, len(target_T) - 1)
    while length - failed > 1:
        middle = (length + failed) // 2
        shorter = search.prompt(middle)
        found, length, failed = (found, length, middle) if shorter is None else (shorter, middle, failed)
    ids = found.tolist()
    return Compression(len(target_T), tuple(ids), tokenizer.decode(ids))


@dataclass(frozen=True)
class _Search:
    model: Transformer
    opening: torch.Tensor
    target_T: torch.Tensor
    allowed: torch.Tensor
    settings: GcgSettings

    def prompt(self, length: int) -> torch.Tensor | None:
        """A prompt of this length that makes the model write the target, int64 [L]; None where none was found."""
        generator = torch.Generator().manual_seed(self.settings.seed + length)
        # The text's own beginning is a better start than random tokens: it holds the rare words.
        prompt_L = self.target_T[:length].clone()
        for _ in range(self.settings.steps):
            candidates_BL = torch.cat([prompt_L[None], self._swapped(prompt_L, self._proposals(prompt_L), generator)])
            loss_B, exact_B = self._scored(candidates_BL)
            if exact_B.any():
                return candidates_BL[exact_B.nonzero()[0, 0]]
            prompt_L = candidates_BL[1 + int(loss_B[1:].argmin())]
        return None

    def _proposals(self, prompt_L: torch.Tensor) -> torch.Tensor:
        """The tokens that would lower the loss most at each place, to the first order: [L, top]."""
        table_VD = self.model.embedding.weight.detach()
        begin = len(self.opening)
        delta_LD = torch.zeros(len(prompt_L), table_VD.shape[1], dtype=table_VD.dtype, device=table_VD.device)
        delta_LD.requires_grad_(True)

        def shift(_: object, __: object, out_ND: torch.Tensor) -> torch.Tensor:
            return torch.cat(
                [out_ND[:begin], out_ND[begin : begin + len(prompt_L)] + delta_LD, out_ND[begin + len(prompt_L) :]]
            )

        handle = self.model.embedding.register_forward_hook(shift)
        try:
            logits_TV = self._logits(prompt_L[None])[0]
            loss = torch.nn.functional.cross_entropy(logits_TV.float(), self.target_T)
            (slope_LD,) = torch.autograd.grad(loss, delta_LD)
        finally:
            handle.remove()
        scores_LV = -slope_LD @ table_VD[self.allowed].T
        return self.allowed[scores_LV.topk(min(self.settings.top, len(self.allowed)), dim=1).indices]

    def _swapped(self, prompt_L: torch.Tensor, proposals: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Copies of the prompt with one token swapped each: [B, L]."""
        count, device = self.settings.candidates, prompt_L.device
        places = torch.randint(len(prompt_L), (count,), generator=generator).to(device)
        picks = torch.randint(proposals.shape[1], (count,), generator=generator).to(device)
        copies_BL = prompt_L.repeat(count, 1)
        copies_BL[torch.arange(count, device=device), places] = proposals[places, picks]
        return copies_BL

    @torch.inference_mode()
    def _scored(self, prompts_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of the target after each prompt, and whether greedy decoding gives it: [B] each."""
        logits_BTV = self._logits(prompts_BL)
        target_BT = self.target_T.expand(len(prompts_BL), -1)
        loss_BT = torch.nn.functional.cross_entropy(
            logits_BTV.flatten(0, 1).float(), target_BT.flatten(), reduction="none"
        )
        return loss_BT.view(target_BT.shape).mean(1), (logits_BTV.argmax(2) == target_BT).all(1)

    def _logits(self, prompts_BL: torch.Tensor) -> torch.Tensor:
        """The logits that predict the target after each prompt: [B, T, V]."""
        rows, length = prompts_BL.shape
        parts = [self.opening.expand(rows, -1), prompts_BL, self.target_T[:-1].expand(rows, -1)]
        tokens_BN = torch.cat(parts, 1)
        size = tokens_BN.shape[1]
        positions_N = torch.arange(size, device=tokens_BN.device).repeat(rows)
        attend = self.model.within_segments((size,) * rows)
        hidden_ND = self.model.hidden(tokens_BN.flatten(), positions_N, attend)
        kept = hidden_ND.view(rows, size, -1)[:, len(self.opening) + length - 1 :]
        return self.model.logits(kept.flatten(0, 1)).view(rows, len(self.target_T), -1)
