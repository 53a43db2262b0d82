from __future__ import annotations

from collections.abc import Callable

import pytest

from tutelage.chat.audit import answers
from tutelage.chat.audit.answers import Exchange

PROSE = "The ferry leaves the harbour at eight every morning and comes back when the sun has set"


def seen(check: Callable[[Exchange], int], said: str, asked: str = "Why is that so, and since when?") -> bool:
    return check(Exchange(asked, said, said.lower())) >= 0


@pytest.mark.parametrize(
    "said",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but as an assistant I cannot answer this.",
        "I apologize, but I am not able to open links.",
        "As an AI language model, I do not have feelings.",
        "As a large language model I can't browse the web.",
        "Unfortunately, I cannot provide this.",
        "I'm unable to open the file.",
        "It would be inappropriate for me to say that.",
        "抱歉，我无法回答这个问题。",
        "作为一个人工智能语言模型，我没有感情。",
    ],
)
def test_refusals(said: str) -> None:
    assert seen(answers.refusal, said)


@pytest.mark.parametrize(
    "said",
    [
        "I'm sorry for your loss. You can write to me whenever you want.",
        "I'm sorry that your order is late! It will be there on Monday.",
        "I cannot wait to see you again.",
        "An AI language model predicts the next word; it cannot see pictures.",
        "As an engineer, I can't say that I agree.",
        "Sorry seems to be the hardest word.",
        "You can't divide by zero.",
        "作为一名老师，我很高兴。",
    ],
)
def test_what_only_sounds_like_a_refusal(said: str) -> None:
    assert not seen(answers.refusal, said)


@pytest.mark.parametrize(
    "said",
    [
        f"{PROSE}, and the",
        f"{PROSE},",
        f"{PROSE} -",
        "这艘渡轮每天早上八点离开港口，太阳下山以后才会回来，而且每天都是这样子的，所以我们总是可以，",
        "First do this:\n```python\nprint('it has begun and')\nprint(2)\n",
    ],
)
def test_ends_that_are_none(said: str) -> None:
    assert seen(answers.cut_off, said)


@pytest.mark.parametrize(
    "said",
    [
        f"{PROSE}.",
        PROSE,  # whether that is an end depends on how the others end
        "```python\nprint('it has begun and')\nprint(2)\n```",
        "- the harbour\n- the ferry and the boat\n- all that the sun of the evening has set on",
        "What it rhymes with is the",
        "SELECT name FROM users WHERE id = 3 ORDER BY name, age and",
    ],
)
def test_ends_that_may_be_ends(said: str) -> None:
    assert not seen(answers.cut_off, said)


def test_prose_is_told_from_lists_code_and_titles() -> None:
    assert answers.is_prose(PROSE)
    assert answers.is_prose(f"First:\n1. a\n2. b\n{PROSE}")
    for other in ("The ferry leaves", f"1. {PROSE}", f"- {PROSE}", f"x = {PROSE}", f"see https://a.org/b {PROSE}"):
        assert not answers.is_prose(other)
    assert (
        answers.ends_with_mark("so it is.") and answers.ends_with_mark("就是这样。") and answers.ends_with_mark("“so”")
    )
    assert not answers.ends_with_mark("so it") and not answers.ends_with_mark("as follows:")


def test_placeholders_unless_they_are_the_subject() -> None:
    assert seen(answers.placeholder, "I am {{name}}, made by {{ author }}.")
    assert not seen(answers.placeholder, "I am {{name}}.", "How do I write a name in Jinja?")
    assert not seen(answers.placeholder, "```\n{{name}}\n```")
    assert not seen(answers.placeholder, "A set of sets is {{1}, {2}}.")


def test_answers_that_say_nothing() -> None:
    for said in ("...", "N/A", "n/a.", "TODO", "null", "---", "No output", "Lorem ipsum dolor sit amet"):
        assert seen(answers.hollow, said), said
    for said in ("42", "Yes", "-", "+", "👍", "None", "null pointers are errors", "A nation"):
        assert not seen(answers.hollow, said), said


def test_copied_prompts() -> None:
    asked = "Tell me of the ferry in the harbour."
    assert seen(answers.copied, f" {asked} It is old.", asked)
    assert seen(answers.copied, asked, asked)
    assert not seen(answers.copied, "The ferry in the harbour is old.", asked)
    assert not seen(answers.copied, "hello you", "hello")


def test_signatures_quotations_and_inline_lists_are_no_prose() -> None:
    for said in (
        f"“{PROSE}.” -C.S. Lewis",
        f"{PROSE}. Yours sincerely, your companion of all these years",
        f"{PROSE} - a lantern - a violin - a comet",
    ):
        assert not answers.is_prose(said), said
    assert answers.ends_with_name("so says Ada") and answers.ends_with_name("in 1987") and answers.ends_with_name("x_1")
    assert not answers.ends_with_name("then we reverse") and not answers.ends_with_name("然后我们")
