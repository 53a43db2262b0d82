from __future__ import annotations

import csv
import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.client import EndpointSettings
from tutelage.evaluate.judge_figures import agreement_with_people, figures, same_family
from tutelage.evaluate.judge_pairs import AnswerRow, Judged, judge_pairs, question, read_answers, read_verdict

Judge = Callable[[str, str], str]


@pytest.fixture
def judged_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Judge], EndpointSettings]]:
    """An endpoint that judges two answers by a rule: the settings that reach it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    spec = importlib.util.spec_from_file_location("endpoint", Path(__file__).parents[1] / "client" / "endpoint.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    running = []

    def start(judge: Judge) -> EndpointSettings:
        def answer(body: dict[str, Any]) -> str:
            found = re.findall(r"<answer_[AB]>\n(.*?)\n</answer_[AB]>", body["messages"][-1]["content"], re.DOTALL)
            return judge(*found)

        endpoint = module.Endpoint(answer).__enter__()
        running.append(endpoint)
        return EndpointSettings(url=endpoint.url, model="rule", parallel=4, backoff=0.0)

    yield start
    for endpoint in running:
        endpoint.__exit__()


def answers(texts: dict[str, str]) -> dict[str, AnswerRow]:
    return {prompt: AnswerRow(prompt, text) for prompt, text in texts.items()}


def of(lengths: list[int], letter: str) -> dict[str, AnswerRow]:
    return answers({f"prompt {number}": letter * length for number, length in enumerate(lengths)})


FIRST, SECOND = of([9, 3, 8, 2, 7, 4], "x"), of([3, 9, 2, 8, 4, 7], "y")


def prefers_longer(one: str, other: str) -> str:
    return f"It says more. [[{'A' if len(one) > len(other) else 'B'}]]"


def prefers_x(one: str, _other: str) -> str:
    return f"I like x. [[{'A' if one.startswith('x') else 'B'}]]"


def test_pain_e24_a_judge_of_the_first_seat_is_unmasked(judged_by: Callable[[Judge], EndpointSettings]) -> None:
    judged, usage = judge_pairs(FIRST, SECOND, judged_by(lambda one, other: "[[A]]"))
    found = figures(judged)
    assert found["first_seat"].rate == found["flips"].rate == 1
    assert (found["ties"], found["win_rate"]["mean"]) == (6, 0.5)
    assert usage["requests"] == 12


def test_pain_e24_a_judge_of_length_is_unmasked(judged_by: Callable[[Judge], EndpointSettings]) -> None:
    found = figures(judge_pairs(FIRST, SECOND, judged_by(prefers_longer))[0])
    assert found["longer_wins"].rate == 1
    assert (found["flips"].rate, found["first_seat"].rate, found["win_rate"]["mean"]) == (0, 0.5, 0.5)
    assert found["length_controlled"] is None  # length explains all


def test_pain_e24_the_bias_of_gpt_4_as_qlora_used_it(data: Callable[[str], Path]) -> None:
    """4,480 verdicts on 8 models: the first seat won 2,512, the second 1,355; 600 ties, 13 unparsed; the two orders
    disagree on 873 of 2,240 pairs."""
    of_first: dict[str, float | None] = {"1": 1.0, "2": 0.0, "3": 0.5, "-1": None}
    with data("qlora_judge/gpt4_pairwise_vicuna.csv").open() as file:
        rows = {
            (row["question_id"], row["first"], row["second"]): of_first[row["score"]] for row in csv.DictReader(file)
        }
    assert len(rows) == 4480
    judged = []
    for (prompt, one, other), share in rows.items():
        if one < other:
            turned = rows[prompt, other, one]
            shares = share, None if turned is None else 1 - turned
            judged.append(Judged(f"{prompt} {one} {other}", AnswerRow("", ""), AnswerRow("", ""), shares, ("", "")))
    found = figures(judged)
    assert (found["pairs"], found["unparsed"].count) == (2240, 4480)
    assert round(found["unparsed"].rate * 4480) == 13
    assert found["first_seat"].rate == pytest.approx(2512 / (2512 + 1355)) and found["first_seat"].count == 3867
    assert found["flips"].count == 2240 - 13  # a pair with an unparsed verdict has no flip; the source counts it as one
    assert found["flips"].rate == pytest.approx((873 - 13) / (2240 - 13))


def test_a_judge_of_substance_is_believed(judged_by: Callable[[Judge], EndpointSettings]) -> None:
    found = figures(judge_pairs(FIRST, SECOND, judged_by(prefers_x))[0])
    assert (found["wins"], found["losses"], found["flips"].rate) == (6, 0, 0)
    assert found["longer_wins"].rate == 0.5


def test_pain_e23_a_reply_without_a_verdict_leaves_the_count(judged_by: Callable[[Judge], EndpointSettings]) -> None:
    def judge(one: str, other: str) -> str:
        return "Hard to say." if max(one, other) == "y" * 9 else prefers_x(one, other)

    judged = judge_pairs(FIRST, SECOND, judged_by(judge))[0]
    found = figures(judged)
    assert (found["pairs"], found["counted"], found["unparsed"].rate) == (6, 5, 2 / 12)
    assert (found["wins"], found["ties"], found["losses"]) == (5, 0, 0)
    with pytest.raises(ValueError, match="no reply of the judge has a verdict such as .* ends with 'Hmm.'"):
        judge_pairs(FIRST, SECOND, judged_by(lambda one, other: "Hmm."))


@pytest.mark.parametrize(
    ("reply", "share"),
    [
        ("[[A]]", 1.0),
        ("At first [[A]] seems better, but it is wrong. [[B]]", 0.0),
        ("<think>[[A]]</think>Both fail. [[ C ]]", 0.5),
        ("<think>[[A]]</think>I cannot tell.", None),
        ("Answer A is better.", None),
        ("[A]", None),
        ("[[D]]", None),
        ("", None),
    ],
)
def test_pain_e23_the_last_verdict_counts(reply: str, share: float | None) -> None:
    assert read_verdict(reply) == share


def test_no_call_is_paid_for_twice(judged_by: Callable[[Judge], EndpointSettings], tmp_path: Path) -> None:
    endpoint, cache = judged_by(prefers_x), tmp_path / "replies.jsonl"
    first = judge_pairs(FIRST, SECOND, endpoint, cache)
    again = judge_pairs(FIRST, SECOND, endpoint, cache)
    assert first[0] == again[0]
    assert (again[1]["requests"], again[1]["cached"]) == (0, 12)


def test_the_judge_sees_request_reference_and_both_answers() -> None:
    text = question(AnswerRow("2 + 2?", "4", "four"), AnswerRow("2 + 2?", "5"))[1]["content"]
    places = [text.index(part) for part in ("2 + 2?", "four", "\n4\n", "\n5\n")]
    assert places == sorted(places)
    assert "reference" not in question(AnswerRow("2 + 2?", "4"), AnswerRow("2 + 2?", "5"))[1]["content"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_answers_are_read_by_id_or_prompt_and_may_be_empty(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [
        {"id": 7, "prompt": "A?", "answer": ""},
        {"instruction": "B?", "output": "b", "reference": "beta"},
        {"messages": turns},
        {"prompt": [*turns, {"role": "user", "content": "Bye"}], "completion": "Bye!"},
    ]
    found = read_answers(write(tmp_path / "answers.jsonl", rows))
    assert found["7"] == AnswerRow("A?", "") and found["B?"] == AnswerRow("B?", "b", "beta")
    assert found["Hi"] == AnswerRow("Hi", "Hello")
    assert found["user: Hi\n\nassistant: Hello\n\nuser: Bye"].answer == "Bye!"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [{"prompt": "A?", "answer": "a"}, {"prompt": "A?", "answer": "b"}],
            "answers.jsonl:2: a second answer to 'A\\?'",
        ),
        ([{"prompt": "A?", "answer": None}], "answers.jsonl:1: no answer"),
        ([{"prompt": " ", "answer": "a"}], "answers.jsonl:1: no prompt"),
        ([], "has no answers"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, rows: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_answers(write(tmp_path / "answers.jsonl", rows))


def test_a_prompt_of_one_model_alone_is_named() -> None:
    endpoint = EndpointSettings(url="http://127.0.0.1:9/v1", model="none")
    with pytest.raises(ValueError, match="b lacks 1 of 6 prompts, such as 'prompt 5'"):
        judge_pairs(FIRST, dict([*SECOND.items()][:5]), endpoint, names=("a", "b"))


def test_agreement_with_people(judged_by: Callable[[Judge], EndpointSettings]) -> None:
    judged = judge_pairs(FIRST, SECOND, judged_by(prefers_longer))[0]
    people = {pair.key: float(len(pair.first.answer) > len(pair.second.answer)) for pair in judged}
    found = agreement_with_people(judged, people)
    assert (found["accuracy"].rate, found["kappa"]) == (1, 1)
    turned = agreement_with_people(judged, {key: 1 - share for key, share in people.items()})
    assert (turned["accuracy"].rate, turned["kappa"]) == (0, -1)
    with pytest.raises(ValueError, match="no pair that both the judge and people decided"):
        agreement_with_people(judged, dict.fromkeys(people, 0.5))


@pytest.mark.parametrize(
    ("judge", "name", "same"),
    [
        ("gpt-4-turbo", "gpt-3.5", True),
        ("Qwen/Qwen3-8B", "qwen2.5-base", True),
        ("gpt-4", "llama", False),
        ("7b", "7b", False),
    ],
)
def test_families(judge: str, name: str, same: bool) -> None:
    assert same_family(judge, name) is same
