from __future__ import annotations

import pytest

from tutelage.chat.audit.check import Exchange
from tutelage.chat.audit.checks.identity import disagreeing, identity_claims, machine_claim
from tutelage.chat.audit.scan_result import FileNotes


def claimed(answer: str, question: str = "") -> set[tuple[str, str]]:
    return set(identity_claims(Exchange(question, answer, answer.lower())))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I am ChatGPT.", {("name", "chatgpt")}),
        ("My name is Vicuna, and I'm a language model developed by LMSYS.", {("name", "vicuna"), ("maker", "lmsys")}),
        ("I'm an AI assistant called Open Assistant.", {("name", "open assistant")}),
        ("As an AI model trained by researchers at OpenAI, I know that.", {("maker", "openai")}),
        ("I was created by Anthropic.", {("maker", "anthropic")}),
        ("我是小明，一个由智谱公司开发的人工智能助手。", {("name", "小明"), ("maker", "智谱")}),
    ],
)
def test_claims_of_the_assistant(answer: str, expected: set[tuple[str, str]]) -> None:
    assert claimed(answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        "Siri is a virtual assistant developed by Apple.",
        "I am not ChatGPT, and I never was.",
        "I am Sherlock Holmes, a detective.",
        "I'm Alice, an assistant manager at the bank.",
        "ChatGPT was made by OpenAI.",
        "The bridge was built by Roman engineers.",
    ],
)
def test_claims_of_others(answer: str) -> None:
    assert claimed(answer) == set()


@pytest.mark.parametrize(
    ("answer", "machine"),
    [
        ("I'm a chatbot.", True),
        ("Well, I’m just a chatbot, so I have never seen it.", True),
        ("I am an AI language model trained on much text.", True),
        ("As an AI, I was never there.", True),
        ("I'm a helpful virtual assistant, and I like rivers.", True),
        ("I am a chatbot developer from Leeds.", False),
        ("I'm an AI researcher.", False),
        ("I'm a virtual assistant manager.", False),
        ("As a language model, GPT-2 predicts the next word.", False),
        ("A chatbot is a program.", False),
        ("I'm as tired as a robot.", False),
    ],
)
def test_a_machine_without_a_name(answer: str, machine: bool) -> None:
    assert bool(machine_claim(Exchange("Tell me more.", answer, answer.lower()))) == machine


def test_conversations_that_disagree_with_most() -> None:
    notes = FileNotes()
    for row in range(5):
        notes.add_identity(row, ("name", "qwen"))
        notes.add_identity(row, ("maker", "alibaba"))
    assert disagreeing(notes.identities) == ([], "")
    notes.add_identity(5, ("name", "qwen 2"))  # a longer form of the same
    notes.add_identity(5, ("maker", "alibaba cloud"))
    assert disagreeing(notes.identities) == ([], "")
    notes.add_identity(6, ("name", "chatgpt"))
    notes.add_identity(6, ("name", "chatgpt"))
    assert disagreeing(notes.identities) == ([6], "names: qwen (5), qwen 2 (1), chatgpt (1)")


def test_own_names_count_where_the_question_asks_for_them() -> None:
    assert claimed("I am Juniper, the help desk.", "Who are you?") == {("own name", "juniper")}
    assert claimed("Hello! My name is Juniper.", "What is your name?") == {("own name", "juniper")}
    assert claimed("My name is ChatGPT.", "What is your name?") == {("name", "chatgpt")}
    for answer, question in (
        ("I am Juniper, the help desk.", "Where do I get a card?"),
        ("I am glad to help.", "Who are you?"),
        ("I'm Happy with that result", "Who are you?"),
    ):
        assert claimed(answer, question) == set(), answer


def test_own_names_disagree_unless_all_do() -> None:
    """B13: "my name is ChatGPT" beside two "I am Juniper" was not found."""
    names = {("own name", "juniper"): [0, 1], ("name", "chatgpt"): [2]}
    assert disagreeing(names) == ([2], "names: juniper (2), chatgpt (1)")
    role_play = {("own name", name): [row] for row, name in enumerate(("alice", "sherlock holmes", "captain ahab"))}
    assert disagreeing(role_play) == ([], "")
    cast = {("own name", "alice"): [0, 1], ("own name", "ahab"): [2, 3], ("own name", "ishmael"): [4]}
    assert disagreeing(cast) == ([], "")
