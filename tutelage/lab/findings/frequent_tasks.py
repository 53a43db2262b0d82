"""Of two tasks of the same kind, the one that is frequent in pre-training is the easy one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from string import ascii_lowercase

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import continue_text
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import model_of
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.world.keyed_random import KeyedRandom

SHIFTS = (13, 8)
RATIO, ROWS, LENGTH, ASKED = 60, 12_000, 6, 150
STEPS, EVERY = 300, 60
LOOKS = tuple(range(EVERY, STEPS + 1, EVERY))
ARMS = {f"frequent_{shift}": shift for shift in SHIFTS}
STAGES = {arm: [f"{arm}_{seed}" for seed in SEEDS] for arm in ARMS}
RECIPE = """\
name      = "lab"
model     = { depth = 2, width = 128, context = 64 }
tokenizer = { kind = "char", data = ["frequent_13", "frequent_8"] }

[data]
frequent_13 = { kind = "documents", path = "ROWS/frequent_13.jsonl" }
frequent_8  = { kind = "documents", path = "ROWS/frequent_8.jsonl" }

[stages]
""" + "\n".join(
    f'{name} = {{ kind = "pretrain", data = {{ {arm} = 1 }}, steps = {STEPS}, batch_tokens = 2048, lr = 1e-2, '
    f'seed = {seed}, save_every = {EVERY}, keep_checkpoints = {len(LOOKS)}, optimizer = {{ kind = "muon" }} }}'
    for arm, names in STAGES.items()
    for seed, name in enumerate(names)
)


def rotated(text: str, shift: int) -> str:
    """Each letter moved by so many places of the alphabet."""
    return "".join(ascii_lowercase[(ascii_lowercase.index(letter) + shift) % 26] for letter in text)


def letters(*key: int | str) -> str:
    """A random word."""
    rng = KeyedRandom("lab letters", *key)
    return "".join(rng.choice(ascii_lowercase) for _ in range(LENGTH))


def beginning(word: str, shift: int) -> str:
    """What is asked: "rot 13: uryyb0 > "."""
    return f"rot {shift}: {rotated(word, shift)} > "


def documents(frequent: int) -> Callable[[], Iterator[Mapping[str, object]]]:
    """Words and their ciphers; of RATIO + 1 texts one has the other shift."""
    other = next(shift for shift in SHIFTS if shift != frequent)

    def make() -> Iterator[Mapping[str, object]]:
        for number in range(ROWS):
            word, shift = letters(number), other if number % (RATIO + 1) == RATIO else frequent
            yield {"text": f"{beginning(word, shift)}{word}."}

    return make


def decoded(run: FinishedRun, stage: str, shift: int, count: int, looks: tuple[int, ...]) -> np.ndarray:
    """How often each unseen word is decoded right, of all steps that are measured, float64 [words]."""
    words = [letters("unseen", number) for number in range(count)]
    prompts = [beginning(word, shift).rstrip() for word in words]
    settings = SamplingSettings(max_tokens=LENGTH + 2)
    right = []
    for look in looks:
        checkpoint = model_of(run, stage if look == looks[-1] else f"{stage}@{look}")
        answers = continue_text(checkpoint, prompts, settings, f"words of {stage} at step {look}")
        right.append([float(one.text.strip(" .") == word) for one, word in zip(answers, words, strict=True)])
    return np.mean(right, axis=0)


def measure(runs: RunCache) -> Conclusion:
    """Unseen words that are decoded right, by shift and by which shift is frequent."""
    run = runs.run(RECIPE, "rotation", {arm: documents(shift) for arm, shift in ARMS.items()})
    count, looks = (4, (2,)) if runs.overrides else (ASKED, LOOKS)
    found = {(arm, s): [decoded(run, name, s, count, looks) for name in STAGES[arm]] for arm in ARMS for s in SHIFTS}
    table: list[list[str | Estimate]] = [
        [f"{shift}", *(mean_estimate(found[arm, shift]) for arm in ARMS)] for shift in SHIFTS
    ]
    bars = [
        Bar(f"rot {s}", f"{shift} is frequent", mean_estimate(found[arm, s]))
        for s in SHIFTS
        for arm, shift in ARMS.items()
    ]
    primary = [
        mean_effect(f"rot {shift}, frequent minus rare", found[arm, shift],
                    found[next(other for other in ARMS if other != arm), shift])
        for arm, shift in ARMS.items()
    ]  # fmt: skip
    level = [np.full(count, 0.3)] * len(SEEDS)
    control = mean_effect("rot 13, frequent, above 30%", found["frequent_13", 13], level)
    plot = IntervalPlot("Unseen words, mean of all steps measured", "decoded right", bars)
    header = ["shift", *(f"rot {shift} is frequent" for shift in ARMS.values())]
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="26",
    name="frequent-tasks",
    claim="Of two tasks of the same kind, the one that is frequent in pre-training is the easy one.",
    source="Training LLMs (lecture), after McCoy et al. 2023, arXiv 2309.13638",
    published="GPT-4 decodes rot-13 right and rot-8 wrong, 51% against 13% at equal probability of the output.",
    setup=f"Character models (2 layers, width 128) read {ROWS:,} random words of {LENGTH} letters with their ciphers "
    f"for {STEPS} steps of 2,048 tokens: {RATIO} of {RATIO + 1} with one shift, the others with the other; rot-13 is "
    f"frequent, or rot-8 ({len(SEEDS)} seeds each). Words are random, so that none is likelier than another, and "
    "each shift is compared with itself, so that it does not matter that rot-13 is its own inverse. Unseen words "
    "count if all letters are right; guessing is right about never. The measure is the mean over the steps "
    f"{', '.join(map(str, LOOKS))}: after 500 steps all are right, as a first run showed.",
    folder="rotation",
    recipe=RECIPE,
    quick=("model.depth=1", "model.width=32", *(f"stages.{n}.steps=2" for names in STAGES.values() for n in names)),
    measure=measure,
    minutes=8,
)
