"""Drafts by a smaller model with the same tokenizer (Leviathan et al. 2022, arXiv 2211.17192; Chen et al. 2023, arXiv
2302.01318). It keeps rows of keys and values of its own, which the page pool does not count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from tutelage.engine.requests import Chunk, Draft, Request, StepPlan
from tutelage.engine.rows import Rows
from tutelage.engine.sampling import DrawStream, draw, probabilities
from tutelage.model.transformer import Transformer

DRAFT_TOKENS, ACCEPTANCE = 1, 2  # purposes of random numbers; see DrawStream


@dataclass(eq=False)
class _Shadow:
    """A request as the draft model reads it: the original's ids, of which there were `known` when it was drafted for
    last, and that draft."""

    request: Request
    tokens: DrawStream
    acceptance: DrawStream
    known: int = 0


class ModelDrafter:
    """Drafts for requests of an engine, `max_rows` at once, by another model."""

    def __init__(self, model: Transformer, max_rows: int) -> None:
        self.model = model
        self.rows = Rows(model, max_rows)
        self.shadows: dict[Request, _Shadow] = {}

    def draft(self, wanted: Sequence[tuple[Request, int]]) -> None:
        """Set a draft of up to so many tokens for each request; none beyond the draft model's context. Greedy requests
        get its most likely tokens, others tokens drawn with their own settings."""
        room = {request: min(most, self.model.config.context - len(request.ids)) for request, most in wanted}
        active = [request for request, most in room.items() if most > 0]
        for request in active:
            self._catch_up(request)
            request.draft = Draft([])
        while active:
            shadows = [self.shadows[request].request for request in active]
            decodes = [shadow for shadow in shadows if shadow.decodes]
            chunks = [Chunk(s, len(s.ids) - s.computed) for s in shadows if not s.decodes]
            logits_BV = self.rows.forward(StepPlan(decodes, chunks))[:, : self.model.token_count]
            order = [*decodes, *(chunk.request for chunk in chunks)]
            row_of = {id(shadow): row for row, shadow in enumerate(order)}
            for request, shadow in zip(active, shadows, strict=True):
                shadow.computed = len(shadow.ids)
                shadow.ids.append(self._draw(request, logits_BV[row_of[id(shadow)]]))
            active = [request for request in active if len(_draft(request).tokens) < room[request]]

    def forget(self, request: Request) -> None:
        """The request has ended, or gave up its row."""
        shadow = self.shadows.pop(request, None)
        if shadow is not None:
            self.rows.remove(shadow.request)

    def _catch_up(self, request: Request) -> None:
        """Take over what was written since the last draft; keys and values of rejected tokens are computed again."""
        shadow = self.shadows.get(request)
        if shadow is None:
            copy = replace(request, ids=list(request.ids), computed=0, pages=[], adapter=None)
            tokens, acceptance = (DrawStream(*request.draws.origin, purpose) for purpose in (DRAFT_TOKENS, ACCEPTANCE))
            shadow = self.shadows[request] = _Shadow(copy, tokens, acceptance)
            self.rows.admit(copy, len(self.shadows))
        ids, same = shadow.request.ids, shadow.known
        while same < min(len(ids), len(request.ids)) and ids[same] == request.ids[same]:
            same += 1
        shadow.request.computed = min(shadow.request.computed, same)
        ids[same:] = request.ids[same:]
        shadow.known = len(ids)

    def _draw(self, request: Request, logits_V: torch.Tensor) -> int:
        """The next token of the draft, and what is needed to verify it."""
        draft, settings = _draft(request), request.settings
        if settings.temperature == 0:
            token = int(logits_V.argmax())
        else:
            place = len(request.generation.tokens) + len(draft.tokens)
            q_V = probabilities(logits_V, settings)
            token = draw(q_V, self.shadows[request].tokens[place])
            draft.probabilities.append(q_V)
            draft.uniforms.append(self.shadows[request].acceptance[place])
        draft.tokens.append(token)
        return token


def _draft(request: Request) -> Draft:
    assert request.draft is not None
    return request.draft
