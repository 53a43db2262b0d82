"""Right solutions of its own change a model less than a teacher's, and serve as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tutelage.files import read_text
from tutelage.lab.base_recipe import SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import above, forgetting_effect, loss_effect, no_worse, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.findings.one_style import styled
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache
from tutelage.lab.sums import BASE, BASE_SETUP, QUICK, pairs, question, rows, unseen

ROWS, NEW, STEPS = 3000, 1500, 60
TEACHER_STYLE = 1  # ones first
START = seeded("half_learned", "lr = 3e-3", epochs=2, data="steps")
OWN = [f"own_{seed}" for seed in SEEDS]
SOLVED = "\n".join(
    f'{name} = {{ kind = "best_of_n", from = "{start}", data = {{ prompts = 1 }}, held_out = 0, samples = 8, '
    'min_reward = 1, max_tokens = 100, rewards = { right = { kind = "verifier", verifier = "numeric" } } }'
    for name, start in zip(OWN, START, strict=True)
)
TUNED = {arm: [f"{arm}_{seed}" for seed in SEEDS] for arm in ("own_solutions", "teacher_solutions")}


def _stage(name: str, start: str, data: str, seed: int) -> str:
    return (
        f'{name} = {{ kind = "sft", from = "{start}", data = {{ {data} = 1 }}, steps = {STEPS}, batch_tokens = 2048, '
        f'lr = 1e-3, seed = {seed}, keep = "last", optimizer = {{ kind = "muon" }} }}'
    )


LINES = [
    *START.values(),
    SOLVED,
    *(_stage(TUNED["own_solutions"][n], start, f"solved_{n}", n) for n, start in enumerate(START)),
    *(_stage(TUNED["teacher_solutions"][n], start, "taught", n) for n, start in enumerate(START)),
]
DATA = (
    rows_data("taught")
    + '[data.prompts]\nkind = "prompts"\npath = "ROWS/prompts.jsonl"\n\n'
    + "".join(f'[data.solved_{n}]\nkind = "made"\nstage = "{name}"\n\n' for n, name in enumerate(OWN))
)
SUITES = {name: ["questions"] for name in START} | {
    name: ["questions", "forgetting"] for names in TUNED.values() for name in names
}
RECIPE = recipe_toml(BASE + DATA, LINES, SUITES)
RIGHT = "questions.right"


def fresh(count: int) -> list[tuple[int, int]]:
    """Sums that neither the first rows nor the questions have."""
    known = set(pairs(ROWS, seed=0))
    return [pair for pair in pairs(ROWS, seed=1) if pair not in known][:count]


def prompts() -> Iterator[Mapping[str, object]]:
    """The new sums, for the model to work out."""
    for left, right in fresh(NEW):
        yield {"prompt": question(left, right), "answer": str(left + right)}


def taught(count: int) -> Callable[[], Iterator[Mapping[str, object]]]:
    """The new sums, worked out by the teacher."""

    def make() -> Iterator[Mapping[str, object]]:
        for left, right in fresh(count):
            yield {"prompt": question(left, right), "completion": styled(left, right, TEACHER_STYLE)}

    return make


def measure(runs: RunCache) -> Conclusion:
    """Right answers and the loss on the base's text after equal steps on own and on the teacher's solutions."""
    files = {"steps": rows("steps", ROWS), "asked": unseen(ROWS), "prompts": prompts, "taught": taught(NEW)}
    run = runs.run(RECIPE, "own_solutions", files)
    before = pooled([run.outcomes(stage, RIGHT) for stage in START])
    table: list[list[str | Estimate]] = [["before", before, "", "", "", ""]]
    bars = [Bar("before", "", before)]
    solved = sum(len(read_text(run.run.folder / name / "data.jsonl").splitlines()) for name in OWN) / len(OWN)
    for (arm, stages), rows_of in zip(TUNED.items(), (solved, NEW), strict=True):
        right = pooled([run.outcomes(stage, RIGHT) for stage in stages])
        forgetting = forgetting_effect(run, arm, stages).estimate
        table.append([arm.replace("_", " "), right, forgetting, f"{rows_of:,.0f}", *budget(run, stages)])
        bars.append(Bar(arm.replace("_", " "), "", right))
    own, teacher = TUNED.values()
    primary = [
        loss_effect(run, "loss on the base's text, own below teacher's", own, teacher),
        no_worse(rate_effect(run, "right, own minus teacher's", RIGHT, own, teacher), 0.05),
    ]
    control = above(run, "own, right above 1%", RIGHT, own, 0.01)
    header = ["fine-tuned on", "right", "forgetting", "rows", "steps", "trained tokens"]
    return Conclusion(Table(header, table), [IntervalPlot("Unseen sums", "right", bars)], primary, control)


FINDING = Finding(
    number="N16",
    name="own-solutions",
    claim="Right solutions of its own, found by sampling, make a model forget less than a teacher's, and serve as "
    "well.",
    source="Training LLMs (lecture)",
    published="No figures.",
    setup=f"{BASE_SETUP}{ROWS:,} sums are worked out step by step and read twice, so that the model is right about "
    f"half of the time. Of {NEW:,} other sums it draws eight answers each and keeps a right one; a teacher works out "
    f"the same sums right, ones first. Both are trained on for {STEPS} steps (Muon, lr 1e-3, {len(SEEDS)} seeds). "
    "Forgetting is the rise of the loss on the base's text since pre-training.",
    folder="own_solutions",
    recipe=RECIPE,
    quick=(
        *QUICK,
        *(f"stages.{name}.epochs=1" for name in START),
        *(f"stages.{name}.steps=2" for names in TUNED.values() for name in names),
        *(f"stages.{name}.samples=1" for name in OWN),
        *(f"stages.{name}.rewards.right.wrong=1" for name in OWN),
    ),
    measure=measure,
    minutes=15,
)
