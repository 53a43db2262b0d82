"""Samples from an endpoint, also while training goes on here.

With a staleness of s, the samples of the next s rollouts are begun while the model trains on the present one. With
every rollout the endpoint gets the weights as they are, and each of these samples goes on by one part, of `part_tokens`
at most. So a long answer is paused while weights change, and nobody waits for it before its rollout is due; its tokens
may be of several weights, the oldest of them s rollouts old. What is written by which weights is a function of the
settings alone: where the endpoint draws by the seeds that it is given, as Tutelage's own server does, a run that was
killed resumes with the samples that it would have had.
"""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tutelage.client import Client, EndpointSettings
from tutelage.engine.remote import RemoteEngine, RemoteRequest
from tutelage.engine.requests import FinishReason, Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.weights_digest import weights_digest
from tutelage.model.hub import save_tensors
from tutelage.model.transformer import Transformer
from tutelage.rl.prompts import DrawnPrompt
from tutelage.rl.turns import Written
from tutelage.train.distributed import barrier, is_main_process

OWN_SERVER = "tutelage"


class RemoteEngineSettings(EndpointSettings, frozen=True, kw_only=True):
    """The endpoint that writes samples: `url`, `model` and the rest are those of `tutelage.client.EndpointSettings`.

    reload:      how it gets new weights. "tutelage": from `tutelage serve --weights-from DIR`, where DIR holds the run;
                 every answer then proves its weights by their digest. "package.module:function": a function of yours,
                 called with the folder of a model whose weights the endpoint must use when it returns; nothing proves
                 it but the figure `mismatch`.
    staleness:   rollouts that the weights that wrote a token may be older than those that are trained.
    part_tokens: tokens that a sample of a later rollout goes on by while the model trains. None: all.
    """

    reload: str = OWN_SERVER
    staleness: Annotated[int, msgspec.Meta(ge=0)] = 0
    part_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


class RemoteMismatch(RuntimeError):
    """An answer cannot be trained on: other weights wrote it, or its ids or log-probabilities are missing."""


class Draft(msgspec.Struct):
    """A sample so far; `oldest` is the rollout whose weights wrote its first token. None: it has not ended."""

    oldest: int
    tokens: list[int] = []
    logprobs: list[float] = []
    finish_reason: FinishReason | None = None


Key = tuple[int, int]  # id of the drawn prompt, number of the sample


