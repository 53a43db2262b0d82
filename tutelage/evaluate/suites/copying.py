"""Whether a model copies a fact from the text before, as an answer from the result of a search must: unfinished
answers about people of whom no training text tells, after nothing, after the person's sheet of facts, and after two."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import continue_text
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import rate
from tutelage.tools.world_pages import indexed_person
from tutelage.world.grading import Question, is_correct
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.person_questions import ask_cloze
from tutelage.world.reading import PAGES, fact_sheet
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

SENTENCES = 300
SHORT = SamplingSettings(max_tokens=16)  # only the first sentence counts
SAMPLES = 5  # of each rate


class Case(NamedTuple):
    """A sentence, the sheet of its person, and that of another person."""

    question: Question
    sheet: str
    other: str
    other_first: bool


# What stands before the sentence.
BEFORE: dict[str, Callable[[Case], str]] = {
    "nothing": lambda case: "",
    "sheet": lambda case: f"{case.sheet}\n",
    "two_sheets": lambda case: (
        "\n".join([case.other, case.sheet] if case.other_first else [case.sheet, case.other]) + "\n"
    ),
}


def run(session: EvalSession) -> Results:
    """The share of right values after each of BEFORE; without copying it is chance, 1 of 32 values."""
    world, checkpoint = session.world, session.checkpoint("model")
    assert world is not None, "the suite needs a world"
    asked = cases(world, SENTENCES)
    outcomes, samples = {}, []
    for name, before in BEFORE.items():
        prompts = [f"{before(case)}- {case.question.prompt}" for case in asked]
        answers = continue_text(checkpoint, prompts, SHORT, f"sentences after {name.replace('_', ' ')}")
        right = [is_correct(case.question, answer.text) for case, answer in zip(asked, answers, strict=True)]
        outcomes[name] = outcomes_of([case.question.id for case in asked], right)
        samples += [
            {"set": name, "question": prompt, "truth": case.question.answer, "answer": answer.text, "right": is_right}
            for prompt, case, answer, is_right in list(zip(prompts, asked, answers, right, strict=True))[:SAMPLES]
        ]
    rates = {name: rate(sum(outcome for _, outcome in items), len(items)) for name, items in outcomes.items()}
    return Results(rates, outcomes, samples)


def cases(world: World, count: int) -> list[Case]:
    """Sentences about people whom only the search knows, each about another one."""
    made = []
    for number in range(count):
        rng = KeyedRandom(world.settings.seed, "copying", number)
        person, other = (indexed_person(world, 2 * number + place, "held_out") for place in range(2))
        question = ask_cloze(person, rng.choice(ATTRIBUTES), rng)
        sheet, other_sheet = (
            f"[people/{rng.randbelow(PAGES)}] {fact_sheet(one, rng.shuffled(ATTRIBUTES))}" for one in (person, other)
        )
        made.append(Case(question, sheet, other_sheet, rng.randbelow(2) == 0))
    return made


SUITE = Suite(
    name="copying",
    needs=frozenset({"world"}),
    run=run,
    labels={
        "nothing": "facts that it cannot know",
        "sheet": "the same, after the sheet that states them",
        "two_sheets": "the same, after that sheet and another",
    },
    groups=(
        RateGroup(
            "Whether it copies", "Unfinished sentences about people of whom no text tells; chance is 1 in 32, 3.1%."
        ),
    ),
)
