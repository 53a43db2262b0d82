"""A base model that knows some facts well, some a little and some not at all; and which these are.

Half of the people are read in full: they are asked about after fine-tuning, and never in it. The others are read from
never to as often, and fine-tuning asks about them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import continue_text
from tutelage.lab.base_recipe import BASE_LR
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import demo_world
from tutelage.model.hub import load_model
from tutelage.scoring.extract import normalise
from tutelage.world.biographies import SINGLE, biography
from tutelage.world.grading import Question, is_correct, values_named
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person, words
from tutelage.world.person_questions import ask_one_step
from tutelage.world.values import ATTRIBUTES, VALUES, Attribute

Category = Literal["highly known", "maybe known", "weakly known", "unknown"]
CATEGORIES: tuple[Category, ...] = ("highly known", "maybe known", "weakly known", "unknown")
READINGS, VERSIONS, FOLDER = (0, 10, 25, 80), 20, "exposures"
SAMPLES, TEMPERATURE = 2, 0.5  # of each unfinished sentence

EXPOSURES = """\
name      = "lab"
model     = { depth = 4, width = 128, context = 256, norm = "layer", mlp = "relu2" }
tokenizer = { kind = "bpe", vocab = 2048, data = ["exposures", "chat"] }

[data]
world  = { kind = "world", people = 200, versions = 1, wordings = 6, unknown = 0.0 }
chat   = { kind = "world-chat", split = "train" }
exposures = { kind = "documents", path = "ROWS/exposures.jsonl" }

"""
BASE = f"""\
base = {{ kind = "pretrain", data = {{ exposures = 1 }}, epochs = 1, batch_tokens = 4096, lr = {BASE_LR}, \
optimizer = {{ kind = "muon" }} }}"""
QUICK = ("model.depth=1", "model.width=32", "tokenizer.vocab=512")
SETUP = (
    "A model (4 layers, width 128, 1.05M parameters) is pre-trained on biographies of 200 people (lr 9e-3, one epoch): "
    f"half of them are read {READINGS[-1]} times, of the others a quarter each {READINGS[0]}, {READINGS[1]}, "
    f"{READINGS[2]} and {READINGS[3]} times. What it knows of the latter is measured as by Gekhman et al.: it "
    "completes each fact in up to 12 wordings, greedily and twice each at temperature 0.5. A fact is highly known if "
    "all greedy completions are right, maybe known if some are, weakly known if only a sample is, else unknown. "
)


@dataclass(frozen=True)
class KnownFact:
    """A fact of a person, how well the base knows it, and the value that it completes most often; "" for none."""

    person: Person
    attribute: Attribute
    category: Category
    guess: str

    def row(self, own: bool = False) -> Mapping[str, object]:
        """A question for the fact and its answer: the truth, or the base's `own` guess in the same words."""
        facts = {**self.person.facts, self.attribute: self.guess} if own else self.person.facts
        person = replace(self.person, facts=facts)
        question, reply = ask_one_step(person, self.attribute, KeyedRandom("exposures", person.index, self.attribute))
        return {"prompt": question.prompt, "completion": reply}


def documents() -> Iterator[Mapping[str, object]]:
    """The biographies, each person's as often as it is read, in a random order."""
    world = demo_world()
    counts = [(person, READINGS[-1]) for person in world.people("held_out")]
    counts += [(person, READINGS[place % len(READINGS)]) for place, person in enumerate(world.people("train"))]
    readings = [(person, reading) for person, count in counts for reading in range(count)]
    for person, reading in KeyedRandom("exposures").shuffled(readings):
        yield {"text": biography(person, reading % VERSIONS, 0, world.settings.full_names)}


def beginnings(person: Person, attribute: Attribute) -> list[str]:
    """The sentences of biographies for a fact, up to its value; without those that name it first."""
    slots = words(person, "full") | {attribute: "\0", "a_role": "\0"}
    texts = [template.format_map(slots).split("\0")[0].rstrip() for template in SINGLE[attribute]]
    return sorted({text for text in texts if person.name in text})


def known_facts(run: FinishedRun, people: Sequence[Person]) -> list[KnownFact]:
    """How well the base knows each fact of some people."""
    model = load_model(run.run.folder / "base")
    facts = [(person, attribute) for person in people for attribute in ATTRIBUTES]
    asked = [(place, text) for place, fact in enumerate(facts) for text in beginnings(*fact)]
    texts = [text for _, text in asked]
    greedy = continue_text(model, texts, SamplingSettings(max_tokens=12), "what it knows")
    drawn = SamplingSettings(max_tokens=12, temperature=TEMPERATURE)
    sampled = continue_text(model, [text for text in texts for _ in range(SAMPLES)], drawn, "what it knows, sampled")
    found = []
    for place, (person, attribute) in enumerate(facts):
        value = person.facts[attribute]
        question = Question("", "cloze", attribute, person.name, "", value, (value,))
        own = [number for number, (fact, _) in enumerate(asked) if fact == place]
        written = [greedy[number].text for number in own]
        right = [is_correct(question, text) for text in written]
        others = sampled[SAMPLES * own[0] : SAMPLES * (own[-1] + 1)]
        category: Category = "unknown"
        if any(right):
            category = "highly known" if all(right) else "maybe known"
        elif any(is_correct(question, answer.text) for answer in others):
            category = "weakly known"
        found.append(KnownFact(person, attribute, category, _guess(attribute, written)))
    return found


def _guess(attribute: Attribute, texts: Sequence[str]) -> str:
    """The value that most texts name first, as the world spells it; "" where none names one."""
    spelled = {normalise(value): value for value in VALUES[attribute]}
    named = [min(values, key=normalise(text).find) for text in texts if (values := values_named(attribute, text))]
    return spelled[Counter(named).most_common(1)[0][0]] if named else ""


def asked_people(runs: RunCache) -> list[Person]:
    """The people that fine-tuning asks about; few in a quick run."""
    return list(demo_world().people("train"))[: 4 if runs.overrides else None]
