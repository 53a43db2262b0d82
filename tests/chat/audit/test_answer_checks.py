from __future__ import annotations

from collections.abc import Callable

import pytest

from tutelage.chat.audit.check import Exchange
from tutelage.chat.audit.checks.copied_prompt import find_copied_prompt
from tutelage.chat.audit.checks.personal_data import find_personal_data, find_secret, without_secrets
from tutelage.chat.audit.checks.placeholder import find_placeholder
from tutelage.chat.audit.checks.placeholder_answer import find_placeholder_answer
from tutelage.chat.audit.checks.refusal import find_refusal
from tutelage.chat.audit.checks.swapped_turns import find_swapped_turns
from tutelage.chat.audit.checks.truncated import ends_with_name, ends_with_punctuation, find_truncation, is_prose

PROSE = "The ferry leaves the harbour at eight every morning and comes back when the sun has set"


def finds(find: Callable[[Exchange], int], answer: str, question: str = "Why is that so, and since when?") -> bool:
    return find(Exchange(question, answer, answer.lower())) >= 0


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but as an assistant I cannot answer this.",
        "I apologize, but I am not able to open links.",
        "As an AI language model, I do not have feelings.",
        "As a large language model I can't browse the web.",
        "Unfortunately, I cannot provide this.",
        "I'm unable to open the file.",
        "It would be inappropriate for me to say that.",
        "I cannot fulfill your request. I'm just an AI, it's not within my programming.",
        "I apologize, but it's not appropriate to speculate about that.",
        "I'm sorry for any confusion, but as a chatbot for grammar, I don't have the ability to cook.",
        "As a helpful AI assistant, I cannot do that.",
        "I'm so sorry that you feel this way, but I am unable to give you the help that you need.",
        "抱歉，我无法回答这个问题。",
        "作为一个人工智能语言模型，我没有感情。",
    ],
)
def test_refusals(answer: str) -> None:
    assert finds(find_refusal, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry for your loss. You can write to me whenever you want.",
        "I'm so sorry for your loss, and I can't imagine how hard this is.",
        "I'm sorry for your loss. I cannot begin to imagine what you feel.",
        "I'm sorry that your order is late! It will be there on Monday.",
        "I'm sorry, I can't come to your party on Friday.",
        "I can't help but laugh at this.",
        "I cannot wait to see you again.",
        "An AI language model predicts the next word; it cannot see pictures.",
        "As an engineer, I can't say that I agree.",
        "Sorry seems to be the hardest word.",
        "You can't divide by zero.",
        "作为一名老师，我很高兴。",
    ],
)
def test_sentences_that_resemble_refusals(answer: str) -> None:
    assert not finds(find_refusal, answer)


@pytest.mark.parametrize(
    "answer",
    [
        f"{PROSE}, and the",
        f"{PROSE}, back to the hive, and then they",
        f"{PROSE},",
        f"{PROSE} -",
        "这艘渡轮每天早上八点离开港口，太阳下山以后才会回来，而且每天都是这样子的，所以我们总是可以，",
        "First do this:\n```python\nprint('it has begun and')\nprint(2)\n",
    ],
)
def test_truncated_answers(answer: str) -> None:
    assert finds(find_truncation, answer)


@pytest.mark.parametrize(
    "answer",
    [
        f"{PROSE}.",
        PROSE,  # without punctuation, which counts only where most answers have it
        "```python\nprint('it has begun and')\nprint(2)\n```",
        "- the harbour\n- the ferry and the boat\n- all that the sun of the evening has set on",
        "What it rhymes with is the",
        "SELECT name FROM users WHERE id = 3 ORDER BY name, age and",
    ],
)
def test_answers_that_may_be_complete(answer: str) -> None:
    assert not finds(find_truncation, answer)


def test_prose_is_distinguished_from_lists_code_and_titles() -> None:
    assert is_prose(PROSE)
    assert is_prose(f"First:\n1. a\n2. b\n{PROSE}")
    for other in ("The ferry leaves", f"1. {PROSE}", f"- {PROSE}", f"x = {PROSE}", f"see https://a.org/b {PROSE}"):
        assert not is_prose(other)
    assert ends_with_punctuation("so it is.") and ends_with_punctuation("就是这样。") and ends_with_punctuation("“so”")
    assert not ends_with_punctuation("so it") and not ends_with_punctuation("as follows:")


