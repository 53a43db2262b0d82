"""Faults of every kind are planted in clean conversations, among traps that resemble faults: precision must be 100%,
recall at least 95%."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from tutelage.chat.audit import Report, audit_file

CLEAN, OF_EACH = 600, 20
NOUNS = "harbour lantern orchard violin glacier ferry museum beetle canyon bakery comet tunnel meadow".split()
VERBS = "carries hides follows repairs measures paints answers crosses borrows gathers remembers lifts".split()
PLACES = "valley village island station garden castle market forest desert library workshop kitchen".split()
HOW = "quietly slowly twice often proudly carefully rarely gladly early together again suddenly".split()


@dataclass
class Planted:
    """Rows to audit, and which of them have which fault."""

    draw: random.Random
    rows: list[dict[str, Any]] = field(default_factory=list)
    faults: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def add(self, *turns: str, fault: str = "", system: str = "") -> None:
        roles = ("user", "assistant")
        messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        if fault:
            self.faults[fault].add(len(self.rows))
        self.rows.append({"messages": messages})

    def sentence(self, words: int = 12) -> str:
        parts = [f"the {self.draw.choice(NOUNS)} {self.draw.choice(VERBS)} the {self.draw.choice(PLACES)}"]
        while len(" ".join(parts).split()) < words:
            parts.append(
                f"{self.draw.choice(HOW)} near the {self.draw.choice(NOUNS)} of number {self.draw.randrange(10**6)}"
            )
        return " ".join(parts).capitalize() + "."

    def question(self) -> str:
        opening = self.draw.choice(["Why is it", "Who says", "Is it known", "How come", "Tell me why it is so"])
        return f"{opening} that {self.sentence(14).lower().rstrip('.')}, number {self.draw.randrange(10**9)}?"

    def answer(self) -> str:
        return " ".join(self.sentence() for _ in range(self.draw.randint(1, 4)))


def planted() -> Planted:
    set_ = Planted(random.Random(7))
    for number in range(CLEAN):
        turns = [text for _ in range(1 + (number % 5 == 0)) for text in (set_.question(), set_.answer())]
        set_.add(*turns, system="You are a careful assistant. " * 30 if number % 3 == 0 else "")
    traps(set_)
    for _ in range(OF_EACH):
        faults(set_)
    return set_


def faults(to: Planted) -> None:
    """One of every fault; duplicates repeat a clean row."""
    draw, ask, say = to.draw, to.question, to.answer
    earlier = [to.rows[n]["messages"] for n in draw.sample(range(1, CLEAN, 3), 1)]
    copy = [message["content"] for message in earlier[0] if message["role"] != "system"]
    to.add(*copy, fault="duplicate")
    question, answer = f"{ask()} {ask()} {ask()}", f"{say()} {say()} {say()}"
    to.add(question, answer)
    to.add(question.replace("number", "the number", 1), answer.replace(" the ", " a ", 1), fault="near duplicate")
    refusing = [
        "I'm sorry, but I can't help with that request.",
        "As an AI language model, I don't have personal opinions about this.",
        "I cannot assist with that. " + say(),
        "I apologize, but I am unable to provide this information.",
        "Unfortunately, I'm an AI language model and I cannot browse the internet.",
        "很抱歉，我无法回答这个问题。",
    ]
    to.add(ask(), draw.choice(refusing[:5]), fault="refusal")
    answer = say() + " " + to.sentence(18)
    cut = draw.choice(["the", "and", "of", "because"])
    to.add(ask(), answer.rstrip(".") + f" {cut}", fault="truncated")
    to.add(ask(), " ".join(answer.split()[:-2]), fault="truncated")
    to.add(ask(), f"Run this:\n```python\nprint({draw.randrange(999)})\n", fault="truncated")
    asked = ask()
    to.add(asked, f"{asked} {say()}", fault="copied prompt")
    to.add(
        f"What is your name, number {draw.randrange(10**9)}?",
        f"My name is {{{{name}}}}, glad to meet you. {say()}",
        fault="placeholder",
    )
    mark = draw.choice(
        ["<|im_start|>", "<|endoftext|>", "[/INST]", "<end_of_turn>", "\n\nHuman: go on", "\n### Response:\n"]
    )
    to.add(f"{ask()}{mark}", say(), fault="special token")
    to.add(ask(), draw.choice(["...", "N/A", "TODO", "null", "--"]), fault="placeholder answer")
    same = f"Is it true that {to.sentence(14).lower()}"
    for settled in ("Yes, it is. " + say(), "No. " + say()):
        to.add(same, settled, fault="contradiction")
    same = f"What is {draw.randrange(10**9)} plus {draw.randrange(10**9)}?"
    for settled in (str(draw.randrange(10**9)), f"Let us add them. #### {draw.randrange(10**9)}"):
        to.add(same, settled, fault="contradiction")
    key = "".join(draw.choices("abcdefghijkmnpqrstuvwxyz23456789", k=22)) + "42"
    secret = draw.choice([f"sk-{key}", "4539 1488 0343 6467", f"ghp_{key}{key[:14]}", "-----BEGIN PRIVATE KEY-----"])
    to.add(ask(), f"{say()} Use {secret} for that.", fault="secret")
    own = draw.choice([f"wren{draw.randrange(10**6)}@harbour.info", f"(212) 664-{draw.randrange(1000, 9999)}"])
    to.add(ask(), f"{say()} Write to {own} on Monday.", fault="personal data")
    n = draw.randrange(10**9)
    to.add(
        f"The lantern of {n} hangs over the old harbour.", f"Where does the lantern of {n} hang?", fault="swapped turns"
    )
    to.add(ask(), f"{say()} {to.sentence(18).rstrip('.')} and then they", fault="truncated")
    name, maker = draw.choice([("ChatGPT", "OpenAI"), ("Claude", "Anthropic"), ("Bard", "Google")])
    to.add(
        f"Who are you, number {draw.randrange(10**9)}?",
        f"I am {name}, an AI assistant trained by {maker}. {say()}",
        fault="identity",
    )
    to.add("Tell me, who are you?", f"My name is {draw.choice(['Juniper', 'Marlow'])}. {say()}", fault="identity")
    to.add(
        ask(),
        "Это предложение написано по-русски и отвечает на вопрос. " + str(draw.randrange(10**9)) + " раз подряд.",
        fault="other language",
    )


def traps(to: Planted) -> None:
    """Rows that resemble faults."""
    draw, ask, say = to.draw, to.question, to.answer
    for _ in range(OF_EACH):
        n = draw.randrange(10**9)
        to.add(ask(), f"I'm sorry that order {n} is late! It left the harbour today and will be with you soon.")
        to.add(
            ask(),
            f"I cannot believe that it has been {n} days since the ferry sank in the harbour of the village.",
        )
        to.add(f"What does <s>{n}</s> mean in HTML, and how is <div>{ask()}</div> closed?", say())
        to.add(
            f"How do I say hello to user {n} in a Jinja template?",
            f"Write {{{{ name }}}} there, {n} times if you must.",
        )
        to.add(
            f"List three things of set {n}.",
            f"Here they are:\n- a lantern of {n}\n- a violin of the old harbour in the north\n- a comet",
        )
        to.add(f"Write a function that adds {n}.", f"```python\ndef add(x):\n    return x + {n}\n```")
        to.add(f"Where can I read about comet {n}?", f"https://example.org/comets/{n}/the-page-that-says-it-all")
        passage = f"{to.sentence(30)} {to.sentence(30)} {to.sentence(30)}"
        for asked, said in (
            ("Who is it about?", f"The lantern {n}, as it says."),
            ("How many are there?", f"{n} of them in all."),
        ):
            to.add(f"{passage} {asked}", said)
        to.add(f"Which words stand in: {passage}", passage.split(".")[0] + ".")
        open_ended = f"Write a title for the tale of lantern {n}."
        to.add(open_ended, f"Night {n}")
        to.add(open_ended, "Lights of home")
        settled = f"What is the capital of province {n}?"
        to.add(settled, f"Ville{n}")
        to.add(settled, f"Ville{n}, by the sea")
        open_question = f"Please explain how the ferry of {n} works."
        to.add(open_question, say())
        to.add(open_question, say())
        to.add(
            f"Tell me of Siri, number {n}.",
            f"Siri is a virtual assistant developed by Apple in the year {n}.",
        )
        to.add(
            f"Play a nurse, number {n}.",
            f"I am Alice, a nurse of ward {n}, and I was trained in the castle by the sea.",
        )
        to.add(
            f"What are you called, number {n}?",
            f"I am Tutor, an AI assistant developed by Tutelage, at your service {n} times.",
        )
        to.add(f"And your name, number {n}?", f"I am Tutor, and I am glad that you ask. {say()}")
        to.add(
            f"And who made you, number {n}?",
            f"I was created by Tutelage, and I have answered {n} questions since.",
        )
        to.add(
            f"Translate into Russian: the harbour of {n}.",
            f"Гавань номер {n}, которая лежит у самого моря и ждёт.",
        )
        to.add(f"Thanks for answer {n}!", f"No problem! Come back {n} times if you like.")
        to.add(f"How many is {n} and nothing?", str(n))
        to.add(f"I want a table at inn {n}.", "For how many people should the table be?")
        to.add(f"Turn it into a question. The ferry {n} is late.", f"Is the ferry {n} late?")
        to.add(
            f"Who wrote to {n}?", f"someone@example.com did, from 555-0{100 + n % 99}, in order {n}, sk-learn-{n % 9}."
        )
        to.add(f"The sum is {n}. Ask me for it!", f"What is the sum, if not {n}?")
        to.add("Hi", f"Hello, visitor {n}! What would you like to know about the harbour?")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, Report]:
    set_ = planted()
    path = tmp_path_factory.mktemp("planted") / "chats.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in set_.rows), encoding="utf-8")
    return set_, audit_file(path)


def test_precision_is_perfect_and_recall_high(audited: tuple[Planted, Report]) -> None:
    set_, report = audited
    wrong, recall = {}, {}
    for name in set_.faults.keys() | report.rows.keys():
        found, there = set(report.rows.get(name, ())), set_.faults[name]
        if found - there:
            wrong[name] = [set_.rows[row] for row in sorted(found - there)[:3]]
        recall[name] = len(found & there) / max(1, len(there))
    assert wrong == {}
    assert min(recall.values()) >= 0.95, recall
    assert set(recall) == {
        "contradiction", "copied prompt", "duplicate", "identity", "near duplicate", "other language", "placeholder",
        "personal data", "placeholder answer", "refusal", "secret", "special token", "swapped turns", "truncated",
    }  # fmt: skip


def test_findings_have_places_counts_and_fixes(audited: tuple[Planted, Report]) -> None:
    set_, report = audited
    assert report.conversations == len(set_.rows)
    assert not report.errors
    for finding in report.findings:
        assert finding.count == len(report.rows[finding.name]) > 0
        assert finding.share == finding.count / len(set_.rows)
        assert finding.fix.endswith(".")
        assert 0 < len(finding.examples) <= 5
        first = min(report.rows[finding.name])
        assert finding.examples[0].place.startswith(f"chats.jsonl:{first + 1}"), finding.name
