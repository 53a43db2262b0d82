"""Programs that must pass tests, in the sandbox: HumanEval (Chen et al. 2021, arXiv 2107.03374) and MBPP (Austin et al.
2021, arXiv 2108.07732)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from tutelage.evaluate.benchmarks.benchmark import ItemScore, PromptBenchmark, PromptItem, as_item_score
from tutelage.io.row import Row
from tutelage.scoring.unit_tests import program, unit_tests

SECONDS = 3  # of CPU time, so that a loaded machine fails no program; as human-eval, which counts wall-clock time
_FENCED = ItemScore("wrong", "text around the program")  # fences are no Python


def human_eval_item(row: Row, place: str) -> PromptItem:
    """A function with its docstring to complete, and the tests of it."""
    prompt, name = str(row["prompt"]), str(row["entry_point"])
    tests = f"{row['test']}\n\ncheck({name})"
    solution = prompt + str(row.get("canonical_solution") or "")
    data = {"prompt": prompt, "entry_point": name, "shown": str(row.get("canonical_solution") or "").strip("\n")}
    gold = json.dumps({"tests": tests, "solution": solution})
    return PromptItem(str(row.get("task_id", place)), prompt, gold, str(row.get("canonical_solution") or ""), data=data)


def mbpp_item(row: Row, place: str) -> PromptItem:
    """A task in words with assertions, of which a model sees all."""
    text = str(row.get("text") or row.get("prompt") or "").strip()
    tests = row.get("test_list") or row.get("test")
    if not text or not isinstance(tests, list) or not tests:
        raise ValueError("it needs a text and a list of tests")
    code = str(row.get("code") or "").replace("\r\n", "\n").strip()
    imports = "\n".join([str(row.get("test_setup_code") or ""), *map(str, row.get("test_imports") or [])]).strip()
    gold = json.dumps({"tests": "\n".join([imports, *map(str, tests)]).strip(), "solution": code})
    question = f"{text} Your code should pass these tests:\n" + "\n".join(map(str, tests))
    solution = f"```python\n{code}\n```" if code else ""
    return PromptItem(str(row.get("task_id", place)), question, gold, solution, data={"shown": code})


def score_human_eval(answer: str, item: PromptItem) -> Mapping[str, ItemScore]:
    """A program that has the function runs as it is; another text goes on with the prompt. Strict: it only goes on."""
    prompt, name = item.data["prompt"], item.data["entry_point"]
    code = program(answer)
    defines = re.search(rf"^def {re.escape(name)}\b", code, re.MULTILINE) is not None
    imports = "".join(f"{line}\n" for line in prompt.splitlines() if re.match(r"(import|from) ", line))
    whole = imports + code if defines else prompt + code
    found = _run(whole, item)
    goes_on = _run(prompt + answer, item) if defines else found
    return {"lenient": found, "strict": _FENCED if "```" in answer else goes_on}


def score_mbpp(answer: str, item: PromptItem) -> Mapping[str, ItemScore]:
    """The last fenced block, or all of the answer, before the tests. Strict: all of the answer is the program."""
    found = _run(program(answer), item)
    return {"lenient": found, "strict": _FENCED if "```" in answer else found}


def _run(code: str, item: PromptItem) -> ItemScore:
    """The outcome of a program."""
    if not code.strip():
        return ItemScore("unparsable")
    text = f"```python\n{code}\n```"
    score = unit_tests(text, item.gold, seconds=SECONDS)
    if score.outcome == "timed out":  # once more, in case the machine was busy
        score = unit_tests(text, item.gold, seconds=SECONDS)
    return as_item_score(score)


HUMAN_EVAL = PromptBenchmark(
    name="humaneval",
    title="HumanEval",
    files=("HumanEval.jsonl*", "human_eval.jsonl*", "humaneval**test*.parquet"),
    read=human_eval_item,
    score=score_human_eval,
    instruction="Complete this function. Write all of it in one Python code block.",
    template="{}",
    between="",
    stops=("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n```"),
    max_tokens=512,
    majority=False,
)
MBPP = PromptBenchmark(
    name="mbpp",
    title="MBPP",
    files=("mbpp_test.jsonl*", "mbpp/**test*", "mbpp.jsonl*"),
    read=mbpp_item,
    score=score_mbpp,
    instruction="Write the function in one Python code block.",
    template="You are an expert Python programmer, and here is your task: {}\n",
    between="",
    stops=("\nYou are an expert", "\n```\n"),
    shots=3,
    max_tokens=512,
    majority=False,
)
