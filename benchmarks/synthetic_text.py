"""What made text is worth, and what it does to models that are trained on it, in the built-in world. Two experiments:

    python benchmarks/synthetic_text.py rephrased  # base models on 0, 10, 30, 60 and 100% rephrased pages, equal tokens
    python benchmarks/synthetic_text.py collapse   # four generations, each trained on samples of the last

Both begin with pages about 100 people: their biographies, each in a few versions.

Rephrased: the pages are retold by the world's oracle through `tutelage synth` (WRAP, four styles). Base models read the
same number of tokens of a mixture, are fine-tuned on questions about half of the people, and asked about the other
half. Primary: each share less 0%, paired by question, over the seeds. Where every arm guesses, nothing is compared.

Collapse: generation 0 reads the pages; each further one reads as many samples of the last, alone or half of them and
half of the pages. A sample continues the first two words of a page, so that all generations write about the same
people. Reported of each generation's samples: true and false facts in 100 sentences, distinct 3-grams, texts that
resemble others. Primary: true facts of the last generation less those of generation 0, and with the pages less without;
both paired by page, over the seeds.

`--size small` is for one core: 2 layers, two thirds of the tokens. `--size quick` is there to see that it runs; its
figures mean nothing. Finished stages are kept in --cache.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tutelage import progress
from tutelage.config import convert, to_plain
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.lab.base_recipe import BASE_LR, GUESS, sft_stage
from tutelage.lab.effects import mean_estimate
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
ARMS = {"alone": 0.0, "originals": 0.5}  # the share of originals in every generation after the first
STYLES = ["toddler", "hard", "wikipedia", "dialogue"]


class Size(NamedTuple):
    """How large an experiment is. `versions`: of each page of "collapse"."""

    model: str
    vocab: int
    world: dict[str, Any]
    versions: int
    steps: int
    batch_tokens: int
    epochs: int


WORLD = {"people": 100, "versions": 2, "wordings": 6, "unknown": 0.0}
SIZES = {
    "full": Size("depth = 4, width = 128", 2048, WORLD, 5, 512, 4096, 3),
    "small": Size("depth = 2, width = 128", 1024, WORLD, 2, 320, 4096, 3),
    "quick": Size("depth = 1, width = 32", 512, {**WORLD, "people": 20, "versions": 1, "wordings": 1}, 1, 10, 512, 1),
}


def pages(world: World) -> list[str]:
    """The biographies of all people, in the order of the world's documents."""
    return [document.text for document in world.documents() if document.meta.get("kind") == "biography"]


