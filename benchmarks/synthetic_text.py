"""What made text is worth, and what it does to models that are trained on it, in the built-in world. Two experiments:

    python benchmarks/synthetic_text.py rephrased  # base models on 0, 10, 30, 60 and 100% rephrased pages, equal tokens
    python benchmarks/synthetic_text.py collapse   # four generations, each trained on samples of the last

Rephrased: pages of 100 people in two wordings are retold by the world's oracle through `tutelage synth` (WRAP, four
styles). Base models read the same number of tokens of a mixture, are fine-tuned on questions about half of the people,
and asked about the other half. Primary: each share less 0%, paired by question, over the seeds.

Collapse: generation 0 reads the originals; each further one reads as many samples of the last, alone or beside the
originals. Reported of each generation's samples: true and false facts in 100 sentences, distinct 3-grams, texts that
resemble others.

`--size small` is for one core: 2 layers, 40 people, a sixth of the tokens. `--size quick` is there to see that it runs;
its figures mean nothing. Finished stages are kept in --cache.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tutelage import progress
from tutelage.config import convert
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.lab.base_recipe import BASE_LR, sft_stage
from tutelage.lab.estimates import difference, pooled
from tutelage.lab.run_cache import RunCache
from tutelage.model.hub import load_model
from tutelage.scoring.extract import normalise
from tutelage.synth.diversity import diversity
from tutelage.synth.oracle_replies import person_in
from tutelage.synth.recipe import SynthRecipe
from tutelage.synth.runner import synthesise
from tutelage.tokenizer import END_OF_TEXT
from tutelage.world import World, WorldSettings
from tutelage.world.grading import ANY_VALUE

SHARES = (0.0, 0.1, 0.3, 0.6, 1.0)
GENERATIONS = 4
STYLES = ["toddler", "hard", "wikipedia", "dialogue"]


class Size(NamedTuple):
    """How large an experiment is. `versions`: of the originals of "collapse"; `originals`: at most."""

    model: str
    vocab: int
    world: dict[str, Any]
    versions: int
    originals: int | None
    steps: int
    batch_tokens: int
    epochs: int


WORLD = {"people": 100, "versions": 2, "wordings": 6, "unknown": 0.0}
SIZES = {
    "full": Size("depth = 4, width = 128", 2048, WORLD, 5, None, 512, 4096, 3),
    "small": Size("depth = 2, width = 128", 1024, {**WORLD, "people": 40}, 2, 200, 160, 2048, 3),
    "quick": Size(
        "depth = 1, width = 32", 512, {**WORLD, "people": 20, "versions": 1, "wordings": 1}, 1, 60, 10, 512, 1
    ),
}


def start(size: Size, world: dict[str, Any], seed: int, data: str) -> str:
    """The beginning of a recipe: model, tokenizer and data."""
    table = ", ".join(f"{name} = {value}" for name, value in world.items())
    return f"""
name      = "made"
seed      = {seed}
model     = {{ {size.model}, context = 256, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = {size.vocab}, data = ["original", "chat"] }}