def test_placeholders_unless_the_question_is_about_templates() -> None:
    assert finds(find_placeholder, "I am {{name}}, made by {{ author }}.")
    assert not finds(find_placeholder, "I am {{name}}.", "How do I write a name in Jinja?")
    assert not finds(find_placeholder, "```\n{{name}}\n```")
    assert not finds(find_placeholder, "A set of sets is {{1}, {2}}.")


def test_placeholder_answers() -> None:
    for answer in ("...", "N/A", "n/a.", "TODO", "null", "---", "No output", "Lorem ipsum dolor sit amet"):
        assert finds(find_placeholder_answer, answer), answer
    for answer in ("42", "Yes", "-", "+", "👍", "None", "null pointers are errors", "A nation"):
        assert not finds(find_placeholder_answer, answer), answer


def test_copied_prompts() -> None:
    question = "Tell me of the ferry in the harbour."
    assert finds(find_copied_prompt, f" {question} It is old.", question)
    assert finds(find_copied_prompt, question, question)
    assert not finds(find_copied_prompt, "The ferry in the harbour is old.", question)
    assert not finds(find_copied_prompt, "hello you", "hello")


def test_signatures_quotations_and_inline_lists_are_not_prose() -> None:
    for answer in (
        f"“{PROSE}.” -C.S. Lewis",
        f"{PROSE}. Yours sincerely, your companion of all these years",
        f"{PROSE} - a lantern - a violin - a comet",
    ):
        assert not is_prose(answer), answer
    assert ends_with_name("so says Ada") and ends_with_name("in 1987") and ends_with_name("x_1")
    assert not ends_with_name("then we reverse") and not ends_with_name("然后我们")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("The library opens at nine, Tuesday to Saturday.", "When does the library open?"),
        ("I am Juniper, the help desk of Harbour Library.", "Who are you?"),
        ("My name is Juniper.", "Hello! What is your name?"),
        ("I'm sorry, but I can't help with that.", "How do I pick a lock?"),
        ("Sure! Here is a poem of the sea and the sun.", "Can you write a poem of the sea?"),
    ],
)
def test_swapped_turns(question: str, answer: str) -> None:
    assert finds(find_swapped_turns, answer, question)
    assert not finds(find_swapped_turns, question, answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("I want to book a flight to Paris.", "When is the flight to leave Paris?"),
        ("Rewrite this sentence as a question.\n\nShe ate a banana.", "Did she eat a banana?"),
        ("Find a dentist in Sunnyvale.", "Which dentist in Sunnyvale?"),
        ("The capital of France is Paris. Ask for it.", "What is the capital of France?"),
        ("The printer does not print.", "Is the printer plugged in, and did you load paper?"),
        ("My printer is broken.", "What is your printer called?"),
        ("What is bigger, the sun or the moon?", "Is that a riddle?"),
        ("The sea is deep and blue.", "Why do birds sing?"),
    ],
)
def test_questions_that_assistants_ask(question: str, answer: str) -> None:
    assert not finds(find_swapped_turns, answer, question)


def test_a_later_question_is_a_question_back() -> None:
    question, answer = "The library opens at nine, Tuesday to Saturday.", "When does the library open?"
    assert find_swapped_turns(Exchange(question, answer, answer.lower(), first=False)) == -1


def test_personal_data_and_secrets() -> None:
    assert find_personal_data("Write to anna@harbour.org or +49 30 901820.") == 9
    assert find_secret("The key is sk-live-4f9a8b7c6d5e4f3a2b1c.") == 11
    assert find_secret("The card is 4111 1111 1111 1111.") == 12
    for nobody in ("me@example.com", "yourname@yourdomain.com", "boss@company.com", "(212) 555-0123", "order 4111"):
        assert find_personal_data(nobody) == find_secret(nobody) == -1, nobody
    assert without_secrets("Use sk-live-4f9a8b7c6d5e4f3a2b1c, Anna.") == "Use SECRET, Anna."
