"""What a model writes, for a person to read while it trains."""

from __future__ import annotations

import numpy as np

from tutelage.batching.store import Store
from tutelage.chat.render.template import END
from tutelage.engine.decode import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import Checkpoint
from tutelage.records import Example
from tutelage.tokenizer import END_OF_TEXT

OPENING = 12  # tokens of a document that are given, where nothing in it is a prompt


def prompt_of(example: Example) -> np.ndarray:
    """What stands before the first trained token: the question of a conversation. A document, trained from its first
    token on, gives its opening."""
    weights = np.ones(len(example.tokens)) if example.weights is None else np.asarray(example.weights)
    first = 1 + int(np.argmax(weights[1:] > 0))
    return example.tokens[: first if first > 1 else max(1, min(OPENING, len(example.tokens) // 2))]


def held_out_samples(
    checkpoint: Checkpoint, store: Store, count: int, settings: SamplingSettings
) -> list[dict[str, str]]:
    """How the model goes on from the prompts of the first `count` held-out groups: prompt, what was written, and what
    stands there in truth."""
    tokenizer, context = checkpoint.tokenizer, checkpoint.model.config.context
    examples = [store.group(index)[0] for index in range(min(count, len(store)))]
    prompts = [prompt_of(example) for example in examples]
    known = tokenizer.special_tokens
    stop_ids = frozenset(known[name] for name in (END, END_OF_TEXT) if name in known)
    assert all(len(prompt) < context for prompt in prompts), "a prompt is a proper part of a segment that fits"
    written = generate(checkpoint.model, prompts, stop_ids, settings)
    return [
        {
            "prompt": tokenizer.decode(prompt),
            "written": tokenizer.decode(generation.tokens),
            "truth": tokenizer.decode(example.tokens[len(prompt) :]),
        }
        for example, prompt, generation in zip(examples, prompts, written, strict=True)
    ]
