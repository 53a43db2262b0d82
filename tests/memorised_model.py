"""A model that was trained on texts of the synthetic world with planted canaries, each a known number of times, and on
questions about its people, half of whom it never read of."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tiny_recipe import run_quietly

from tutelage.evaluate.memorisation import MemorisedText
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.person_questions import ask_one_step
from tutelage.world.society import World, WorldSettings
from tutelage.world.values import ATTRIBUTES

RECIPE = """
name      = "canaries"
model     = { depth = 2, width = 64, context = 320 }
tokenizer = { kind = "bpe", vocab = 400 }
data.pages = { kind = "documents", path = "pages.jsonl" }

[stages.base]
kind = "pretrain"
data = { pages = 1 }
steps = 160
batch_tokens = 1024
lr = 1e-2
optimizer = { kind = "muon" }
"""
COUNTS = (0, 1, 40)
EACH = 10
WORDS = "amber birch cedar delta ember fjord grove heron ivory jetty kayak lilac maple north olive pearl".split()


PEOPLE = 40  # of the world, whom the texts are about
ASKED = 16  # questions that are in the text, and as many about people whom it does not know


@dataclass(frozen=True)
class Planted:
    """The folder of the model, the canaries with their counts, and the questions with their answers: the first ASKED
    are in its training text."""

    model: Path
    canaries: list[MemorisedText]
    questions: list[tuple[str, str]]


def canaries() -> Iterator[MemorisedText]:
    """Texts of random words, which no model can guess; a third of them are not planted."""
    rng = random.Random(7)
    for number in range(EACH * len(COUNTS)):
        code, vault = (" ".join(rng.choices(WORDS, k=size)) for size in (9, 3))
        yield MemorisedText(f"canary {number}", f"The code of vault {vault} is {code}.", COUNTS[number % len(COUNTS)])


def questions() -> list[tuple[str, str]]:
    """A question about each of 2 ASKED people; the texts are about the first PEOPLE of the world only."""
    world = World(WorldSettings(people=2 * PEOPLE))
    people = [world.person(number) for number in (*range(ASKED), *range(PEOPLE, PEOPLE + ASKED))]
    asked = (
        ask_one_step(person, ATTRIBUTES[number % len(ATTRIBUTES)], KeyedRandom(0, "planted", person.index))[0]
        for number, person in enumerate(people)
    )
    return [(question.prompt, question.answer) for question in asked]


def plant(folder: Path) -> Planted:
    """Train the model in a folder."""
    planted, asked = [*canaries()], questions()
    rng = random.Random(5)
    texts = [document.text for document in World(WorldSettings(people=PEOPLE, versions=1)).documents()]
    texts += [one.text for one in planted for _ in range(one.count or 0)]
    known = [f"Question: {question}\nAnswer: {answer}" for question, answer in asked[:ASKED]]
    texts += ["\n".join(rng.sample(known, 5)) for _ in range(220)]
    random.Random(0).shuffle(texts)
    (folder / "pages.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "canaries.toml").write_text(RECIPE)
    run = run_quietly(Run(load_recipe(folder / "canaries.toml"), folder / "run"))
    return Planted(run.folder / "base", planted, asked)
