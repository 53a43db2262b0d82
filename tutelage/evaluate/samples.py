"""What a model writes during training, for people to read."""

from __future__ import annotations

import numpy as np

from tutelage.batching.store import Store
from tutelage.chat import make_renderer
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import can_chat
from tutelage.model.hub import Checkpoint
from tutelage.records import Example
from tutelage.tokenizer import END_OF_TEXT

OPENING = 12  # tokens of a document that are given, where nothing in it is a prompt


def prompt_of(example: Example) -> np.ndarray:
    """The tokens before the first trained one: the question of a conversation. A document, trained from its first
    token on, gives its opening."""
    weights = np.ones(len(example.tokens)) if example.weights is None else np.asarray(example.weights)
    first = 1 + int(np.argmax(weights[1:] > 0))
    return example.tokens[: first if first > 1 else max(1, min(OPENING, len(example.tokens) // 2))]


def held_out_samples(
    checkpoint: Checkpoint, store: Store, count: int, settings: SamplingSettings
) -> list[dict[str, str]]:
    """How the model continues the prompts of the first `count` held-out groups: prompt, what it wrote, and the true
    continuation."""
    tokenizer, context = checkpoint.tokenizer, checkpoint.model.config.context
    examples = [store.group(index)[0] for index in range(min(count, len(store)))]
    prompts = [prompt_of(example) for example in examples]
    stop_ids = stop_ids_of(checkpoint)
    assert all(len(prompt) < context for prompt in prompts), "a prompt is a proper part of a segment that fits"
    written = generate(checkpoint.model, prompts, stop_ids, settings)
    return [
        {
            "prompt": tokenizer.decode(prompt),
            "written": tokenizer.decode(generation.content),
            "truth": tokenizer.decode(example.tokens[len(prompt) :]),
        }
        for example, prompt, generation in zip(examples, prompts, written, strict=True)
    ]


def stop_ids_of(checkpoint: Checkpoint) -> frozenset[int]:
    """The tokens at which the model's own answers and documents end: those of its chat template, and the end of
    text."""
    end_of_text = checkpoint.tokenizer.special_tokens.get(END_OF_TEXT)
    ends = set() if end_of_text is None else {end_of_text}
    if can_chat(checkpoint):
        ends |= make_renderer(checkpoint.tokenizer, checkpoint.chat_config).stop_ids
    return frozenset(ends)
