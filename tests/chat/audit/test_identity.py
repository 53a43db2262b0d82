from __future__ import annotations

import pytest

from tutelage.chat.audit.identity import Identities, claims


def told(said: str) -> set[tuple[str, str]]:
    return set(claims(said, said.lower()))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("I am ChatGPT.", {("name", "chatgpt")}),
        ("My name is Vicuna, and I'm a language model developed by LMSYS.", {("name", "vicuna"), ("maker", "lmsys")}),
        ("I'm an AI assistant called Open Assistant.", {("name", "open assistant")}),
        ("As an AI model trained by researchers at OpenAI, I know that.", {("maker", "openai")}),
        ("I was created by Anthropic.", {("maker", "anthropic")}),
        ("我是小明，一个由智谱公司开发的人工智能助手。", {("name", "小明"), ("maker", "智谱")}),
    ],
)
def test_what_is_said_of_oneself(said: str, expected: set[tuple[str, str]]) -> None:
    assert told(said) == expected


@pytest.mark.parametrize(
    "said",
    [
        "Siri is a virtual assistant developed by Apple.",
        "I am not ChatGPT, and I never was.",
        "I am Sherlock Holmes, a detective.",
        "I'm Alice, an assistant manager at the bank.",
        "ChatGPT was made by OpenAI.",
        "The bridge was built by Roman engineers.",
    ],
)
def test_what_is_said_of_others(said: str) -> None:
    assert told(said) == set()


def test_those_who_disagree_with_most() -> None:
    known = Identities()
    for row in range(5):
        known.add(row, [("name", "qwen"), ("maker", "alibaba")])
    assert known.disagreeing() == ([], "")
    known.add(5, [("name", "qwen 2"), ("maker", "alibaba cloud")])  # the same, at more length
    assert known.disagreeing() == ([], "")
    known.add(6, [("name", "chatgpt")])
    known.add(6, [("name", "chatgpt")])
    assert known.disagreeing() == ([6], "names: qwen (5), qwen 2 (1), chatgpt (1)")
