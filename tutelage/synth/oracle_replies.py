"""What the world's oracle replies to a question of each purpose, in the form that its method asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tutelage.scoring.extract import normalise
from tutelage.synth.tool_turns import BUSY
from tutelage.world import World
from tutelage.world.biographies import biography
from tutelage.world.grading import ANY_VALUE
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person, words
from tutelage.world.prose import scene
from tutelage.world.search import people_named
from tutelage.world.values import ATTRIBUTES, Attribute
from tutelage.world.wordings import ANSWERS, BRIEF, ONE_STEP, UNKNOWN_ANSWERS

Writer = Callable[[World, str, Any, KeyedRandom], str]  # from the question's text, its material, and a source of chance


def answer(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """The answer to a question about a person; that it does not know, about anything else."""
    person = person_in(world, text)
    attribute = asked_attribute(text, person) if person else None
    if person is None or attribute is None:
        return rng.choice(UNKNOWN_ANSWERS).format(name="that")
    return rng.choice(ANSWERS[attribute]).format_map(words(person, "full"))


def person_in(world: World, text: str) -> Person | None:
    """The first person of the world whose full name is in a text."""
    plain = normalise(text.replace("'s", ""))
    found = [index for index in people_named(plain.split(), world.keys) if index < world.settings.people]
    return world.person(found[0]) if found else None


def asked_attribute(text: str, person: Person) -> Attribute | None:
    """Which attribute a question in one of the world's wordings asks for."""
    for attribute in ATTRIBUTES:
        if any(wording.format(name=person.name) in text for wording in (*ONE_STEP[attribute], *BRIEF[attribute])):
            return attribute
    return None


