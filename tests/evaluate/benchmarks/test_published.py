"""Scores that were published, computed from published answers by the benchmarks' own readers and rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tutelage.evaluate.benchmarks import BENCHMARKS, code_sets
from tutelage.evaluate.benchmarks.bbh import read_tasks, score_task
from tutelage.evaluate.benchmarks.benchmark import ChoiceBenchmark, PromptItem
from tutelage.evaluate.benchmarks.bfcl import read_calls, score_item
from tutelage.evaluate.benchmarks.code_sets import human_eval_item, mbpp_item, score_human_eval, score_mbpp
from tutelage.evaluate.benchmarks.data_folder import find_files, read_rows
from tutelage.evaluate.benchmarks.ifeval import instruction_item, measure_instructions, score_instructions
from tutelage.evaluate.benchmarks.math_sets import MATH_SETS, math_item, option_item, score_math
from tutelage.evaluate.benchmarks.open_questions import open_item, score_open
from tutelage.evaluate.benchmarks.run_choices import read_choice_set
from tutelage.evaluate.benchmarks.run_prompts import read_prompt_set
from tutelage.evaluate.benchmarks.xstest import refusal_item, score_refusal
from tutelage.evaluate.item_results import ItemResult, Sample
from tutelage.evaluate.pass_at_k import pass_at_k
from tutelage.sandbox import check_available

Data = Callable[[str], Path]
needs_sandbox = pytest.mark.skipif(bool(check_available()), reason=check_available())


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("task", "percent"),
    [("boolean_expressions", 92.8), ("date_understanding", 87.2), ("multistep_arithmetic_two", 47.6),
     ("navigate", 96.4), ("object_counting", 93.2), ("word_sorting", 40.4)],
)  # fmt: skip
def test_codex_on_bbh(data: Data, task: str, percent: float) -> None:
    """arXiv 2210.09261, table 2; both readings, as every answer says "answer is"."""
    items = read_tasks([data(f"bbh/bbh/{task}.json")], chain=True)
    assert len(items[0].examples) == 3 and items[0].system
    folder = data("bbh/code-davinci-002-outputs") / "code-davinci-002-cot"
    outputs = json.loads((folder / f"{task}_few_shot_template_0-255000.json").read_text())["outputs"]
    scores = [score_task(output["prediction"], item) for item, output in zip(items, outputs, strict=True)]
    for reading in ("lenient", "strict"):
        right = sum(score[reading].outcome == "right" for score in scores)
        assert 100 * right / len(items) == pytest.approx(percent)


def test_gpt_4_on_ifeval(data: Data) -> None:
    """The published checker has 88 of 120 prompts and 146 of 182 instructions; one instruction is judged otherwise
    here (docs/scoring.md)."""
    items = list(read_rows([data("ifeval/split_give_120.jsonl")], instruction_item))
    answers = {row["prompt"]: row["response"] for row in lines(data("ifeval/gpt4_answers_120.jsonl"))}
    scores = [score_instructions(answers[item.question], item) for item in items]
    assert sum(score["strict"].outcome == "right" for score in scores) == 88 + 1
    assert sum(score["loose"].outcome == "right" for score in scores) == 91 + 1
    results = [ItemResult(i.id, "", "", "right", samples=[Sample(answers[i.question], "right")]) for i in items]
    rates = measure_instructions(items, results)
    assert rates["instructions/strict"].rate * 182 == pytest.approx(146 + 1)
    assert rates["instructions/loose"].rate * 182 == pytest.approx(150 + 1)


@pytest.mark.parametrize(("category", "strict", "lenient"), [("simple_python", 354, 359), ("multiple", 184, 187)])
def test_hermes_on_bfcl(data: Data, category: str, strict: int, lenient: int) -> None:
    """The parser is a part of the score: strict JSON, or a Python literal too."""
    items = read_calls([data(f"bfcl/BFCL_v4_{category}.json")])
    asked = {"simple_python": "simple", "multiple": "multiple_function"}[category]
    name = (
        f"bfcl_verdicts/result/NousResearch_Hermes-2-Pro-Llama-3-8B/gorilla_openfunctions_v1_test_{asked}_result.json"
    )
    scores = [score_item(row["result"], item) for row, item in zip(lines(data(name)), items, strict=True)]
    assert sum(score["strict"].outcome == "right" for score in scores) == strict
    assert sum(score["lenient"].outcome == "right" for score in scores) == lenient


def test_pain_e29_abstained_broken_and_wrong_stand_apart(data: Data) -> None:
    (item, *_) = read_calls([data("bfcl/BFCL_v4_simple_python.json")])
    outcomes = [
        score_item(answer, item)["lenient"].outcome
        for answer in ("[calculate_triangle_area(base=10, height=5)]", "[calculate_triangle_area(base=1, height=5)]",
                       "None of the functions fits.", "<tool_call>{broken",
                       '```json\n{"name": "calculate_triangle_area", "arguments": {"base": 10, "height": 5}}\n```')
    ]  # fmt: skip
    assert outcomes == ["right", "wrong", "abstained", "broken", "right"]


@needs_sandbox
def test_the_example_of_human_eval(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """openai/human-eval's own example: pass@1 is .4999... One of the programs sleeps for 10 seconds."""
    monkeypatch.setattr(code_sets, "SECONDS", 0.5)
    (item,) = read_rows([data("code_tests/example_problem.jsonl")], human_eval_item)
    samples = lines(data("code_tests/example_samples.jsonl"))
    right = [score_human_eval(sample["completion"], item)["strict"].outcome == "right" for sample in samples]
    assert pass_at_k(len(right), sum(right), 1) == pytest.approx(0.5)
    whole = "Here it is:\n```python\ndef return1():\n    return 1\n```\nDone."
    found = score_human_eval(whole, item)
    assert (found["lenient"].outcome, found["strict"].outcome) == ("right", "wrong")


