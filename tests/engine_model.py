"""A small model for tests of the engine, and what it answers to a request that is alone."""

from __future__ import annotations

import numpy as np
import torch

from tutelage.engine.adapters import LoraAdapter
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.speculation import Payoff
from tutelage.model.sizes import ModelConfig, ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise

VOCAB, CONTEXT = 23, 90
NEVER: frozenset[int] = frozenset()
STOP = frozenset({3})


def make_model(seed: int = 2, **changes: object) -> Transformer:
    """Float64; weights large enough that the next token depends on all tokens before it."""
    shape = ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=CONTEXT)
    config = resolve(shape, VOCAB)
    fields = {name: getattr(config, name) for name in config.__struct_fields__}
    model = initialise(Transformer(ModelConfig(**{**fields, **changes})), seed).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(12)
    return model


MODEL = make_model()
ALONE: dict[tuple[object, ...], Generation] = {}
Injections = tuple[tuple[int, tuple[int, ...]], ...]


def prompt(family: int, length: int) -> list[int]:
    """Prompts of one family share their beginnings."""
    return np.random.default_rng(family).integers(4, VOCAB, CONTEXT).tolist()[:length]


def alone(
    model: Transformer,
    ids: list[int],
    sampling: SamplingSettings,
    prompt_id: int = 0,
    sample: int = 0,
    adapter: LoraAdapter | None = None,
    injected: Injections = (),
) -> Generation:
    """The answer of an engine that has nothing else to do, and no prefix cache."""
    key = (id(model), tuple(ids), sampling, prompt_id, sample, adapter, injected)
    if key not in ALONE:
        engine = Engine(model, EngineSettings(max_rows=1, prefix_cache="none"))
        request = engine.add(ids, STOP, sampling, prompt_id, sample, adapter=adapter)
        results: dict[int, list[int]] = {}  # a request may be paused twice before it writes on
        for written, result in injected:
            results.setdefault(written, []).extend(result)
        for written, joined in results.items():
            while len(request.generation.tokens) < written:
                engine.step()
            engine.pause(request)
            engine.resume(request, joined)
        engine.run()
        ALONE[key] = request.generation
    return ALONE[key]


class AlwaysPays(Payoff):
    """Guess tokens in every step, whatever it costs."""

    def allows(self) -> bool:
        return True

    def note(self, seconds: float, tokens: int, drafted: bool) -> None:
        """Learn nothing."""