def retold(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """A passage in other words: another version of a person's page, or the same sentences in another order."""
    passage = about["text"] if isinstance(about, Mapping) else str(about)
    person = person_in(world, passage)
    if person is not None:
        return biography(person, 100 + rng.randbelow(10_000), world.settings.seed, world.settings.full_names)
    return " ".join(rng.shuffled(passage.replace(". ", ".\0").split("\0")))


def any_person(world: World, rng: KeyedRandom) -> Person:
    """A random person."""
    return world.person(rng.randbelow(world.settings.people))


def any_question(world: World, rng: KeyedRandom) -> tuple[str, str]:
    """A random question with its answer."""
    person, attribute = any_person(world, rng), rng.choice(ATTRIBUTES)
    reply = rng.choice(ANSWERS[attribute]).format_map(words(person, "full"))
    return rng.choice(ONE_STEP[attribute]).format(name=person.name), reply


def tasks(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """Alpaca's list: instruction, input and output."""
    _, first, count = about
    items = []
    for number in range(first, first + count):
        question, reply = any_question(world, rng)
        label = "" if number == first else f"{number}. Instruction: "
        items.append(f"{label}{question}\nInput: <no input>\nOutput: {reply}")
    return "\n\n".join(items)


def instructions(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """A numbered list of questions."""
    _, first, count = about
    return "\n".join(f"{number}. {any_question(world, rng)[0]}" for number in range(first, first + count))


def pairs(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """Genres and audiences."""
    genres, audiences = (
        ("letter", "lesson", "diary", "report", "talk", "riddle"),
        ("pupils", "nurses", "clerks", "readers"),
    )
    found = [{"genre": genre, "audience": rng.choice(audiences)} for genre in rng.shuffled(genres)[:about]]
    return json.dumps(found)


def consistency(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """Whether a retelling keeps the facts of a page: the share of its values that are in it, from 1 to 5."""
    row, told = about
    return f"I compared the facts.\nScore: {1 + round(4 * facts_kept(row['text'], told))}"


def facts_kept(source: str, told: str) -> float:
    """The share of the values in a text that are in another; 0 for a copy."""
    values = set(ANY_VALUE.findall(normalise(source)))
    if source.strip() == told.strip():
        return 0.0
    return len(values & set(ANY_VALUE.findall(normalise(told)))) / len(values) if values else 1.0


def question_pairs(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """Questions and answers about a page, in lines."""
    return "\n".join(f"Question: {question}\nAnswer: {reply}" for question, reply in page_questions(world, about, rng))


def document_qa(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """Questions and answers about a page with the sentence that proves each."""
    row, count = about
    found = []
    for question, reply in page_questions(world, row, rng)[:count]:
        value = next(iter(ANY_VALUE.findall(normalise(reply))), "")
        sentence = next((part for part in row["text"].split(". ") if value in normalise(part)), row["text"][:20])
        found.append({"question": question, "answer": reply, "quote": sentence})
    return json.dumps(found)


def page_questions(world: World, row: Any, rng: KeyedRandom) -> list[tuple[str, str]]:
    """Questions about the person of a page, each with its answer; about the page itself where it is of no person."""
    person = person_in(world, row["text"])
    if person is None:
        return [("What is the text about?", row["text"].split(". ")[0])]
    shown = [attribute for attribute in rng.shuffled(ATTRIBUTES) if person.facts[attribute] in row["text"]]
    return [
        (rng.choice(ONE_STEP[attribute]).format(name=person.name),
         rng.choice(ANSWERS[attribute]).format_map(words(person, "full")))
        for attribute in shown
    ]  # fmt: skip


def exercise(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """One question about a page with its answer."""
    question, reply = page_questions(world, about, rng)[0]
    return f"Question: {question}\nAnswer: {reply}"


def same(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """Whether two answers name the same values."""
    left, right = (set(ANY_VALUE.findall(normalise(part))) for part in about)
    return "[[yes]]" if left == right else "[[no]]"


def known(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """Whether the values that an answer names are those of a page; where it names none, it says nothing definite."""
    row, reply = about
    named = set(ANY_VALUE.findall(normalise(reply)))
    if not named:
        return "[[uninformative]]"
    return "[[right]]" if named <= set(ANY_VALUE.findall(normalise(row["text"]))) else "[[wrong]]"


def agent(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """A search for the person who is asked about, until there is a result; then the answer."""
    person = person_in(world, about)
    if person is None or (text.startswith("<result>") and BUSY not in text):
        return answer(world, about, about, rng)
    return f"<call>{json.dumps({'name': 'search', 'arguments': {'query': person.name}})}</call>"


def rubric(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """Whether each answer names the value that was asked for."""
    for question, reply in about:
        person = person_in(world, question)
        attribute = asked_attribute(question, person) if person else None
        if person is None or attribute is None or normalise(person.facts[attribute]) not in normalise(reply):
            return "It names another.\n[[fail]]"
    return "All are right.\n[[pass]]"


def problem(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """A question, after its label."""
    return f"Problem: {any_question(world, rng)[0]}"


def constrained(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """An answer that follows constraints."""
    question, drawn = about
    kinds = [one["kind"].partition(":")[2] for one in drawn]
    reply = answer(world, question, about, rng).replace(",", "")
    if "number_bullet_lists" in kinds:
        reply = f"* {reply}\n* That is all.\n* I am sure."
    reply = f"<<the answer>>\n{reply}" if "title" in kinds else reply
    reply = f'"{reply}"' if "quotation" in kinds else reply
    return reply.lower() if "english_lowercase" in kinds else reply


def choice(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """A or B: the answer with more values that are true of the person; A where both have as many."""
    row, order = about
    person = person_in(world, row["messages"][-1]["content"])
    true = {normalise(value) for value in person.facts.values()} if person else set()
    counts = [len(true & set(ANY_VALUE.findall(normalise(reply)))) for reply in order]
    return "A" if counts[0] >= counts[1] else "B"


def points(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """5 points for an answer with a true value, 1 for another."""
    row, reply = about
    person = person_in(world, row["messages"][-1]["content"])
    named = set(ANY_VALUE.findall(normalise(reply)))
    true = {normalise(value) for value in person.facts.values()} if person else set()
    return f"It names {len(named)} values.\nScore: {5 if named & true else 1}"


def reason(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """A thought, then the answer."""
    reply = answer(world, text, about, rng)
    return f"<think>\nThe question is: {text} I read about it. {reply}\n</think>\n\n{reply}"


def said(text: str) -> Writer:
    """Always the same reply."""
    return lambda world, question, about, rng: text


REPLIES: dict[str, Writer] = {
    "answer": answer,
    "rewrite": retold,
    "tasks": tasks,
    "instructions": instructions,
    "pairs": pairs,
    "consistency": consistency,
    **{f"nemotron {task}": retold for task in ("wikipedia", "distill", "extract_knowledge")},
    "nemotron knowledge_list": lambda w, text, about, rng: "- " + about["text"].replace(". ", ".\n- "),
    "nemotron diverse_qa": question_pairs,
    "document_qa": document_qa,
    "educational": said("It does.\n[[yes]]"),
    "exercise": exercise,
    "same": same,
    "question": lambda w, text, about, rng: page_questions(w, about, rng)[0][0],
    "known": known,
    "equal": lambda w, text, about, rng: "[[equal]]" if about[0] == about[1] else "[[different]]",
    "evolve": lambda w, text, about, rng: f"{any_question(w, rng)[0]} Name the source of what you know.",
    "instruction": lambda w, text, about, rng: f"Write the page of {about['id']}.",
    "regenerate": lambda w, text, about, rng: about["text"],
    "continue": lambda w, text, about, rng: scene(rng),
    "user": lambda w, text, about, rng: any_question(w, rng)[0],
    "critique": said("It could be shorter."),
    "revise": lambda w, text, about, rng: about[1],
    "agent": agent,
    "rubric": rubric,
    "problem": problem,
    "constrained": constrained,
    "choice": choice,
    "score": points,
    "reason": reason,
}