@dataclass(eq=False)
class RemoteWriter:
    """Writes samples at an endpoint.

    publish: makes the weights of a model those of the endpoint; gets the model and an empty folder.
    drafts:  samples of later rollouts, as far as they are written.
    """

    engine: RemoteEngine
    settings: RemoteEngineSettings
    sampling: SamplingSettings
    stop_ids: frozenset[int]
    group_size: int
    folder: Path
    publish: Callable[[Transformer, Path], None]
    drafts: dict[Key, Draft] = field(default_factory=dict)
    _loaded: str = ""
    _thread: threading.Thread | None = None
    _errors: list[BaseException] = field(default_factory=list)

    def write(self, model: Transformer, drawn: Sequence[DrawnPrompt], rollout: int) -> list[list[Written]]:
        """The samples of a rollout that is due: what was begun is finished by the present weights.

        Raises:
            EndpointError: the endpoint cannot be used.
            RemoteMismatch: an answer cannot be trained on.
        """
        self.wait()
        self._load(model)
        self._go_on(drawn, rollout, None)
        return [[self._take(one, sample, rollout) for sample in range(self.group_size)] for one in drawn]

    def begin(self, drawn: Sequence[DrawnPrompt], rollout: int) -> None:
        """Let the samples of later rollouts go on by a part, while the caller does something else."""
        keep = {(one.id, sample) for one in drawn for sample in range(self.group_size)}
        self.drafts = {key: draft for key, draft in self.drafts.items() if key in keep}

        def work() -> None:
            try:
                self._go_on(drawn, rollout, self.settings.part_tokens)
            except BaseException as error:  # raised by `wait`, in the thread that trains
                self._errors.append(error)

        self._thread = threading.Thread(target=work, name="rollouts", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until what `begin` started is done; raises what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._errors:
            raise self._errors.pop()

    def state(self) -> list[list[Any]]:
        """The drafts as plain data, once nothing is written any more."""
        self.wait()
        return [[*key, msgspec.to_builtins(draft)] for key, draft in self.drafts.items()]

    def restore(self, state: Iterable[Sequence[Any]]) -> None:
        """The drafts of `state`."""
        self.drafts = {(prompt, sample): msgspec.convert(draft, Draft) for prompt, sample, draft in state}

    def _load(self, model: Transformer) -> None:
        """Give the endpoint the present weights, if it has others. All processes must call it."""
        digest = weights_digest(model)
        if digest != self._loaded:
            if is_main_process():
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
                self.publish(model, self.folder)
            barrier()
            self._loaded = digest

    def _go_on(self, drawn: Sequence[DrawnPrompt], rollout: int, part: int | None) -> None:
        """Let the samples of these prompts go on, each to its end or by a part."""
        asked: list[tuple[Draft, RemoteRequest]] = []
        for one in drawn:
            for sample in range(self.group_size):
                draft = self.drafts.setdefault((one.id, sample), Draft(rollout))
                if draft.finish_reason is None:
                    asked.append((draft, self._ask(one, sample, draft, part)))
        self.engine.run()
        for draft, request in asked:
            self._append(draft, request)

    def _ask(self, drawn: DrawnPrompt, sample: int, draft: Draft, part: int | None) -> RemoteRequest:
        left = self.sampling.max_tokens - len(draft.tokens)
        settings = msgspec.structs.replace(self.sampling, max_tokens=left if part is None else min(part, left))
        ids = [*drawn.prompt.ids.tolist(), *draft.tokens]
        return self.engine.add(ids, self.stop_ids, settings, drawn.id, sample, len(draft.tokens))

    def _append(self, draft: Draft, request: RemoteRequest) -> None:
        generation = request.generation
        self._check(request)
        draft.tokens += generation.tokens
        draft.logprobs += generation.sample_logprobs
        paused = generation.finish_reason == "length" and len(draft.tokens) < self.sampling.max_tokens
        draft.finish_reason = None if paused else generation.finish_reason

    def _check(self, request: RemoteRequest) -> None:
        generation, url = request.generation, self.engine.client.settings.url
        if not request.exact or len(generation.sample_logprobs) != len(generation.tokens):
            raise RemoteMismatch(
                f"{url} sent no ids, or no log-probabilities, of an answer; samples need both (return_token_ids)"
            )
        if any(map(math.isnan, generation.sample_logprobs)):
            raise RemoteMismatch(f"{url} sends log-probabilities of another temperature than samples are drawn at")
        if not generation.tokens or (generation.finish_reason == "stop" and generation.stop_token is None):
            raise RemoteMismatch(f"{url} ended an answer without its stop token, which could not be trained")
        if self.settings.reload == OWN_SERVER and generation.weights != self._loaded:
            raise RemoteMismatch(
                f"samples were written by the weights {generation.weights}, and the weights that {url} got are "
                f"{self._loaded}"
            )

    def _take(self, drawn: DrawnPrompt, sample: int, rollout: int) -> Written:
        draft = self.drafts.pop((drawn.id, sample))
        assert draft.finish_reason is not None
        assert rollout - draft.oldest <= self.settings.staleness
        stop = draft.tokens[-1] if draft.finish_reason == "stop" else None
        generation = Generation(draft.tokens, [], draft.logprobs, draft.finish_reason, stop, self._loaded)
        return Written(generation, age=rollout - draft.oldest)


def publish_to_own_server(client: Client, model: Transformer, folder: Path) -> None:
    """Write the weights into the folder, and have `tutelage serve` read them.

    Raises:
        EndpointError: it did not take them; it must see the folder, and be allowed to read there.
        RemoteMismatch: it has others now.
    """
    digest, path = weights_digest(model), folder.resolve() / "weights.safetensors"
    save_tensors(path, {name: p for name, p in model.named_parameters() if not name.startswith("heads.")})
    answer: Mapping[str, Any] = msgspec.json.decode(
        client.call("/weights", {"model": client.settings.model, "path": str(path)})
    )
    if answer.get("weights") != digest:
        raise RemoteMismatch(f"the endpoint has the weights {answer.get('weights')}, and was given {digest}")
