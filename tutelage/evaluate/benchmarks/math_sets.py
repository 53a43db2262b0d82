"""Questions whose answer is a number or a maths expression: GSM8K, MATH, SVAMP and others.

Two readings of an answer are shown: the lenient one takes the last number where nothing is marked as the result, the
strict one a marked result alone ("#### 18", "The answer is 18.", "\\boxed{18}").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from tutelage.evaluate.benchmarks.benchmark import ItemScore, PromptBenchmark, PromptItem, as_item_score
from tutelage.io.row import Row
from tutelage.scoring import Score, Verifier, make_verifier
from tutelage.scoring.extract import marked_result, visible

INSTRUCTION = 'Think step by step. End with "The answer is" and the result.'
LETTER = 'Think step by step. End with "The answer is" and the letter of the right choice.'
_QUESTION = ("question", "problem", "input", "context", "content", "Question")
_ANSWER = ("answer", "Answer", "target", "final_answer")
_SOLUTION = ("solution", "rationale", "cot")
_CALCULATION = re.compile(r"<<.*?>>")  # GSM8K's notes for a calculator
_UNIT = re.compile(r"(-?[\d.,/ ]*\d) *\([^)]*\)")  # ASDiv: "9 (apples)"


def math_item(row: Row, place: str) -> PromptItem:
    """A row of any of the sets: the question is in one of several fields, after a `body` where there is one; the answer
    in a field of its own, or marked in the solution."""
    question = _first(row, _QUESTION)
    body = row.get("body") or row.get("Body") or ""
    question = f"{body.rstrip(' .')}. {question}" if body else question
    answer = next((row[key] for key in _ANSWER if row.get(key) is not None), None)
    solutions = [row[key] for key in _SOLUTION if row.get(key)]
    solution = str(solutions[0][0] if isinstance(solutions[0], list) else solutions[0]) if solutions else ""
    if answer is None:
        answer = marked_result(solution)
    if isinstance(answer, list):
        answer = ", ".join(map(str, answer))
    if not question.strip() or answer is None or not str(answer).strip():
        raise ValueError(f"it needs a question ({', '.join(_QUESTION)}) and an answer ({', '.join(_ANSWER)})")
    text = str(answer).strip()
    gold = marked_result(text) or (match[1] if (match := _UNIT.fullmatch(text)) else text)
    solution = text if "####" in text else solution
    solution = _CALCULATION.sub("", solution) if solution else f"The answer is {gold}."
    if "####" in solution:
        solution = re.sub(r"\n?#### *", "\nThe answer is ", solution).strip() + "."
    name = next((str(row[key]) for key in ("id", "ID", "unique_id", "question_number", "idx") if key in row), place)
    group = next(
        (str(row[key]) for key in ("subject", "type", "Type", "data_topic", "solution_type") if row.get(key)), ""
    )
    return PromptItem(name, question.strip(), gold, solution, group)


def _first(row: Row, keys: tuple[str, ...]) -> str:
    return next((str(row[key]) for key in keys if row.get(key)), "")


def option_item(row: Row, place: str) -> PromptItem:
    """A question with options, each with its letter: a list of texts such as "A)21", or one text."""
    options = row.get("options")
    listed = "\n".join(map(str, options)) if isinstance(options, list) else str(options or "")
    letter = next((str(row[key]) for key in ("correct", "Answer", "answer") if row.get(key)), "")
    if not listed.strip() or not re.fullmatch("[A-Z]", letter):
        raise ValueError("it needs 'options' and the letter of the right one in 'correct' or 'Answer'")
    question = f"{_first(row, _QUESTION).strip()}\n{listed}"
    solution = f"{str(row.get('rationale') or '').strip()}\nThe answer is {letter}.".strip()
    return PromptItem(str(row.get("id", place)), question, letter, solution)


_made: dict[tuple[str, bool], Verifier] = {}


def _verifier(kind: str, strict: bool) -> Verifier:
    """One for all answers: that of expressions has a process of its own."""
    if (kind, strict) not in _made:
        _made[kind, strict] = make_verifier({"kind": kind, **({"strict": strict} if kind in STRICT else {})})
    return _made[kind, strict]


STRICT = ("numeric", "expression")  # verifiers that tell a marked result from the last number


def score_math(answer: str, item: PromptItem, kind: str) -> Mapping[str, ItemScore]:
    """The outcome of an answer, by the lenient and the strict reading. A gold answer that the verifier cannot read,
    such as "all real numbers", is compared as text."""
    found = {}
    for name, strict in (("lenient", False), ("strict", True)):
        try:
            score = _verifier(kind, strict)(answer, item.gold)
        except ValueError:
            score = _verifier("exact", strict)(answer, item.gold)
            if score.outcome != "right" and marked_result(visible(answer)) is None:
                score = Score("unparsable")
        found[name] = as_item_score(score)
    return found


def score_letter(answer: str, item: PromptItem) -> Mapping[str, ItemScore]:
    """The outcome of the letter that an answer names."""
    return {"lenient": as_item_score(_verifier("choice", False)(answer, item.gold))}


def _math(
    name: str, title: str, *files: str, kind: str = "numeric", shots: int = 0, shot_files: tuple[str, ...] = ()
) -> PromptBenchmark:
    score = partial(score_math, kind=kind)
    return PromptBenchmark(
        name, title, files, math_item, score, shots=shots, shot_files=shot_files, instruction=INSTRUCTION
    )


_SETS = (
    _math(
        "gsm8k", "GSM8K", "gsm8k/test.jsonl*", "gsm8k/**test*", "gsm8k.jsonl*", "gsm8k/train.jsonl*",
        shots=5, shot_files=("gsm8k/train.jsonl*", "gsm8k/**train*"),
    ),
    _math("gsm_hard", "GSM-Hard", "gsm_hard.json*"),
    _math("svamp", "SVAMP", "svamp/test.jsonl*", "svamp.jsonl*"),
    _math("asdiv", "ASDiv", "asdiv/test.jsonl*"),
    _math("mawps", "MAWPS", "mawps/test.jsonl*"),
    _math("addsub", "MAWPS AddSub", "mawps/addsub.jsonl*"),
    _math("multiarith", "MAWPS MultiArith", "mawps/multiarith.jsonl*"),
    _math("singleeq", "MAWPS SingleEq", "mawps/singleeq.jsonl*"),
    _math("singleop", "MAWPS SingleOp", "mawps/singleop.jsonl*"),
    _math("cmath", "CMATH (Chinese)", "cmath/test.jsonl*"),
    _math(
        "math", "MATH", "math_test_5000.json*", "math/test.jsonl*", "math.jsonl*",
        kind="expression", shots=4, shot_files=("math/train.jsonl*",),
    ),
    _math("college_math", "College Math", "college_math/test.jsonl*", kind="expression"),
    _math("carp_en", "CARP (English)", "carp_en/test.jsonl*", kind="expression"),
    _math("minerva_math", "Minerva Math", "minerva_math/test.jsonl*", kind="expression"),
    _math("olympiadbench", "OlympiadBench", "olympiadbench/test.jsonl*", kind="expression"),
    _math("gaokao2023en", "Gaokao 2023 (English)", "gaokao2023en/test.jsonl*", kind="expression"),
    _math("aime24", "AIME 2024", "aime24/test.jsonl*"),
    _math("amc23", "AMC 2023", "amc23/test.jsonl*"),
    PromptBenchmark("aqua", "AQuA", ("aqua/test.jsonl*",), option_item, score_letter, instruction=LETTER),
    PromptBenchmark("sat_math", "SAT Math", ("sat_math/test.jsonl*",), option_item, score_letter, instruction=LETTER),
)  # fmt: skip
MATH_SETS: Mapping[str, PromptBenchmark] = {one.name: one for one in _SETS}
