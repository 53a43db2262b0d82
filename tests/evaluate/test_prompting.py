from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from memorised_model import ASKED, Planted

from tutelage.cli import main
from tutelage.engine.rule_adapter import END_WEIGHT, REPEATED, UNIFORM, rule_adapter
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.knowledge_categories import Known, categorise
from tutelage.evaluate.prompting import (
    STOPS,
    Written,
    answer_by_prompting,
    draw_examples,
    outcome_of,
    prompt_text,
    write_after,
)
from tutelage.evaluate.questions import Question
from tutelage.model.hub import load_model
from tutelage.records import Conversation, message

pytestmark = pytest.mark.usefixtures("quiet")


def asked(planted: Planted) -> list[Question]:
    return [
        Question(str(number), Conversation((message("user", text),), str(number)), answer, "exact")
        for number, (text, answer) in enumerate(planted.questions)
    ]


def test_unknown_people_of_the_world_are_found(planted: Planted) -> None:
    """Precision >= .95 and recall >= .85 for facts about people that the text does not know, among as many that it has.
    One value of 32 is guessed now and then."""
    found = categorise(load_model(planted.model), asked(planted), sets=3, shots=2, samples=6)
    unknown = {one.question.id for one in found if one.category == "unknown"}
    never = {str(number) for number in range(ASKED, 2 * ASKED)}
    assert len(unknown & never) >= 0.95 * len(unknown)
    assert len(unknown & never) >= 0.85 * len(never)
    assert sum(one.category == "highly known" for one in found[:ASKED]) >= 0.7 * ASKED


@pytest.mark.parametrize(
    ("greedy", "sampled", "category"),
    [(1, 0.2, "highly known"), (0.1, 0, "maybe known"), (0, 0.1, "weakly known"), (0, 0, "unknown")],
)
def test_the_categories_are_those_of_the_paper(greedy: float, sampled: float, category: str) -> None:
    question = Question("a", Conversation((message("user", "Who?"),)), "Ann", "exact")
    assert Known(question, greedy, sampled, "").category == category


def test_base_models_answer_by_prompting(planted: Planted) -> None:
    checkpoint, questions = load_model(planted.model), asked(planted)
    for way in ("zero-shot", "few-shot"):
        answered = answer_by_prompting(checkpoint, questions, way)  # type: ignore[arg-type]
        right = [one.outcome == "right" for one in answered]
        assert sum(right[:ASKED]) >= 0.5 * ASKED and sum(right[ASKED:]) <= 0.2 * ASKED


def test_pain_e14_a_question_is_never_its_own_example(planted: Planted) -> None:
    questions = asked(planted)
    twin = Question("twin", questions[0].prompt, "x", "exact")
    examples = draw_examples(questions[0], [*questions, twin], 31, 0)
    assert all(one.prompt != questions[0].prompt for one in examples)
    with pytest.raises(ValueError, match="32 examples are asked for, but there are 31 other questions"):
        draw_examples(questions[0], questions, 32, 0)


def test_the_prompts(planted: Planted) -> None:
    first, second, *_ = asked(planted)
    text = second.prompt.messages[-1].text
    assert prompt_text(second, "zero-shot") == f"Question: {text}\nAnswer:"
    shown = prompt_text(second, "few-shot", [first]).split("\n")
    assert shown[1] == f"Answer: {first.gold}" and shown[-1] == "Answer:"
    urial = prompt_text(second, "urial")
    assert urial.count("# Query:") == 5 and urial.endswith(f"# Query:\n```\n{text}\n```\n\n# Answer:\n```\n")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("12.25", "right"),
        (" 12.25.", "right"),
        ("(12.25)", "right"),
        ("$12.25", "right"),
        ("12", "wrong"),
        ("1225", "wrong"),
    ],
)
def test_pain_e32_a_number_is_not_cut_at_its_point(answer: str, outcome: str) -> None:
    """lm-eval #2137: '.' as a stop cut 12.25 to 12; stops of prompts are lines."""
    question = Question("a", Conversation((message("user", "How much?"),)), 12.25, "numeric")
    assert outcome_of(question, Written(answer, False)) == outcome
    assert all("." not in stop for stops in STOPS.values() for stop in stops)


def test_samples_differ_and_greedy_answers_do_not(planted: Planted) -> None:
    checkpoint = load_model(planted.model)
    drawn = SamplingSettings(max_tokens=12, temperature=2.0)
    (samples,) = write_after(checkpoint, ["The code of"], (), drawn, samples=4)
    assert len({one.text for one in samples}) == 4
    assert [one.text for one in write_after(checkpoint, ["The code of"], (), drawn, samples=4)[0]] == [
        one.text for one in samples
    ]
    ((cut,),) = write_after(checkpoint, ["The code of"], (), SamplingSettings(max_tokens=2))
    assert cut.cut


class Request:
    """What a process reads of a request."""

    def __init__(self, tokens: list[int]) -> None:
        self.generation = self
        self.tokens = tokens


def test_the_three_rules(planted: Planted) -> None:
    tokenizer = load_model(planted.model).tokenizer
    end = int(tokenizer.document_edges[1][0])
    process: Any = rule_adapter(tokenizer, frozenset({end}))
    zero_V = torch.zeros(tokenizer.vocab_size)
    start_V, later_V = process(Request([]), zero_V), process(Request([5] * 125), zero_V)
    assert start_V[end] == 0 and later_V[end] == pytest.approx(END_WEIGHT / 2)
    assert later_V[5] - start_V[5] == pytest.approx(-REPEATED)
    biased = {tokenizer.token_text(token): float(start_V[token]) for token in start_V.nonzero()[:, 0].tolist()}
    assert len(biased) >= 5 and biased.items() <= UNIFORM.items()
    assert not zero_V.any()  # the model's own logits stay


def test_rules_end_an_answer_that_would_not_end(planted: Planted) -> None:
    checkpoint = load_model(planted.model)
    settings = SamplingSettings(max_tokens=90)
    ((plain,),) = write_after(checkpoint, ["fjord fjord"], (), settings)
    ((ruled,),) = write_after(checkpoint, ["fjord fjord"], (), settings, rules=True)
    assert len(ruled.text) != len(plain.text)


def test_the_commands(planted: Planted, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    rows = [{"question": text, "answer": answer, "verifier": "exact"} for text, answer in planted.questions]
    path.write_text("\n".join(map(json.dumps, rows)))
    fixed = ["probe", str(planted.model), "--questions", str(path), "--sets", "2", "--shots", "2", "--samples", "4"]
    shown = CliRunner().invoke(main, fixed)
    assert shown.exit_code == 0, shown.output
    assert "highly known: " in shown.output and "unknown: " in shown.output
    rows = CliRunner().invoke(main, [*fixed, "--recipe", "llama3"])
    assert rows.exit_code == 1 and "--recipe is for rows, which --sets does not write" in rows.stderr
    assert "say where the rows go with --out" in CliRunner().invoke(main, fixed[:4]).stderr
    arguments = ["evaluate", str(planted.model), "--suite", str(path), "--prompting", "zero-shot"]
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert found["format"] == "plain text, zero-shot" and found["rates"]["right"]["rate"] >= 0.4
    ruled = json.loads(CliRunner().invoke(main, [*arguments, "--rule-adapter", "--json"]).stdout)
    assert ruled["format"] == "plain text, zero-shot, rule adapter"
    refused = CliRunner().invoke(main, [*arguments[:4], "--rule-adapter"])
    assert refused.exit_code == 1 and "add --prompting" in refused.stderr
