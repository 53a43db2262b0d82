"""What `decode.py --model` decodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutelage.model.hub import load_chat_files, load_config

# Each text stands twice in its prompt, and begins a third time: whoever copies it is right.
TEXTS = [
    "The committee met on Monday and agreed to repair the old bridge before winter.",
    "def area(width, height):\n    if width < 0 or height < 0:\n        raise ValueError\n    return width * height",
    "Flour, two eggs, a pinch of salt and half a litre of milk are stirred until smooth.",
    "name: build\nsteps:\n  - run: make lint\n  - run: make test\n  - run: make docs",
]


@dataclass(frozen=True)
class Workload:
    """Prompts, how many tokens each is answered with, and how many run at once."""

    prompts: list[np.ndarray]
    counts: list[int]
    rows: int


NAMES = ("1", "8", "16 ragged", "256, 16 at once", "copying")


def make_workload(name: str, folder: Path, quick: bool) -> Workload:
    """Random prompts of 10 to 100 tokens; for "copying", texts of the model's tokenizer, one after the other."""
    new_tokens = 24 if quick else 96
    if name == "copying":
        tokenizer = load_chat_files(folder)[0]
        prompts = [tokenizer.encode("\n\n".join([text, text, text[:20]])) for text in TEXTS]
        return Workload(prompts, [new_tokens] * len(prompts), 1)
    count, generator = int(name.split()[0].rstrip(",")), np.random.default_rng(0)
    count = 64 if quick and count == 256 else count
    vocab = min(10_000, load_config(folder).vocab)
    prompts = [generator.integers(0, vocab, generator.integers(10, 101), dtype=np.int32) for _ in range(count)]
    if count > 16:  # long-tailed, with this mean at most
        counts = np.clip(generator.exponential(new_tokens / 2, count), 4, 4 * new_tokens).astype(int).tolist()
        return Workload(prompts, counts, 16)
    return Workload(prompts, [new_tokens] * count, count)
