"""The engine: one loop that evaluation, sampling during training, chat and serving share.

`Engine.add` queues a request, `Engine.step` runs one forward pass for everybody, `Engine.cancel` ends a request in
whatever state it is, `Engine.run` steps until nothing is left. `generate` does all of it for a list of prompts. An
engine belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import cast

import numpy as np
import torch

from tutelage.engine.adapters import LoraAdapter
from tutelage.engine.pages import PAGE, PagePool, Parent
from tutelage.engine.requests import FinishReason, Generation, Request, StepPlan
from tutelage.engine.rows import Rows
from tutelage.engine.sampling import DrawStream, SamplingSettings
from tutelage.engine.scheduler import Scheduler, pages_for
from tutelage.engine.settings import EngineSettings as EngineSettings
from tutelage.engine.speculation import make_speculation
from tutelage.engine.static_rows import StaticRows
from tutelage.engine.text_stream import TextStream
from tutelage.engine.token_choice import choose_tokens
from tutelage.engine.weights_digest import weights_digest
from tutelage.model.few_rows import log_sum_exp
from tutelage.model.hf_model import HFModel
from tutelage.model.transformer import Transformer
from tutelage.process import keep_freed_memory, release_freed_memory


class Engine:
    """Runs requests over one model. Its weights must not change while requests run; after they have changed, call
    `weights_changed`. `draft_model` is a smaller model with the same tokenizer, which guesses tokens; with it, sampled
    tokens have the same distribution as without, but are others.

    Raises:
        ValueError: the settings do not fit the model, or the draft model does not.
    """

    def __init__(
        self,
        model: Transformer | HFModel,
        settings: EngineSettings | None = None,
        draft_model: Transformer | None = None,
    ) -> None:
        settings = settings or EngineSettings()
        foreign = model.config.hf_parameters is not None
        if foreign and settings.int8:
            raise ValueError("int8 needs one of the built-in model families; this model is held by transformers")
        if not model.config.causal:
            raise ValueError("this model reads in both directions, so it cannot write; use a causal model")
        self.model, self.settings = model, settings
        self.rows: Rows | StaticRows = (
            StaticRows(cast(HFModel, model))
            if foreign
            else Rows(cast(Transformer, model), settings.max_rows, settings.int8)
        )
        self.prefix_cache = "none" if foreign else settings.prefix_cache
        enough = settings.max_rows * pages_for(model.config.context + 1)
        self.pool = PagePool(enough if settings.pages is None or foreign else settings.pages)
        self.scheduler = Scheduler(
            self.pool, settings.max_rows, settings.chunk_tokens, settings.queue, foreign,
            self._match, self.rows.admit, self._preempt,
        )  # fmt: skip
        self.speculation = make_speculation(model, settings.speculate, settings.max_rows, draft_model)
        self.weights = self._digest()
        self.arrivals = 0

    def add(
        self,
        prompt: Sequence[int] | np.ndarray,
        stop_ids: frozenset[int],
        settings: SamplingSettings,
        prompt_id: int = 0,
        sample: int = 0,
        text: TextStream | None = None,
        process: Callable[[Request, torch.Tensor], torch.Tensor] | None = None,
        adapter: LoraAdapter | None = None,
        pause_ids: frozenset[int] = frozenset(),
    ) -> Request:
        """Queue a prompt. Its random draws are a function of (seed, prompt_id, sample, position). `text` gets every
        token but the stop token, and is flushed at the end; its stop strings end the request. `process` gets the
        request and the model's logits, [V], and returns those to draw from: biased, or masked by a grammar. `adapter`
        is computed beside the model's weights. After a token of `pause_ids` the request is paused; see `resume`.

        Raises:
            QueueFullError: as many requests wait as may.
            ValueError: the prompt is empty, or leaves no room in the context or in the cache; or the model cannot do
                what is asked.
        """
        if self.rows.static and (adapter or pause_ids):
            raise ValueError("a model held by transformers has no adapters by request, and cannot be paused")
        ids = [int(token) for token in prompt]
        check_prompt(ids, self.model.config.context, "the prompt")
        draws = DrawStream(settings.seed, prompt_id, sample)
        generation = Generation(weights=self._root(adapter))
        request = Request(
            self.arrivals, len(ids), ids, settings, stop_ids, draws, generation, text, process, adapter, pause_ids
        )
        self.scheduler.add(request)
        self.arrivals += 1
        return request

    def cancel(self, request: Request) -> None:
        """End a request in whatever state it is. Its pages are free at once; a finished one stays as it is."""
        if request.state != "finished":
            self._finish(request, "cancelled")

    def pause(self, request: Request) -> None:
        """Take a running request that has written something out of the batch: until a tool has answered, for example.
        It keeps its keys and values; if others need the room, they are computed again.

        Raises:
            ValueError: it does not run, has written nothing yet, or the model is held by transformers.
        """
        if self.rows.static or request.state != "running" or not request.generation.tokens:
            raise ValueError("only a request that runs and has written a token can be paused")
        if self.prefix_cache != "none":
            self._publish(request)
        for place in range(request.published, pages_for(request.computed)):
            self.rows.save(request, place, request.pages[place])
        self._leave(request)
        self.scheduler.pause(request)

    def resume(self, request: Request, ids: Sequence[int]) -> None:
        """Let a paused request go on after `ids`, which it reads as if it had written them. They do not count as
        sampled tokens.

        Raises:
            ValueError: it is not paused, or the context or the cache has no room for the ids; it stays paused.
        """
        if request.state != "paused":
            raise ValueError(f"the request is {request.state}; only a paused one can be resumed")
        check_prompt([*request.ids, *ids], self.model.config.context, "the answer so far with what is injected")
        self.scheduler.check_room(len(request.ids) + len(ids))
        if len(ids):
            request.generation.injected.append((len(request.generation.tokens), [int(token) for token in ids]))
            request.ids += request.generation.injected[-1][1]
        self.scheduler.resume(request)

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """One forward pass; returns the requests that have a new token or ended. Empty when nothing is left to do."""
        full = self.scheduler.make_room()
        if full is not None:
            self._finish(full, "length")
            return [full]
        plan = self.scheduler.plan()
        if not plan.decodes and not plan.chunks:
            return []
        if self.speculation is not None:
            self.speculation.begin(plan, self.pool, len(self.scheduler.running))
        logits_BV = self.rows.forward(plan)
        advanced = self._advance(plan)
        self._sample_step(advanced, logits_BV)
        if self.speculation is not None:
            self.speculation.end(plan)
        return advanced

    def run(self, progress: Callable[[list[Request]], None] = lambda requests: None) -> None:
        """Step until nothing is left; `progress` gets the requests that ended in each step."""
        while self.scheduler.waiting or self.scheduler.running:
            progress([request for request in self.step() if request.state == "finished"])

    def stream(self, request: Request) -> Iterator[int]:
        """Step until a request has ended or is paused, and yield its tokens without the stop token. Closing the
        iterator cancels a request that has done neither."""
        seen = len(request.generation.content)
        try:
            while request.state in ("waiting", "running") or seen < len(request.generation.content):
                if seen == len(request.generation.content):
                    self.step()
                for token in request.generation.content[seen:]:
                    seen += 1
                    yield token
        finally:
            if request.state != "paused":
                self.cancel(request)

    def weights_changed(self) -> None:
        """Take note of new weights: nothing that the old ones computed is used any more.

        Raises:
            RuntimeError: requests run or are paused; their cache belongs to the old weights.
        """
        if self.scheduler.running or self.scheduler.paused or any(request.pages for request in self.scheduler.waiting):
            raise RuntimeError("the weights changed while requests run or are paused; finish or cancel them first")
        self.weights = self._digest()
        self.rows.weights_changed()
        for request in self.scheduler.waiting:
            request.generation.weights = self._root(request.adapter)

    def check(self) -> None:
        """Check that every page is accounted for; see `PagePool.check`."""
        scheduler = self.scheduler
        self.pool.check(r.pages for r in (*scheduler.running, *scheduler.paused, *scheduler.waiting))

    def _root(self, adapter: LoraAdapter | None) -> str:
        """What keys and values belong to beside their tokens: the weights that compute them."""
        return self.weights if adapter is None else f"{self.weights} adapter {adapter.digest}"

    def _digest(self) -> str:
        return weights_digest(self.model) + (" int8" if self.settings.int8 else "")

    def _advance(self, plan: StepPlan) -> list[Request]:
        """Note what the step has computed; returns the requests that its logits belong to, in their order."""
        advanced = list(plan.decodes)
        for request in plan.decodes:
            request.computed += 1
        for chunk in plan.chunks:
            if chunk.ends_prefill:
                advanced.append(chunk.request)
            chunk.request.computed += chunk.count
            if self.prefix_cache != "none" and chunk.request.computed >= self.settings.min_prefix:
                self._publish(chunk.request)
        return advanced

    def _sample_step(self, requests: list[Request], logits_BV: torch.Tensor) -> None:
        """Draw a token of each request, and further ones where the tokens before them are those of its draft."""
        counts = [1 + len(request.draft.tokens) if request.draft else 1 for request in requests]
        places = [end - count for end, count in zip(accumulate(counts), counts, strict=True)]
        while requests:
            self._sample(requests, logits_BV if len(requests) == len(logits_BV) else logits_BV[places])
            agreed = [place for place, request in enumerate(requests) if request.accept_drafted()]
            requests, places = [requests[place] for place in agreed], [places[place] + 1 for place in agreed]

    def _sample(self, requests: list[Request], logits_BV: torch.Tensor) -> None:
        """Draw the next token of each request, and end those that are done. Rows of the vocabulary without a token are
        never drawn, but the model's log-probability counts them, as training does."""
        tokens_B, sample_logprobs_B = choose_tokens(requests, logits_BV[:, : self.model.token_count])
        logprobs_B = logits_BV.gather(1, tokens_B[:, None])[:, 0] - log_sum_exp(logits_BV)
        context = self.model.config.context
        for request, token, logprob, sample_logprob in zip(
            requests, tokens_B.tolist(), logprobs_B.tolist(), sample_logprobs_B.tolist(), strict=True
        ):
            generation = request.generation
            request.ids.append(token)
            generation.tokens.append(token)
            generation.logprobs.append(logprob)
            generation.sample_logprobs.append(sample_logprob)
            if token in request.stop_ids:
                generation.stop_token = token
                self._finish(request, "stop")
                continue
            if request.text is not None:
                request.text.push(token)
            if request.text is not None and request.text.stopped:
                self._finish(request, "stop")
            elif len(generation.tokens) >= request.settings.max_tokens:
                self._finish(request, "length")
            elif len(request.ids) > context:
                self._finish(request, "context")
            elif token in request.pause_ids:
                self.pause(request)

    def _match(self, request: Request) -> list[int]:
        """Cached pages of the beginning of a request, if they are worth using."""
        if self.prefix_cache == "none":
            return []
        pages = self.pool.match(request.generation.weights, request.ids)
        if len(pages) * PAGE < self.settings.min_prefix:
            self.pool.release(pages)
            pages = []
        if not request.generation.tokens:
            request.generation.cached_tokens = len(pages) * PAGE
        return pages

    def _publish(self, request: Request) -> None:
        """Put the full, computed pages of a request into the prefix index."""
        for place in range(request.published, request.computed // PAGE):
            parent: Parent = request.pages[place - 1] if place else request.generation.weights
            own = request.pages[place]
            page = self.pool.publish(parent, request.ids[place * PAGE : (place + 1) * PAGE], own)
            if page == own:
                self.rows.save(request, place, page)
            request.pages[place] = page
            request.published = place + 1

    def _preempt(self, request: Request) -> None:
        """Before a request gives up its pages: what it has computed stays in the prefix index while there is room."""
        if self.prefix_cache != "none":
            self._publish(request)
        self._leave(request)

    def _leave(self, request: Request) -> None:
        """A running request gives up its row."""
        self.rows.remove(request)
        if self.speculation is not None:
            self.speculation.forget(request)

    def _finish(self, request: Request, reason: FinishReason) -> None:
        if request.state == "running":
            if self.prefix_cache == "all":
                self._publish(request)
            self._leave(request)
        self.scheduler.remove(request)
        if request.text is not None:
            request.text.flush()
        request.state, request.generation.finish_reason = "finished", reason


def check_prompt(ids: Sequence[int] | np.ndarray, context: int, name: str) -> None:
    """Refuse a prompt that cannot be continued.

    Raises:
        ValueError: it is empty, or leaves no room in the context.
    """
    if not len(ids):
        raise ValueError(f"{name} is empty; there is nothing to continue from")
    if len(ids) >= context:
        raise ValueError(f"{name} has {len(ids)} tokens; the context of {context} leaves no room to answer")


def generate(
    model: Transformer | HFModel,
    prompts: Sequence[np.ndarray],
    stop_ids: frozenset[int],
    settings: SamplingSettings,
    *,
    batch: int = 256,
    done: Callable[[int], None] = lambda prompts: None,
) -> list[Generation]:
    """Continue every prompt, at most `batch` at once; results are in the prompts' order. The random draws of a prompt
    depend on its number and the seed. `done` is called with the number of prompts that were finished since its last
    call.

    Raises:
        ValueError: a prompt is empty, or leaves no room in the context.
    """
    if not len(prompts):
        return []
    keep_freed_memory()
    context = model.config.context
    for number, prompt in enumerate(prompts):
        check_prompt(prompt, context, f"prompt {number + 1}")
    engine = Engine(model, EngineSettings(max_rows=min(batch, len(prompts)), prefix_cache="prompts"))
    # Prompts of similar length run together: attention reads all rows up to the longest one's last column. The longest
    # come first, so that the cache has its final size at once.
    order = np.argsort([-len(prompt) for prompt in prompts], kind="stable").tolist()
    requests = {i: engine.add(prompts[i], stop_ids, settings, prompt_id=i) for i in order}

    def report(finished: list[Request]) -> None:
        if finished:
            done(len(finished))

    engine.run(report)
    generations = [requests[i].generation for i in range(len(prompts))]
    # The engine is a part of cycles, which Python frees late; and the cache of the next call would not fit into the
    # gaps that the growth of this one has left.
    engine.rows.close()
    release_freed_memory()
    return generations