[data]
original = {{ kind = "world", {table} }}
chat     = {{ kind = "world-chat", split = "train", world = "original" }}
{data}
"""


def base(name: str, data: dict[str, float], size: Size) -> str:
    """A line for [stages]: pre-training on a mixture of data, for a fixed number of tokens."""
    shares = ", ".join(f"{data_name} = {share}" for data_name, share in data.items() if share > 0)
    return (
        f'{name} = {{ kind = "pretrain", data = {{ {shares} }}, steps = {size.steps}, held_out = 0, '
        f'batch_tokens = {size.batch_tokens}, lr = {BASE_LR}, optimizer = {{ kind = "muon" }} }}'
    )


def rephrased(cache: Path, seeds: Sequence[int], size: Size) -> dict[str, Any]:
    """Accuracy on held-out people by the share of rephrased pages."""
    table = {"name": "retold", "make": {"kind": "wrap", "styles": STYLES}, "input": "world", "world": size.world}
    synthesise(convert({**table, "teacher": {"kind": "world", "world": size.world}}, SynthRecipe), cache / "retold")
    data = f'retold = {{ kind = "documents", path = "{(cache / "retold" / "data.jsonl").resolve()}" }}'
    names = {share: f"{100 * share:.0f}" for share in SHARES}
    bases = [base(f"base_{names[s]}", {"original": 1 - s, "retold": s}, size) for s in SHARES]
    chats = [sft_stage(f"chat_{names[s]}", "", size.epochs, f"base_{names[s]}") for s in SHARES]
    suites = [f'chat_{names[share]} = ["knowledge"]' for share in SHARES]
    outcomes: dict[float, list[np.ndarray]] = {share: [] for share in SHARES}
    for seed in seeds:
        recipe = "\n".join([start(size, size.world, seed, data), "[stages]", *bases, *chats, "", "[evaluate]", *suites])
        finished = RunCache(cache).run(recipe, f"rephrased-{seed}")
        for share in SHARES:
            outcomes[share].append(finished.outcomes(f"chat_{names[share]}", "knowledge.held_out"))
    rows = {}
    for share in SHARES:
        gain = difference(outcomes[0.0], outcomes[share])
        agree = len({np.sign(b.mean() - a.mean()) for a, b in zip(outcomes[0.0], outcomes[share], strict=True)}) == 1
        rows[names[share]] = {"accuracy": str(pooled(outcomes[share])), "gain": str(gain), "seeds_agree": agree}
        print(f"{names[share]:>4}% rephrased: {pooled(outcomes[share])}; against 0%: {gain}; seeds agree: {agree}")
    return rows


def collapse(cache: Path, seeds: Sequence[int], size: Size) -> dict[str, Any]:
    """Figures of the samples of each generation, with and without the originals."""
    settings = WorldSettings(**{**size.world, "versions": size.versions})
    world = World(settings)
    originals = [document.text for document in world.documents()][: size.originals]
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        for kept in ("alone", "with originals"):
            texts = originals
            for generation in range(GENERATIONS + 1):
                path = cache / "samples" / f"{seed}-{kept.split()[0]}-{generation}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
                data = {"samples": 1.0} if kept == "alone" or not generation else {"samples": 0.5, "original": 0.5}
                plain = {name: getattr(settings, name) for name in WORLD}
                named = f'samples = {{ kind = "documents", path = "{path.resolve()}" }}'
                recipe = f"{start(size, plain, seed, named)}\n[stages]\n{base('base', data, size)}\n"
                finished = RunCache(cache).run(recipe, f"collapse-{seed}-{kept.split()[0]}-{generation}")
                texts = sampled(finished.run.folder / "base", originals, seed + 100 * generation)
                figures = {**facts(world, texts), **figures_of(texts)}
                rows.setdefault(f"{kept}, generation {generation}", []).append(figures)
    for name, found in rows.items():
        means = {key: float(np.mean([figures[key] for figures in found])) for key in found[0]}
        print(f"{name}: {', '.join(f'{key} {value:.3g}' for key, value in means.items())}")
    return rows


def sampled(folder: Path, originals: Sequence[str], seed: int) -> list[str]:
    """As many texts of a model as there are originals, each from the first two words of one."""
    checkpoint = load_model(folder)
    tokenizer = checkpoint.tokenizer
    openings = [" ".join(text.split()[:2]) for text in originals]
    stop = frozenset({tokenizer.special_tokens[END_OF_TEXT]})
    settings = SamplingSettings(temperature=1.0, max_tokens=160, seed=seed)
    prompts = [np.asarray(tokenizer.encode(opening)) for opening in openings]
    written = generate(checkpoint.model, prompts, stop, settings)
    pairs = zip(openings, written, strict=True)
    return [opening + tokenizer.decode(generation.content) for opening, generation in pairs]


def facts(world: World, texts: Sequence[str]) -> dict[str, float]:
    """True and false facts in 100 sentences: values in a text about a person of the world that are the person's own."""
    true = false = sentences = 0
    for text in texts:
        sentences += max(1, text.count("."))
        person = person_in(world, text)
        if person is not None:
            own = {normalise(value) for value in person.facts.values()}
            values = set(ANY_VALUE.findall(normalise(text)))
            true, false = true + len(values & own), false + len(values - own)
    return {"true_per_100": 100 * true / sentences, "false_per_100": 100 * false / sentences}


def figures_of(texts: Sequence[str]) -> dict[str, float]:
    """How much the texts differ."""
    found = diversity({"text": text} for text in texts)
    return {"distinct_3": found["distinct_3"], "alike": found["alike"], "words": found["words"]}


def main() -> None:
    """Run an experiment, and write its figures beside its runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=("rephrased", "collapse"))
    parser.add_argument("--size", choices=SIZES, default="full", help="of models, world and training (default full)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--cache", type=Path, default=Path("runs/synthetic_text"), help="folder of the runs")
    arguments = parser.parse_args()
    progress.set_mode("quiet")
    cache, size = arguments.cache / arguments.size, SIZES[arguments.size]
    seeds = range(1 if arguments.size == "quick" else arguments.seeds)
    experiment = {"rephrased": rephrased, "collapse": collapse}[arguments.experiment]
    result = experiment(cache, seeds, size)
    path = cache / f"{arguments.experiment}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"figures: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