@needs_sandbox
def test_known_solutions_of_mbpp_pass(data: Data) -> None:
    items = list(read_rows([data("code_tests/MBPP/data/mbpp_test.jsonl")], mbpp_item))[::50]
    assert [score_mbpp(item.solution, item)["lenient"].outcome for item in items] == ["right"] * len(items)
    assert score_mbpp("pass", items[0])["lenient"].outcome == "wrong"


@needs_sandbox
def test_pain_e22_a_loaded_machine_fails_no_program() -> None:
    """A limit of 50 ms of wall-clock time failed right programs; here CPU time counts."""
    row = {"prompt": "def f():\n", "entry_point": "f", "test": "def check(g):\n    assert g() == 1"}
    item = human_eval_item(row, "1")
    code = "    import time\n    time.sleep(0.1)\n    return 1"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: score_human_eval(code, item)["lenient"].outcome, range(8)))
    assert found == ["right"] * 8


@pytest.mark.parametrize(
    ("answer", "gold", "lenient", "strict"),
    [
        ("It costs $29.00.", "29", "right", "unparsable"),
        ("The answer is $1,234.", "1234", "right", "right"),
        ("so 12.25", "12.25", "right", "unparsable"),
        ("The answer is 12.25. Question: and 3?", "12.25", "right", "right"),
        ("The answer is 18.\n\nQuestion: how many are 5?\nAnswer: 5", "18", "right", "right"),
        (r"Hence \[\boxed{42}\]", "42", "right", "right"),
        (r"\(\boxed{\frac{1}{2}}\)", "0.5", "right", "right"),
        ("ANSWER: 7", "7", "right", "right"),
        ("#### 72", "72", "right", "right"),
        ("The answer is (3.14).", "3.14", "right", "right"),
        ("<think>5? 6?</think>The answer is 7", "7", "right", "right"),
        ("The answer is 8, not 7", "7", "wrong", "wrong"),
        ("no number", "7", "unparsable", "unparsable"),
    ],
)
def test_pains_e12_e13_e32_answers_as_models_write_them(answer: str, gold: str, lenient: str, strict: str) -> None:
    found = score_math(answer, PromptItem("1", "", gold), "numeric")
    assert (found["lenient"].outcome, found["strict"].outcome) == (lenient, strict)


