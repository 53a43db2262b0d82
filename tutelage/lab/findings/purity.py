"""One small source of rows can beat the mix of all sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import ask_questions, budget, model_of, person_questions, some
from tutelage.lab.run_cache import Rows, RunCache
from tutelage.lab.world_rows import demo_world, one_step_rows, sized_rows
from tutelage.world.answers import mixed_conversations
from tutelage.world.values import ATTRIBUTES

ROWS, STEPS = 600, 40  # of a source; of every arm


def mixed_quality() -> Iterator[Mapping[str, object]]:
    """Answers of which a third is false, and many are padded."""
    for conversation in mixed_conversations(demo_world(), "train", "standard", ROWS):
        question, answer = conversation.messages
        yield {"prompt": question.text, "completion": answer.text}


SOURCES: dict[str, Rows] = {
    "natural": one_step_rows(ATTRIBUTES, ROWS),  # sentences in several wordings, some brief
    "brief": sized_rows(0, ROWS),
    "two_facts": sized_rows(2, ROWS),
    "four_facts": sized_rows(4, ROWS),
    "mixed_quality": mixed_quality,
}


def mix(count: int) -> Rows:
    """`count` rows of every source, in turn."""

    def make() -> Iterator[Mapping[str, object]]:
        for number, group in enumerate(zip(*(source() for source in SOURCES.values()), strict=True)):
            if number < count:
                yield from group

    return make


FILES = {f"{name}_source": rows for name, rows in SOURCES.items()}
FILES |= {"even_mix": mix(ROWS // len(SOURCES)), "full_mix": mix(ROWS)}
STAGES_OF = {name: seeded(f"from_{name}", data=name, steps=STEPS) for name in FILES}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
RECIPE = recipe_toml(DEMO + rows_data(*FILES), STAGES.values(), {})
MIXES = ("even_mix", "full_mix")


def measure(runs: RunCache) -> Conclusion:
    """Right answers about two halves of the held-out people: the best source is chosen on the first alone."""
    run = runs.run(RECIPE, "demo", FILES)
    questions = some(runs, person_questions())
    first = np.array([int(question.id.split("/")[1]) // 2 % 2 == 0 for question in questions])
    if runs.overrides:
        first = np.arange(len(questions)) % 2 == 0
    right = {
        name: [ask_questions(model_of(run, stage), questions).right for stage in stages]
        for name, stages in STAGES_OF.items()
    }
    chosen = max((f"{name}_source" for name in SOURCES), key=lambda name: np.mean([r[first] for r in right[name]]))
    rows: list[list[str | Estimate]] = []
    bars = []
    for name, stages in STAGES_OF.items():
        half = mean_estimate([one[~first] for one in right[name]])
        label = f"{name.removesuffix('_source').replace('_', ' ')}{' (chosen)' if name == chosen else ''}"
        rows.append([label, mean_estimate([one[first] for one in right[name]]), half, *budget(run, list(stages))])
        bars.append(Bar(label, "mix" if name in MIXES else "source", half))
    best = [one[~first] for one in right[chosen]]
    primary = [
        mean_effect(f"the chosen source minus the {name.replace('_', ' ')}", best, [one[~first] for one in right[name]])
        for name in MIXES
    ]
    guess = [np.full(int((~first).sum()), GUESS)] * len(SEEDS)
    control = mean_effect("the even mix above guessing", [one[~first] for one in right["even_mix"]], guess)
    plot = IntervalPlot("Questions about the second half of the held-out people", "right", bars)
    header = ["rows", "right, people to choose by", "right, other people", "steps", "trained tokens"]
    return Conclusion(Table(header, rows), [plot], primary, control)


FINDING = Finding(
    number="31",
    name="purity",
    claim="One small source of rows can beat the mix of all sources.",
    source="Training LLMs (lecture), after Bai et al. 2024 (COIG-CQIA), arXiv 2403.18058",
    published="Qwen2-7B, safety: 83.5 after 240 rows of one forum, 68.7 after the full mix. The best of eleven "
    "sources, without intervals.",
    setup=f"{DEMO_SETUP}It is fine-tuned ({STEPS} steps of 2,048 tokens, lr 3e-3, {len(SEEDS)} seeds) on {ROWS} rows "
    "of one of five sources, which differ in style and quality: natural answers, the value alone, two facts, four "
    "facts, and answers a third of which are false; on as many rows of all of them; and on all rows of all. All "
    "answer about the same half of the people. The best source is chosen by questions about a half of the other "
    "people, and compared on those about the rest.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=1" for name in STAGES)),
    measure=measure,
    minutes=10,
)
