"""Bad pages show in the training curve: the steps that hold them stand out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np

from tutelage.files import read_text
from tutelage.lab.base_recipe import BASE_LR, SEEDS
from tutelage.lab.draws import DRAWS, drawn, drawn_effect
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import demo_world
from tutelage.model.hub import load_model
from tutelage.stages.base import LOG
from tutelage.stages.train_stage import set_up
from tutelage.world.keyed_random import KeyedRandom

STEPS, FIRST, AROUND, PAGES, RUNS = 300, 40, 10, 24, 60
STAGES = [f"base_{seed}" for seed in SEEDS]
RECIPE = """\
name      = "lab"
model     = { depth = 2, width = 128, context = 256, norm = "layer", mlp = "relu2" }
tokenizer = { kind = "bpe", vocab = 512, data = ["polluted"] }

[data]
polluted = { kind = "documents", path = "ROWS/polluted.jsonl" }

[stages]
""" + "\n".join(
    f'{name} = {{ kind = "pretrain", data = {{ polluted = 1 }}, steps = {STEPS}, batch_tokens = 4096, lr = {BASE_LR}, '
    f'seed = {seed}, optimizer = {{ kind = "muon" }} }}'
    for seed, name in enumerate(STAGES)
)


def page(number: int) -> str:
    """A page of one letter: "mmmm mm mmmmmmm ..."."""
    rng = KeyedRandom("lab bad page", number)
    return " ".join("m" * (1 + rng.randbelow(9)) for _ in range(RUNS))


def documents() -> Iterator[Mapping[str, object]]:
    """The world's text with the bad pages spread over it."""
    texts = [document.text for document in demo_world().documents()]
    bad = KeyedRandom("lab bad places").shuffled(tuple(range(500, len(texts))))[:PAGES]
    at = {place: page(number) for number, place in enumerate(bad)}
    for place, text in enumerate(texts):
        yield {"text": text}
        if place in at:
            yield {"text": at[place]}


def planted(run: FinishedRun, name: str, letters: frozenset[int]) -> np.ndarray:
    """Whether each step holds a bad page or a part of one, bool [steps]: at least RUNS / 4 tokens of that letter
    alone in a row."""
    stage = run.run.trained_stage(name)
    batches = set_up(stage, run.run.context(name)).stream.batches(None, False)
    found = []
    for micro, _ in islice(batches, stage.steps):
        longest = 0
        for batch in micro:
            own, length = np.isin(batch.tokens_N.numpy(), list(letters)), 0
            for one in own.tolist():
                length = length + 1 if one else 0
                longest = max(longest, length)
        found.append(longest >= RUNS / 4)
    return np.array(found)


def deviations(values: np.ndarray) -> np.ndarray:
    """How far each value is above the median of its neighbours, as a share of that."""
    windows = [values[max(0, i - AROUND) : i + AROUND + 1] for i in range(len(values))]
    return np.array([value / np.median(window) - 1 for value, window in zip(values, windows, strict=True)])


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The probability that a positive one scores higher than a negative one; a tie is half."""
    high, low = scores[positive], scores[~positive]
    if not len(high) or not len(low):
        return 0.5
    return float(np.mean((high[:, None] > low) + 0.5 * (high[:, None] == low)))


def measure(runs: RunCache) -> Conclusion:
    """How well the steps with bad pages are told from the others by gradient norm and by loss."""
    run = runs.run(RECIPE, "spikes", {"polluted": documents})
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"gradient norm": [], "loss": []}
    falls, shown = [], None
    for name in STAGES:
        log = [json.loads(line) for line in read_text(run.run.folder / name / LOG).splitlines()]
        rows = [row for row in log if "gradient_norm" in row]
        tokenizer = load_model(run.run.folder / name).tokenizer
        letters = frozenset(number for number in range(tokenizer.vocab_size)
                            if set(tokenizer.decode([number]).strip()) == {"m"})  # fmt: skip
        first = 1 if runs.overrides else FIRST
        bad = planted(run, name, letters)[first : len(rows)]
        for label, key in (("gradient norm", "gradient_norm"), ("loss", "loss")):
            values = np.array([row[key] for row in rows])
            found[label].append((deviations(values)[first:], bad))
            shown = shown or [float(value) for value in values]
        falls.append(1 - rows[-1]["loss"] / rows[0]["loss"])
    rng = np.random.default_rng(0)
    effects, table = {}, list[list[str | Estimate]]()
    for label, pairs in found.items():
        value = float(np.mean([auc(*pair) for pair in pairs]))
        draws = []
        for _ in range(DRAWS):
            drawn_steps = [rng.integers(len(scores), size=len(scores)) for scores, _ in pairs]
            draws.append(np.mean([auc(s[i], b[i]) for (s, b), i in zip(pairs, drawn_steps, strict=True)]))
        effects[label] = value, np.array(draws), [auc(*pair) for pair in pairs]
        table.append([label, drawn(value, np.array(draws)), "0.5", f"{int(sum(b.sum() for _, b in pairs))}"])
    value, draws_S, by_seed = effects["gradient norm"]
    primary = drawn_effect("area under the curve above a half, gradient norm", value - 0.5, draws_S - 0.5,
                           [one - 0.5 for one in by_seed], least=0.1)  # fmt: skip
    control = drawn_effect("training loss, last step below the first, share", float(np.mean(falls)),
                           np.array(falls), falls, kind="relative_change")  # fmt: skip
    assert shown is not None
    curve = [Estimate(value, value, value, "number") for value in shown]
    line = Line("first seed", [float(step) for step in range(1, len(curve) + 1)], curve)
    plot = LinePlot("Gradient norm of each step", "step", "gradient norm", [line])
    header = ["steps are detected by", "area under the curve", "chance", "steps with a bad page"]
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N21",
    name="loss-spikes",
    claim="Bad pages show in the training curve: the steps that hold them stand out by a spike.",
    source="Training LLMs (lecture)",
    published="A spike of the loss led to pages of a forum on which people write one letter over and over.",
    setup=f"A model (2 layers, width 128) reads the demo's text for {STEPS} steps of 4,096 tokens, {len(SEEDS)} seeds. "
    f"Over it are spread {PAGES} pages of one letter. Each step has a score: by what share its gradient norm is "
    f"above the median of the {2 * AROUND} steps around it, from step {FIRST} on. What counts is how likely a step "
    "with a bad page has a higher score than one without.",
    folder="spikes",
    recipe=RECIPE,
    quick=("model.depth=1", "model.width=32", *(f"stages.{name}.steps=6" for name in STAGES)),
    measure=measure,
    minutes=8,
)