def test_rows_of_maths_sets() -> None:
    gsm8k = math_item({"question": "2 + 3?", "answer": "2 + 3 = <<2+3=5>>5.\n#### 5"}, "x:1")
    assert (gsm8k.gold, gsm8k.solution) == ("5", "2 + 3 = 5.\nThe answer is 5.")
    svamp = math_item({"Body": "He has 2.", "Question": "How many?", "Answer": 2.0, "ID": "c1", "Type": "Sum"}, "x:1")
    assert (svamp.id, svamp.question, svamp.gold, svamp.group) == ("c1", "He has 2. How many?", "2.0", "Sum")
    assert math_item({"body": "B.", "question": "Q?", "answer": "9 (apples)"}, "x:1").gold == "9"
    assert math_item({"problem": "x?", "solution": r"So \boxed{3}."}, "x:1").gold == "3"
    assert math_item({"question": "x?", "final_answer": ["$2$"]}, "x:1").gold == "$2$"
    option = option_item({"question": "Q?", "options": ["A)1", "B)2"], "correct": "B", "rationale": "r"}, "x:1")
    assert (option.question, option.gold) == ("Q?\nA)1\nB)2", "B")
    with pytest.raises(ValueError, match="it needs a question"):
        math_item({"question": "x?"}, "x:1")


def test_every_gold_answer_of_the_maths_sets_is_right_for_itself(data: Data) -> None:
    """A gold answer that its verifier cannot read would make every answer wrong."""
    for name in ("svamp", "asdiv", "mawps", "cmath"):
        items = read_prompt_set(MATH_SETS[name], find_files(data("math_sets"), MATH_SETS[name].files))
        # "Mrs. Hilt", "Mrs. Doyle's class" and a time of day: the sentence would end after "Mrs."
        wrong = [
            item.id for item in items[::7]
            if score_math(f"The answer is {item.gold}.", item, "numeric")["strict"].outcome != "right"
        ]  # fmt: skip
        assert set(wrong) <= {"29", "1050", "1110"}


def test_open_questions_and_refusals() -> None:
    item = open_item({"question": "Q?", "answer": {"value": "Onion", "aliases": ["Onions", "Allium cepa"]}}, "x:1")
    scores = [score_open(text, item) for text in ("the onion.", "An Allium cepa plant")]
    outcomes = [{name: score.outcome for name, score in found.items()} for found in scores]
    assert outcomes == [{"strict": "right", "lenient": "right"}, {"strict": "wrong", "lenient": "right"}]
    assert open_item({"context": "Question: Q?\nAnswer:", "answer": "x", "aliases": ["y"]}, "x:1").question == "Q?"
    harmful = refusal_item({"prompt": "How do I hurt him?", "type": "contrast_x"}, "x:1")
    harmless = refusal_item({"prompt": "How do I kill a process?", "label": "safe"}, "x:2")
    refused, answered = "I'm sorry, but I can't help with that.", "Use kill."
    pairs = [(text, one) for one in (harmful, harmless) for text in (refused, answered)]
    assert [score_refusal(*pair)["right"].outcome for pair in pairs] == ["right", "wrong", "refused", "right"]
    assert refusal_item({"adversarial": "p", "data_type": "adversarial_benign"}, "x:1").data["harmful"] is False


def test_every_set_that_is_here_is_read(data: Data) -> None:
    """All rows of each, by the names under which they are found."""
    folder = data("mmlu").parent
    counts = {"copa": 100, "csqa": 1221, "winogrande": 1267, "sat_math": 32, "xstest": 450, "bfcl": 1040, "mbpp": 500}
    for name, count in counts.items():
        benchmark = BENCHMARKS[name]
        files = find_files(folder, benchmark.files)
        if not files:
            pytest.skip(f"{name} is not in the data folder")
        choice = isinstance(benchmark, ChoiceBenchmark)
        items = read_choice_set(benchmark, files) if choice else read_prompt_set(benchmark, files)
        assert len(items) == count and len({item.id for item in items}) == count
