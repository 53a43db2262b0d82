"""Answers without instructions still teach to answer; so does a narrow text; so do three rules on the logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.prompting import write_after
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import PersonAnswers, ask_questions, budget, model_of, person_questions, some, text_logprobs
from tutelage.lab.run_cache import FinishedRun, Rows, RunCache
from tutelage.lab.world_rows import demo_world
from tutelage.world.grading import Question, is_correct
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.person_questions import ask_one_step
from tutelage.world.values import ATTRIBUTES

ROWS, STEPS, ASKED, LONGEST = 1200, 80, 300, 30  # an answer has at most LONGEST words: more is a document
BRIEF = ("Just the", "In a word")


def chosen(*kinds: str) -> Rows:
    """The first ROWS conversations of the demo of some kinds, their first exchange; repeated where there are fewer."""

    def make() -> Iterator[Mapping[str, object]]:
        rows = []
        for conversation in demo_world().conversations("train"):
            turns = [turn for turn in conversation.messages if turn.role != "system"]
            if conversation.meta["kind"] in kinds:
                rows.append({"prompt": turns[0].text, "completion": turns[1].text})
        yield from islice((row for _ in range(ROWS) for row in rows), ROWS)

    return make


def random_strings() -> Iterator[Mapping[str, object]]:
    """Moves of a game as text: nothing that anybody would ask or answer."""
    for number in range(ROWS):
        rng = KeyedRandom("moves", number)
        moves = [f"{rng.choice('abcdefgh')}{1 + rng.randbelow(8)}" for _ in range(16)]
        yield {"prompt": " ".join(moves[:8]), "completion": " ".join(moves[8:])}


FILES: dict[str, Rows] = {
    "answers_rows": chosen("one-step"),
    "sums_rows": chosen("arithmetic"),
    "everyday_rows": chosen("everyday"),
    "moves_rows": random_strings,
}
RESPONSE = 'train_on = "response_only"'
ARMS = {
    "questions and answers": seeded("instructed", data="answers_rows", steps=STEPS),
    "answers alone": seeded("responses", RESPONSE, data="answers_rows", steps=STEPS),
    "sums alone": seeded("sums_alone", data="sums_rows", steps=STEPS),
    "everyday talk alone": seeded("everyday_alone", data="everyday_rows", steps=STEPS),
    "moves of a game": seeded("moves_alone", data="moves_rows", steps=STEPS),
    "nothing (the template's tokens are new)": seeded("untouched", "lr = 1e-9", data="answers_rows", steps=1),
}
STAGES = {name: line for stages in ARMS.values() for name, line in stages.items()}
RECIPE = recipe_toml(DEMO + rows_data(*FILES), STAGES.values(), {})


def followed(asked: PersonAnswers) -> np.ndarray:
    """Whether each answer is right, stops, and is short."""
    return asked.right * (asked.words <= LONGEST)


def by_rules(run: FinishedRun, questions: list[Question], rules: bool) -> np.ndarray:
    """The same of what the base writes after each question, with or without the rules."""
    prompts = [f"{question.prompt}\n" for question in questions]
    settings = SamplingSettings(max_tokens=128)
    answers = write_after(model_of(run, "base"), prompts, ("\n",), settings, rules=rules)
    right = [
        is_correct(question, answer.text) and not answer.cut and 0 < len(answer.text.split()) <= LONGEST
        for question, (answer,) in zip(questions, answers, strict=True)
    ]
    return np.array(right, np.float64)


def ranked(runs: RunCache, run: FinishedRun) -> np.ndarray:
    """Whether the base finds the right reply to a question likelier than the reply to the same question about somebody
    else. Both replies are of the same attribute, and neither names anybody."""
    people = some(runs, list(demo_world().people("held_out")))
    pairs = []
    for place, person in enumerate(people):
        for attribute in ATTRIBUTES:
            question, _ = ask_one_step(person, attribute, KeyedRandom("ranked", person.index, attribute))
            others = [one for one in people[place + 1 :] + people[:place] if one.facts[attribute] != question.answer]
            pairs += [(f"{question.prompt}\n", f"{one.facts[attribute]}.") for one in (person, others[0])]
    scores = text_logprobs(model_of(run, "base"), pairs)
    return (scores[::2] > scores[1::2]).astype(float)


def measure(runs: RunCache) -> Conclusion:
    """Short right answers about held-out people, by what was trained; and what the base ranks first."""
    run = runs.run(RECIPE, "demo", FILES)
    questions = some(runs, person_questions(each=3), ASKED)
    brief = np.array([question.prompt.startswith(BRIEF) for question in questions])
    right = {label: [followed(ask_questions(model_of(run, stage), questions)) for stage in stages]
             for label, stages in ARMS.items()}  # fmt: skip
    table: list[list[str | Estimate]] = []
    for label, stages in ARMS.items():
        parts = [mean_estimate([one[~brief] for one in right[label]]),
                 mean_estimate([one[brief] for one in right[label]]) if brief.any() else ""]  # fmt: skip
        table.append([label, mean_estimate(right[label]), *parts, *budget(run, list(stages))])
    for label, rules in (("base, three rules on the logits", True), ("base, plain text", False)):
        right[label] = [by_rules(run, questions, rules)] * len(SEEDS)
        table.append([label, mean_estimate(right[label]), "", "", "", ""])
    ranks = ranked(runs, run)
    table.append(["base, ranks the right reply first", mean_estimate([ranks]), "", "", "", ""])
    full, responses, _, everyday, moves, nothing, *_ = right.values()
    primary = [
        mean_effect("answers alone minus nothing", responses, nothing),
        mean_effect("everyday talk alone minus nothing", everyday, nothing),
        mean_effect("the base ranks the right reply first, above a half", [ranks] * 3, [np.full(len(ranks), 0.5)] * 3),
    ]
    control = mean_effect("questions and answers minus moves of a game", full, moves)
    bars = [Bar(label, "", mean_estimate(values)) for label, values in right.items()]
    plot = IntervalPlot("Short right answers about held-out people", "rate", bars)
    header = ["trained on", "right and short", "without brief questions", "brief questions", "steps", "trained tokens"]
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="11",
    name="response-tuning",
    claim="Answers alone, without instructions, still teach to follow instructions, and so does a narrow text: the "
    "base model ranks right replies first already.",
    source="Revisiting SFT; Training LLMs; after Hewitt et al. 2024, arXiv 2409.14254, and An & Kim 2024, arXiv "
    "2410.02465",
    published="Win rates against instruction tuning: answers alone 43.3%, sums 23.7, poetry 22.9, recipes 14.6, "
    "chess 2.1, three rules on the logits 24.4, base 2.4. The base ranks the right reply first in 80.4%.",
    setup=f"{DEMO_SETUP}Its text has questions in some sums alone, and no dialogue. It is fine-tuned for {STEPS} "
    f"steps of 2,048 tokens (lr 3e-3, {len(SEEDS)} seeds) on {ROWS:,} questions about half of the people with their "
    "answers, on the answers alone, on sums, on everyday talk, on moves of a game, or not at all. Then it answers "
    f"{ASKED} questions about the other half: right, and in at most {LONGEST} words. The base alone continues the "
    "question, with and without the rules, whose end has its full weight after 250 tokens. It ranks the right value "
    "before that of somebody else, after the question as text.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=1" for name in STAGES if "untouched" not in name)),
    measure=measure,
    minutes=15,
)
