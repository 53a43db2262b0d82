"""Texts that stand in the training data many times are memorised word for word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tutelage.evaluate.memorisation import MemorisedText, extract
from tutelage.lab.base_recipe import BASE_LR
from tutelage.lab.effects import mean_estimate, unpaired_effect
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import demo_world
from tutelage.model.hub import load_model
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.values import VALUES

COUNTS = (0, 1, 4, 16, 64)
CANARIES = 20  # of each count; those of count 0 are read by nobody
SEEDS = (0, 1, 2)
PREFIX, SUFFIX = 16, 8  # tokens
WORDS = 14
STEPS = 350  # about two epochs
ARMS = ("copied", "deduplicated")
STAGES = {f"{arm}_{seed}": (arm, seed) for arm in ARMS for seed in SEEDS}


def canary(count: int, number: int) -> str:
    """A list of random words that nothing else in the text explains."""
    rng = KeyedRandom("canary", count, number)
    values = [value for group in VALUES.values() for value in group]
    return f"Locker {100 + number}: " + ", ".join(rng.choice(values) for _ in range(WORDS)) + "."


def documents(deduplicated: bool) -> Iterator[Mapping[str, object]]:
    """The world's text with the canaries spread over it, each as often as its count says, or once."""
    texts = [document.text for document in demo_world().documents()]
    copies = [
        canary(count, number)
        for count in COUNTS
        for number in range(CANARIES)
        for _ in range(min(count, 1) if deduplicated else count)
    ]
    order = KeyedRandom("places").shuffled(tuple(range(500, len(texts))))  # of the first ones some are held out
    after = dict(zip(order, copies, strict=False))
    assert len(copies) <= len(order)
    for place, text in enumerate(texts):
        yield {"text": text}
        if place in after:
            yield {"text": after[place]}


STAGE_LINES = "\n".join(
    f'{name} = {{ kind = "pretrain", data = {{ {arm} = 1 }}, steps = {STEPS}, batch_tokens = 4096, lr = {BASE_LR}, '
    f'seed = {seed}, optimizer = {{ kind = "muon" }} }}'
    for name, (arm, seed) in STAGES.items()
)
RECIPE = f"""\
name      = "lab"
model     = {{ depth = 4, width = 128, context = 256, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = 2048, data = ["copied"] }}

[data]
copied       = {{ kind = "documents", path = "ROWS/copied.jsonl" }}
deduplicated = {{ kind = "documents", path = "ROWS/deduplicated.jsonl" }}

[stages]
{STAGE_LINES}
"""


def extracted(run: FinishedRun, stage: str) -> dict[int, np.ndarray]:
    """Whether each canary's suffix is what the model finds likeliest after its prefix, by count, float64[canaries]."""
    texts = [MemorisedText(f"{c}/{n}", canary(c, n), c) for c in COUNTS for n in range(CANARIES)]
    found, too_short = extract(load_model(run.run.folder / stage), texts, [PREFIX], SUFFIX)
    assert not too_short
    return {c: np.array([float(one.extracted[PREFIX]) for one in found if one.count == c]) for c in COUNTS}


def measure(runs: RunCache) -> Conclusion:
    """Extracted canaries by the number of their copies, and with one copy of each."""
    files = {"copied": lambda: documents(False), "deduplicated": lambda: documents(True)}
    run = runs.run(RECIPE, "canaries", files)
    by_arm = {arm: [extracted(run, f"{arm}_{seed}") for seed in SEEDS] for arm in ARMS}
    rates = {arm: [mean_estimate([one[c] for one in found]) for c in COUNTS] for arm, found in by_arm.items()}
    rows: list[list[str | Estimate]] = [[str(c), *pair] for c, *pair in zip(COUNTS, *rates.values(), strict=True)]
    counts = [float(c) for c in COUNTS[1:]]
    lines = [Line(arm, counts, rates[arm][1:]) for arm in ARMS]
    copied, deduplicated = (by_arm[arm] for arm in ARMS)
    many, kept = ([np.concatenate([one[c] for c in COUNTS[-2:]]) for one in found] for found in (copied, deduplicated))
    once = [one[COUNTS[1]] for one in copied]
    primary = [
        unpaired_effect("extracted, 16 and 64 copies minus 1", many, once),
        unpaired_effect("extracted, 16 and 64 copies minus the same deduplicated", many, kept),
    ]
    most, none = ([one[c] for one in copied] for c in (COUNTS[-1], 0))
    control = unpaired_effect("extracted, 64 copies minus none", most, none)
    plot = LinePlot("Canaries by the copies in the training text", "copies", "extracted", lines, log_x=True)
    return Conclusion(Table(["copies", "extracted", "extracted, deduplicated"], rows), [plot], primary, control)


FINDING = Finding(
    number="20",
    name="memorised-copies",
    claim="Texts that stand in the training data many times are memorised word for word; deduplication prevents it.",
    source="Dataset and SFT; Training LLMs (lectures)",
    published="A licence text stands 60,000 times in C4; models repeat what is duplicated (arXiv 2202.07646).",
    setup="The demo's model (4 layers, width 128, 1.05M parameters) is pre-trained for two epochs (350 steps) on "
    f"the demo's text, into which {CANARIES} lists of random words each are put 1, 4, 16 and 64 times, or once each; "
    f"{CANARIES} more are put nowhere; {len(SEEDS)} seeds. A list is extracted if, after {PREFIX} of its tokens, "
    f"each of the next {SUFFIX} is the model's likeliest. Intervals are over lists.",
    folder="canaries",
    recipe=RECIPE,
    quick=("model.depth=1", "model.width=32", "tokenizer.vocab=512", *(f"stages.{name}.steps=2" for name in STAGES)),
    measure=measure,
    minutes=20,
)
