"""Replies are read strictly: what is not in the form that was asked for is dropped, and nothing is salvaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.client import Answer, Choice
from tutelage.synth.labels import p_of_first, points_of
from tutelage.synth.method import Ask, Drop, Reply, Unparsable
from tutelage.synth.parse import fill, json_value, labelled, numbered, score, section, verdict
from tutelage.synth.replies import as_reply, request_body, sample_seed
from tutelage.synth.rouge import RougePool, rouge_l

ASK = Ask(({"role": "user", "content": "?"},), sampling={"temperature": 0.7})


def read(text: str, finish: str = "stop") -> Reply:
    raw = {"message": {"content": text}, "finish_reason": finish}
    return as_reply(ASK, Answer((Choice(raw),), 3, 4), "m", {})


@pytest.mark.parametrize(
    ("text", "value"),
    [("Fine.\nScore: 7.5", 7.5), ("Score: 8/10", 8.0), ("**Score: 1**", 1.0), ("Score: 10", 10.0)],
)
def test_d57_ratings_are_read(text: str, value: float) -> None:
    """distilabel 57: "7.5" and "8/10"; UltraFeedback 8: the ends of the scale are themselves."""
    assert score(text, 1, 10) == value


@pytest.mark.parametrize(
    "text", ["Rating: high", "Score: high", "Score: 11", "Score: 0", "Score: 8/20", "Score: 5\nthat is good", "5", ""]
)
def test_d1182_what_is_no_rating_is_dropped_alone(text: str) -> None:
    """distilabel PR 1182; ai-agents 3988: 6 does not become 5, and the rubric's score is not the verdict."""
    with pytest.raises(Unparsable):
        score(text, 1, 10)
    assert points_of(text, 1, 10) is None


def test_aa3988_a_quoted_rubric_is_no_verdict() -> None:
    rubric = 'The rubric says "Score: 5" for a perfect answer, and [[A]] for a tie.'
    assert points_of(rubric) is None
    assert points_of(f"{rubric}\nScore: 2") == 2
    with pytest.raises(Unparsable):
        verdict(rubric, ("A", "B"))
    assert verdict(f"{rubric}\n[[B]]", ("A", "B")) == "B"


def test_ap103_one_fence_is_taken_off_and_nothing_else() -> None:
    """archipelago PR 103, lightspeed-evaluation 285."""
    assert json_value('```json\n{"a": 1}\n```', dict) == {"a": 1}
    for text in ('Sure! {"a": 1}', '{"a": 1} I hope it helps', '{"a": 1', "```\n```json\n{}\n```\n```"):
        with pytest.raises(Unparsable, match="unparsable"):
            json_value(text, dict)


@given(st.text(max_size=60))
def test_sdk54_braces_of_a_text_stay_as_they_are(text: str) -> None:
    """synthetic-data-kit 54: str.format on a user's prompt with JSON in it."""
    assert fill('{"question": "{{ text }}"}', {"text": text}) == '{"question": "' + text + '"}'


def test_docetl188_a_missing_field_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"names \{\{ answer \}\}, and there are only question"):
        fill("{{ question }} {{ answer }}", {"question": "a"})


def test_alpaca20_a_number_with_a_dot_does_not_end_an_answer() -> None:
    """stanford_alpaca stops at "20.", and reports a whole answer."""
    text = "1. It was founded in 1920. In 2020. it closed\n20. was its number\n2. Two"
    assert numbered(text) == ["It was founded in 1920. In 2020. it closed\n20. was its number", "Two"]


def test_a_text_without_a_list_is_no_list() -> None:
    with pytest.raises(Unparsable):
        numbered("I'm sorry, but no.")


def test_sections_and_labels_must_be_there_once() -> None:
    assert section("a <x> b </x> c", "x") == "b"
    assert labelled("Question: a?\nAnswer: b\nc", ("Question", "Answer")) == ["a?", "b\nc"]
    for text in ("<x>a", "<x></x>", "<x>a</x><x>b</x>"):
        with pytest.raises(Unparsable):
            section(text, "x")
    for text in ("Answer: b\nQuestion: a", "Question: a", "Question: a\nAnswer: b\nAnswer: c"):
        with pytest.raises(Unparsable):
            labelled(text, ("Question", "Answer"))


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("<think>so", "length", "cut off in its reasoning"),
        ("<think>so", "stop", "cut off in its reasoning"),
        ("a long ans", "length", "cut off"),
        ("<think>so</think>", "stop", "empty reply"),
        ("no", "content_filter", "content filter"),
    ],
)
def test_leh3382_a_scratchpad_is_no_answer(text: str, finish: str, reason: str) -> None:
    """lm-evaluation-harness 3382; omlx 2606, 2860; chat-ui PR 2383."""
    reply = read(text, finish)
    assert reply.drop is not None and reply.drop.reason == reason and reply.raw == text


def test_reasoning_is_taken_out_of_a_reply() -> None:
    reply = read("<think>\nso\n</think>\n\nyes")
    assert (reply.text, reply.reasoning, reply.drop) == ("yes", "so", None)
    opened = read("so\n</think>\nyes")  # the template had opened it
    assert (opened.text, opened.reasoning) == ("yes", "so")
    assert read("</b> yes").text == "</b> yes"


def test_d571_samples_have_seeds_of_their_own() -> None:
    """distilabel PR 571, easyllm 37: n samples are n draws; greedy questions have no seed."""
    bodies = [request_body(ASK._replace(sample=sample), {}, 0) for sample in range(5)]
    assert len({body["seed"] for body in bodies}) == 5 and bodies[2]["seed"] == sample_seed(0, 2)
    assert "seed" not in request_body(ASK, {"temperature": 0}, 0)


def test_fc3911_labels_are_soft_and_a_missing_one_is_none() -> None:
    top = [{"token": " A", "logprob": -0.5}, {"token": "B", "logprob": -1.5}, {"token": "A", "logprob": -0.1}]
    soft = Reply(ASK, "A", "A", choice={"logprobs": {"content": [{"top_logprobs": top}]}})
    assert p_of_first(soft) == pytest.approx(1 / (1 + 2.718281828 ** (-1.5 + 0.5)))
    assert p_of_first(Reply(ASK, "(B)", "(B)")) == 0.0
    with pytest.raises(Drop, match="no label"):
        p_of_first(Reply(ASK, "Both", "Both are fine"))


def test_rouge_l_of_published_examples() -> None:
    """Lin 2004, section 3: "police killed the gunman" against "police kill the gunman" and "the gunman kill police"."""
    assert rouge_l("police killed the gunman", "police kill the gunman") == pytest.approx(0.75)
    assert rouge_l("police killed the gunman", "the gunman kill police") == pytest.approx(0.5)
    pool = RougePool(0.7, ["Name three rivers of Europe."])
    assert pool.similar("name three rivers of Asia") is not None
    assert pool.similar("Name three rivers of Asia", 0) is None
    assert pool.similar("Write a poem.") is None


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
def test_rouge_l_is_the_longest_common_subsequence(left: list[str], right: list[str]) -> None:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left, 1):
        for j, b in enumerate(right, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    total = len(left) + len(right)
    assert rouge_l(" ".join(left), " ".join(right)) == pytest.approx(2 * table[-1][-1] / total if total else 0.0)
