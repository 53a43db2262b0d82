"""Good text teaches most at the end of pre-training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tutelage.lab.base_recipe import GUESS, SEEDS, recipe_toml
from tutelage.lab.decay import DATA, DECAY, MODEL, QUICK, SETTINGS, SETUP, STABLE, pretrain_stage
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.run_cache import RunCache
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.society import World

FIRST = 0.4  # the share of clean text in the first phase, where it is saved for the end
OVERALL = (FIRST * STABLE + DECAY) / (STABLE + DECAY)
ARMS = {"anneal": (FIRST, 1.0), "spread": (OVERALL, OVERALL)}
LABELS = {"anneal": "all clean at the end", "spread": "spread evenly"}


def _mix(clean: float) -> str:
    return "world = 1" if clean == 1 else f"world = {clean:.4f}, junk = {1 - clean:.4f}"


LINES = [
    line
    for arm, (first, last) in ARMS.items()
    for seed in SEEDS
    for line in (
        pretrain_stage(f"first_{arm}_{seed}", _mix(first), STABLE, seed),
        pretrain_stage(f"{arm}_{seed}", _mix(last), DECAY, seed, f"first_{arm}_{seed}"),
    )
]
STAGES = {arm: [f"{arm}_{seed}" for seed in SEEDS] for arm in ARMS}
JUNK = '[data.junk]\nkind = "documents"\npath = "ROWS/junk.jsonl"\n\n'
SUITES = {name: ["knowledge"] for names in STAGES.values() for name in names}
RECIPE = recipe_toml(MODEL + DATA + JUNK, LINES, SUITES)
RIGHT = "knowledge.cloze.held_out"


def junk() -> Iterator[Mapping[str, object]]:
    """As many pages as the world has, with their words in random order over the page: the same words, which still
    stand beside the name, and no sentence that states a fact."""
    for number, document in enumerate(World(SETTINGS).documents()):
        yield {"text": " ".join(KeyedRandom("lab junk", number).shuffled(document.text.split()))}


def measure(runs: RunCache) -> Conclusion:
    """Facts completed right by when the clean text was read."""
    run = runs.run(RECIPE, "annealing", {"junk": junk})
    table: list[list[str | Estimate]] = []
    bars = []
    for arm, (first, last) in ARMS.items():
        rates = [pooled([run.outcomes(stage, f"knowledge.cloze.{split}") for stage in STAGES[arm]])
                 for split in ("held_out", "trained")]  # fmt: skip
        table.append([LABELS[arm], f"{first:.0%}", f"{last:.0%}", *rates])
        bars.append(Bar(LABELS[arm], "", rates[0]))
    anneal, spread = STAGES.values()
    primary = rate_effect(run, "all clean at the end minus spread evenly", RIGHT, anneal, spread)
    control = above(run, "spread evenly, above guessing", RIGHT, spread, GUESS)
    header = ["clean text", "share before", "share at the end", "completed right, half", "completed right, other half"]
    plot = IntervalPlot("Facts of the world as unfinished sentences", "right", bars)
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N14",
    name="annealing",
    claim="Good text teaches most at the end of pre-training, while the learning rate falls.",
    source="LLM pipeline (lecture)",
    published="No figures; OLMo 2 and Llama 3 end on small shares of good data.",
    setup=f"{SETUP}The other text is the same pages with their words in random order, which state no facts. In one arm "
    f"{FIRST:.0%} of the text is clean at first and all of it at the end, in the other {OVERALL:.0%} throughout: equal "
    f"tokens of each kind, equal steps and rates ({len(SEEDS)} seeds). Facts are unfinished sentences.",
    folder="annealing",
    recipe=RECIPE,
    quick=(*QUICK, *(f"stages.first_{arm}_{seed}.steps=2" for arm in ARMS for seed in SEEDS),
           *(f"stages.{name}.steps=1" for names in STAGES.values() for name in names)),
    measure=measure,
    minutes=20,
)  # fmt: skip
