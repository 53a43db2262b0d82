"""Models held by `transformers` behind the interface of `Rows`, without paging: batches are static. Requests start
together when none runs, prompts are read whole, and there is no prefix cache, since how such a model keeps keys and
values differs by architecture."""

from __future__ import annotations

import numpy as np
import torch

from tutelage.engine.requests import Request, StepPlan
from tutelage.model.hf_model import HFCache, HFModel, hf_prefill

# Finished rows are removed once less than this share is unfinished: copying the cache whenever a row finishes costs
# about as much as the steps it saves.
COMPACT_BELOW = 0.75


class StaticRows:
    """The key-value cache of transformers for the requests of one batch."""

    static = True

    def __init__(self, model: HFModel) -> None:
        self.model = model
        self.cache: HFCache | None = None
        self.requests: list[Request | None] = []  # by row; None: finished

    def admit(self, request: Request, expected: int) -> None:
        """Give a request the next row; transformers grows its cache by itself."""
        request.row = len(self.requests)
        self.requests.append(request)

    def remove(self, request: Request) -> None:
        """Mark a request's row as finished; the cache goes with the last one."""
        self.requests[request.row], request.row = None, -1
        if not any(self.requests):
            self.cache, self.requests = None, []

    def save(self, request: Request, place: int, page: int) -> None:
        """Not called: such models have no prefix cache."""
        raise AssertionError("a model held by transformers has no pages")

    def weights_changed(self) -> None:
        """transformers computes with the model's weights themselves."""

    def close(self) -> None:
        """Free the cache."""
        self.cache = None

    def forward(self, plan: StepPlan) -> torch.Tensor:
        """Run a step; returns logits as `Rows.forward` does."""
        if plan.chunks:
            prompts = [np.array(chunk.request.ids) for chunk in plan.chunks]
            self.cache, logits_BV = hf_prefill(self.model, prompts)
            return logits_BV
        assert self.cache is not None
        rows = [row for row, request in enumerate(self.requests) if request is not None]
        if len(rows) < COMPACT_BELOW * len(self.requests):
            self.cache.keep(torch.tensor(rows))
            self.requests = [self.requests[row] for row in rows]
            for row, request in enumerate(self.requests):
                if request is not None:
                    request.row = row
        # A finished row reads the first token again and again; nobody reads its logits.
        tokens = torch.tensor([0 if request is None else request.ids[-1] for request in self.requests])
        positions = torch.tensor([0 if request is None else request.computed for request in self.requests])
        device = self.model.embedding.weight.device
        logits_RV = self.cache.step(tokens.to(device), positions.to(device))
        return logits_RV[[request.row for request in plan.decodes]]
