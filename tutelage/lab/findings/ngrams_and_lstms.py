"""Counts of n-grams cannot generalise; transformers use long contexts better than LSTMs."""

from __future__ import annotations

import itertools

import numpy as np

from tutelage.evaluate.statistics import ratio_of_sums
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.draws import drawn, drawn_effect, over_items
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import RunCache
from tutelage.lab.verdict import LEAST_SHARE, Effect
from tutelage.scaling.baselines import Baseline, compare_baselines

STEPS, LR, LSTM_LRS = 500, 3e-3, (3e-3, 1e-2)
EDGES = (1, 4, 8, 16, 32, 64, 128, 256)
EARLY, LATE = (8, 32), (96, 256)  # positions in a text
STAGES = [f"base_{seed}" for seed in SEEDS]
RECIPE = """\
name      = "lab"
model     = { depth = 3, width = 96, context = 256, norm = "layer", mlp = "relu2" }
tokenizer = { kind = "bpe", vocab = 1024, data = ["plays"] }

[data.plays]
kind   = "text"
url    = "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt"
sha256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
tail   = 0.1

[stages]
""" + "\n".join(
    f'{name} = {{ kind = "pretrain", data = {{ plays = 1 }}, steps = {STEPS}, batch_tokens = 4096, lr = {LR}, '
    f"seed = {seed} }}"
    for seed, name in enumerate(STAGES)
)


def by_place(models: list[Baseline]) -> np.ndarray:
    """The summed loss and the number of tokens of each segment at early and at late places, float64 [2 models, 2, 2,
    segments], of the segments that are long enough for both."""
    rows = []
    for model in models:
        long = [one for one, other in zip(model.losses, models[0].losses, strict=True) if len(other) > LATE[0] + 1]
        parts = [[one[first:stop] for one in long] for first, stop in (EARLY, LATE)]
        rows.append([[[np.nansum(one) for one in part], [np.isfinite(one).sum() for one in part]] for part in parts])
    return np.array(rows, np.float64)


def gain(arrays: list[np.ndarray], model: int) -> float:
    """How much lower the loss of a model is at late places than at early ones, in nats per token."""
    sums = np.mean([one[model].sum(axis=-1) for one in arrays], axis=0)
    return float(sums[0, 0] / sums[0, 1] - sums[1, 0] / sums[1, 1])


def measure(runs: RunCache) -> Conclusion:
    """The held-out loss of a transformer, of an LSTM at the better of two rates, and of n-gram counts."""
    run = runs.run(RECIPE, "baselines")
    rates = LSTM_LRS[:1] if runs.overrides else LSTM_LRS
    by_seed: list[list[Baseline]] = []
    for name in STAGES:
        found = [compare_baselines(run.run, name, lr=lr) for lr in rates]
        by_seed.append(min(found, key=lambda models: sum(float(np.nansum(one)) for one in models[1].losses)))
    sums = [[np.array([np.nansum(one) for one in model.losses]) for model in models] for models in by_seed]
    tokens = sum(int(np.isfinite(one).sum()) for one in by_seed[0][0].losses)
    mean = [np.mean([one[place] for one in sums], axis=0) for place in range(3)]
    table: list[list[str | Estimate]] = []
    for place, model in enumerate(by_seed[0]):
        change = Estimate(*ratio_of_sums(mean[place], mean[0]), "relative_change") if place else ""
        size = f"{model.parameters:,}" if model.parameters else ""
        table.append([model.name, size, f"{mean[place].sum() / tokens:.3f}", change])
    worse = [Estimate(*ratio_of_sums(one[2], one[0]), "relative_change") for one in sums]
    parts = [by_place(models[:2]) for models in by_seed]
    more = over_items(lambda arrays: gain(arrays, 0) - gain(arrays, 1), parts)
    primary = [
        Effect("loss of n-grams above the transformer's, share", table[2][3], [one.value for one in worse],  # type: ignore[arg-type]
               least=LEAST_SHARE),
        drawn_effect("what a longer context lowers the loss by, transformer minus LSTM, nats", *more, least=0.01),
    ]  # fmt: skip
    control = drawn_effect("what a longer context lowers the transformer's loss by, nats",
                           *over_items(lambda arrays: gain(arrays, 0), parts))  # fmt: skip
    table += [[f"gain by context, {name}", "", drawn(*over_items(lambda a, m=m: gain(a, m), parts)[:2]), ""]  # type: ignore[misc]
              for m, name in enumerate(("transformer", "LSTM"))]  # fmt: skip
    lines = []
    for place, model in enumerate(by_seed[0]):
        curve = [[models[place].by_position(a, b) for models in by_seed] for a, b in itertools.pairwise(EDGES)]
        points = [
            Estimate(float(np.mean(one)), min(one), max(one), "number") for one in curve if np.isfinite(one).all()
        ]
        lines.append(Line(model.name, [float(edge) for edge in EDGES[: len(points)]], points))
    plot = LinePlot("Loss by the number of tokens before", "tokens before", "nats per token", lines, log_x=True)
    header = ["model", "parameters", "loss, nats per token", "change from the transformer"]
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="27",
    name="ngrams-and-lstms",
    claim="Counts of n-grams cannot generalise, neural models can; and transformers use long contexts better than "
    "LSTMs.",
    source="LLM pipeline (lecture), after Kaplan et al. 2020, arXiv 2001.08361, figure 7",
    published="LSTMs match transformers at early tokens, and stop gaining after about 100.",
    setup="A transformer (3 layers, width 96), an LSTM of at most as many parameters and 5-gram counts with Kneser-Ney "
    f"smoothing on a megabyte of Shakespeare, the last tenth held out: {STEPS} steps of 4,096 tokens for the neural "
    f"models, all of the text for the counts, which have it read once. AdamW, lr {LR:g}; the LSTM has the better of "
    f"{' and '.join(f'{lr:g}' for lr in LSTM_LRS)}. {len(SEEDS)} seeds. The world's text is written from templates, "
    f"which suit n-grams, so this text is real. The gain by context is the loss at tokens {EARLY[0]} to {EARLY[1]} of "
    f"a segment less that at {LATE[0]} to {LATE[1]}. Intervals are over segments of 256 tokens.",
    folder="baselines",
    recipe=RECIPE,
    quick=("model.depth=1", "model.width=32", "tokenizer.vocab=300", *(f"stages.{name}.steps=2" for name in STAGES)),
    measure=measure,
    minutes=25,
)  # fmt: skip