def write_texts(path: Path, texts: Sequence[str]) -> Path:
    """A file of documents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path.resolve()


def start(size: Size, world: dict[str, Any], seed: int, files: Mapping[str, Path]) -> str:
    """The beginning of a recipe: model, tokenizer and data. The tokenizer is the same in all arms."""
    table = ", ".join(f"{name} = {value}" for name, value in world.items())
    data = "\n".join(f'{name} = {{ kind = "documents", path = "{path}" }}' for name, path in files.items())
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
    settings = WorldSettings(**size.world)
    original = write_texts(cache / "originals.jsonl", pages(World(settings)))
    teacher = {"kind": "world", "world": size.world}
    table = {"name": "retold", "make": {"kind": "wrap", "styles": STYLES}, "input": str(original), "teacher": teacher}
    synthesise(convert(table, SynthRecipe), cache / "retold")
    files = {"pages": original, "retold": (cache / "retold" / "data.jsonl").resolve()}
    names = {share: f"{100 * share:.0f}" for share in SHARES}
    bases = [base(f"base_{names[s]}", {"pages": 1 - s, "retold": s}, size) for s in SHARES]
    chats = [sft_stage(f"chat_{names[s]}", "", size.epochs, f"base_{names[s]}") for s in SHARES]
    suites = [f'chat_{names[share]} = ["knowledge"]' for share in SHARES]
    outcomes: dict[float, list[np.ndarray]] = {share: [] for share in SHARES}
    for seed in seeds:
        recipe = "\n".join(
            [start(size, size.world, seed, files), "[stages]", *bases, *chats, "", "[evaluate]", *suites]
        )
        finished = RunCache(cache).run(recipe, f"rephrased-{seed}")
        for share in SHARES:
            outcomes[share].append(finished.outcomes(f"chat_{names[share]}", "knowledge.held_out"))
    rows = {}
    for share in SHARES:
        accuracy, gain = pooled(outcomes[share]), difference(outcomes[0.0], outcomes[share])
        agree = same_sign([after - before for before, after in zip(outcomes[0.0], outcomes[share], strict=True)])
        row = {"accuracy": to_plain(accuracy), "gain": to_plain(gain), "seeds_agree": agree}
        rows[names[share]] = row | {"guesses": accuracy.low <= GUESS}
        print(f"{names[share]:>4}% rephrased: {accuracy}; against 0%: {gain}; seeds agree: {agree}")
    if all(row["guesses"] for row in rows.values()):
        print("every arm guesses: nothing can be compared")
    return rows


def collapse(cache: Path, seeds: Sequence[int], size: Size) -> dict[str, Any]:
    """Figures of the samples of each generation, with and without the originals."""
    settings = {**size.world, "versions": size.versions}
    world = World(WorldSettings(**settings))
    originals = pages(world)
    files = {"pages": write_texts(cache / "samples" / "pages.jsonl", originals)}

    def next_texts(name: str, texts: Sequence[str], share: float, seed: int) -> list[str]:
        """Samples of a model that is trained on texts and this share of originals."""
        here = {**files, "samples": write_texts(cache / "samples" / f"{name}.jsonl", texts)}
        stages = base("base", {"samples": 1 - share, "pages": share}, size)
        finished = RunCache(cache).run(f"{start(size, settings, seed, here)}\n[stages]\n{stages}\n", f"collapse-{name}")
        return sampled(finished.run.folder / "base", originals, seed)

    texts_of: dict[tuple[str, int], list[list[str]]] = {}  # of an arm and a generation, by seed
    for seed in seeds:
        first = next_texts(f"{seed}-first", originals, 0.0, seed)
        for arm, share in ARMS.items():
            texts = first
            texts_of.setdefault((arm, 0), []).append(texts)
            for generation in range(1, GENERATIONS + 1):
                texts = next_texts(f"{seed}-{arm}-{generation}", texts, share, seed + 100 * generation)
                texts_of.setdefault((arm, generation), []).append(texts)
    rows: dict[str, Any] = {"originals": figures_of(originals) | means(*facts(world, originals))}
    true: dict[tuple[str, int], list[np.ndarray]] = {}
    for place, found in texts_of.items():
        counted = [facts(world, texts) for texts in found]
        true[place] = [right for right, _ in counted]
        figures = [figures_of(texts) | means(*one) for texts, one in zip(found, counted, strict=True)]
        rows[f"{place[0]}, generation {place[1]}"] = {
            key: float(np.mean([one[key] for one in figures])) for key in figures[0]
        }
    for name, figures in rows.items():
        print(f"{name}: {', '.join(f'{key} {value:.3g}' for key, value in figures.items())}")
    last = {arm: true[arm, GENERATIONS] for arm in ARMS}
    for name, before, after in (
        ("true facts, alone: last generation less generation 0", true["alone", 0], last["alone"]),
        ("true facts, originals: last generation less generation 0", true["originals", 0], last["originals"]),
        ("true facts, last generation: originals less alone", last["alone"], last["originals"]),
    ):
        changes = [second - first for first, second in zip(before, after, strict=True)]
        change, agree = mean_estimate(changes, "mean"), same_sign(changes)
        rows[name] = {"change": to_plain(change), "seeds_agree": agree}
        print(f"{name}: {change}; seeds agree: {agree}")
    return rows


def same_sign(changes: Sequence[np.ndarray]) -> bool:
    """Whether the means of all seeds have one sign."""
    return len({float(np.sign(change.mean())) for change in changes}) == 1


def sampled(folder: Path, originals: Sequence[str], seed: int) -> list[str]:
    """As many texts of a model as there are originals, each from the first two words of one; none is longer than the
    longest original."""
    checkpoint = load_model(folder)
    tokenizer = checkpoint.tokenizer
    openings = [" ".join(text.split()[:2]) for text in originals]
    stop = frozenset({tokenizer.special_tokens[END_OF_TEXT]})
    longest = max(len(tokenizer.encode(text)) for text in originals)
    settings = SamplingSettings(temperature=1.0, max_tokens=longest, seed=seed)
    prompts = [np.asarray(tokenizer.encode(opening)) for opening in openings]
    written = generate(checkpoint.model, prompts, stop, settings)
    pairs = zip(openings, written, strict=True)
    return [opening + tokenizer.decode(generation.content) for opening, generation in pairs]


def facts(world: World, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """True and false facts in 100 sentences of each text, float64[texts]: values in a text about a person of the world
    that are the person's own, and others."""
    true, false = np.zeros(len(texts)), np.zeros(len(texts))
    for place, text in enumerate(texts):
        person = person_in(world, text)
        if person is not None:
            own = {normalise(value) for value in person.facts.values()}
            values = set(ANY_VALUE.findall(normalise(text)))
            true[place], false[place] = len(values & own), len(values - own)
    sentences = np.array([max(1, text.count(".")) for text in texts])
    return 100 * true / sentences, 100 * false / sentences


def means(true: np.ndarray, false: np.ndarray) -> dict[str, float]:
    """Means over texts."""
    return {"true_per_100": float(true.mean()), "false_per_100": float(false.mean())}


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
