"""Role marks that are single tokens are learned faster than marks that are spelled out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.prompting import write_after
from tutelage.lab.base_recipe import BASE_LR, DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import ask_questions, budget, model_of, person_questions, some
from tutelage.lab.run_cache import FinishedRun, Rows, RunCache
from tutelage.lab.world_rows import one_step_rows
from tutelage.world.grading import Question, is_correct
from tutelage.world.values import ATTRIBUTES

ROWS, STEPS, EVERY, ASKED = 2000, 40, 8, 150
LOOKS = (8, 16, 24, STEPS)
USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
SOURCE = one_step_rows(ATTRIBUTES, ROWS)


def spelled() -> Iterator[Mapping[str, object]]:
    """The rows as documents, whose marks are plain text and so several tokens each. The space gives a first word the
    token that it has elsewhere."""
    for row in SOURCE():
        yield {"text": f"{USER} {row['prompt']}{END}{ASSISTANT} {row['completion']}{END}"}


KEPT = f"save_every = {EVERY}, keep_checkpoints = {STEPS}"
SINGLE = seeded("marks_single", f'train_on = "all_tokens", {KEPT}', data="marks_rows", steps=STEPS)
SPELLED = {
    name: f'{name} = {{ kind = "pretrain", from = "base", data = {{ marks_text = 1 }}, steps = {STEPS}, '
    f'batch_tokens = 2048, lr = {BASE_LR / 3:.3g}, seed = {seed}, {KEPT}, optimizer = {{ kind = "muon" }} }}'
    for seed, name in enumerate(f"marks_spelled_seed_{seed}" for seed in SEEDS)
}
STAGES = {**SINGLE, **SPELLED}
TEXT = '[data.marks_text]\nkind = "documents"\npath = "ROWS/marks_text.jsonl"\n\n'
RECIPE = recipe_toml(DEMO + rows_data("marks_rows") + TEXT, STAGES.values(), {})
FILES: dict[str, Rows] = {"marks_rows": SOURCE, "marks_text": spelled}


def answers_single(run: FinishedRun, name: str, questions: list[Question]) -> tuple[np.ndarray, np.ndarray]:
    """Of each answer whether it ends and has text, and whether it is right too."""
    asked = ask_questions(model_of(run, name), questions)
    return asked.stopped * (asked.words > 0), asked.right


def answers_spelled(run: FinishedRun, name: str, questions: list[Question]) -> tuple[np.ndarray, np.ndarray]:
    """The same with spelled marks; a turn that is not the assistant's is no answer."""
    prompts = [f"{USER} {question.prompt}{END}{ASSISTANT}" for question in questions]
    written = [one[0] for one in write_after(model_of(run, name), prompts, (END,), SamplingSettings(max_tokens=128))]
    form = [not one.cut and bool(one.text.strip()) and "<|" not in one.text for one in written]
    right = [fine and is_correct(question, one.text)
             for question, one, fine in zip(questions, written, form, strict=True)]  # fmt: skip
    return np.array(form, np.float64), np.array(right, np.float64)


def measure(runs: RunCache) -> Conclusion:
    """Answers that keep the format and right answers along training, by the marks."""
    run = runs.run(RECIPE, "demo", FILES)
    questions = some(runs, person_questions(each=2), ASKED)
    looks = [1] if runs.overrides else list(LOOKS)
    arms = {"single tokens": (SINGLE, answers_single), "spelled": (SPELLED, answers_spelled)}
    form: dict[str, list[np.ndarray]] = {}
    right: dict[str, list[np.ndarray]] = {}
    for label, (stages, answers) in arms.items():
        found = [[answers(run, name if step == looks[-1] else f"{name}@{step}", questions) for step in looks]
                 for name in stages]  # fmt: skip
        form[label], right[label] = ([np.array([one[part] for one in seed]) for seed in found] for part in (0, 1))
    table: list[list[str | Estimate]] = [
        [label, str(step), mean_estimate([one[place] for one in form[label]]),
         mean_estimate([one[place] for one in right[label]]), *budget(run, list(arms[label][0]))]
        for label in arms
        for place, step in enumerate(looks)
    ]  # fmt: skip
    lines = [
        Line(label, [float(step) for step in looks],
             [mean_estimate([one[place] for one in form[label]]) for place in range(len(looks))])
        for label in arms
    ]  # fmt: skip
    single, spelled_ = form.values()
    means = [[one.mean(axis=0) for one in found] for found in (single, spelled_)]
    primary = mean_effect("format, mean of all steps measured, single tokens minus spelled", *means)
    last = [one[-1] for one in single]
    control = mean_effect("single tokens, format at the last step, above a half", last,
                          [np.full(len(questions), 0.5)] * len(SEEDS))  # fmt: skip
    plot = LinePlot("Answers in the format", "step", "rate", lines)
    header = ["marks", "step", "format", "right, held-out people", "steps in all", "trained tokens in all"]
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N6",
    name="spelled-marks",
    claim="Role marks should be single tokens: a model learns the format in fewer steps than from marks that are "
    "spelled out in several tokens.",
    source="SFT from scratch (article)",
    published="No figures.",
    setup=f"{DEMO_SETUP}It is fine-tuned on all tokens of {ROWS:,} questions about half of the people with their "
    f"answers for {STEPS} steps of 2,048 tokens (lr 3e-3, {len(SEEDS)} seeds). The marks of roles and ends are new "
    f"tokens, or the same texts in pieces of the tokenizer, so that a step holds fewer rows. At {len(LOOKS)} steps "
    f"{ASKED} questions about the other half are answered. An answer keeps the format if it ends by its mark and "
    "holds text and no other mark.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=1" for name in STAGES)),
    measure=measure,
    minutes=6,
)
