"""BIG-Bench Hard (Suzgun et al. 2022, arXiv 2210.09261): 27 tasks, each with a description and three examples; answered
directly (`bbh`) or after a chain of thought (`bbh_cot`).

A task is a JSON object with a list `examples` of {"input", "target"}; its description and examples are in a file of the
same name in `cot-prompts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tutelage.evaluate.benchmarks.benchmark import ItemScore, PromptBenchmark, PromptItem, as_item_score
from tutelage.evaluate.benchmarks.data_folder import read_rows
from tutelage.files import explain
from tutelage.io.row import Row
from tutelage.scoring import make_verifier
from tutelage.scoring.extract import marked_result

_EXAMPLE = re.compile(r"^Q: (.*?)\nA: (.*?)(?=\n\nQ: |\Z)", re.DOTALL | re.MULTILINE)
ScoreItem = Callable[[str, PromptItem], Mapping[str, ItemScore]]
_NUMERIC, _CHOICE, _EXACT = make_verifier("numeric"), make_verifier("choice"), make_verifier("exact")


def read_tasks(files: Sequence[Path], chain: bool) -> list[PromptItem]:
    """The items of all tasks, each with the examples of its task.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken, or a task has no file of examples.
    """
    items: list[PromptItem] = []
    for file in files:
        task = file.name.partition(".")[0]
        description, examples = _read_examples(file, task, chain)

        def read(
            row: Row, place: str, task: str = task, about: str = description, shown: Examples = examples
        ) -> PromptItem:
            question, target = str(row["input"]).strip(), str(row["target"]).strip()
            if not question or not target:
                raise ValueError("it needs an input and a target")
            return PromptItem(place, question, target, f"So the answer is {target}.", task, about, shown)

        items += read_rows([file], read, lambda row: "target" in row)
    return items


Examples = tuple[tuple[str, str], ...]


def _read_examples(file: Path, task: str, chain: bool) -> tuple[str, Examples]:
    """The description of a task, and its examples: with their reasoning, or the answer alone."""
    places = [file.parent.parent / "cot-prompts" / f"{task}.txt", file.parent / "cot-prompts" / f"{task}.txt"]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        if chain:
            raise ValueError(f"{file} has no examples: put them at {places[0]}, or ask bbh")
        return "", ()
    try:
        text = path.read_text(encoding="utf-8").rpartition("-----\n")[2].strip()
    except OSError as error:
        raise explain(error, path, "read") from error
    description = text.partition("\n\nQ: ")[0].strip()
    found = [(question.strip(), answer.strip()) for question, answer in _EXAMPLE.findall(text)]
    return description, tuple((q, a if chain else marked_result(a) or a) for q, a in found)


def score_task(answer: str, item: PromptItem) -> Mapping[str, ItemScore]:
    """The outcome by the kind of the target: a letter in parentheses, a number or a text. Strict: "answer is" stands
    before it."""
    gold = str(item.gold)
    if re.fullmatch(r"\([A-Z]\)", gold):
        verify = _CHOICE
    else:
        verify = _NUMERIC if re.fullmatch(r"-?\d+", gold) else _EXACT
    lenient = as_item_score(verify(answer, gold))
    marked = "answer is" in answer.lower()
    return {"lenient": lenient, "strict": lenient if marked else ItemScore("unparsable")}


def score_direct(answer: str, item: PromptItem) -> Mapping[str, ItemScore]:
    """The outcome of an answer without a chain of thought."""
    return {"lenient": score_task(answer, item)["lenient"]}


def _bbh(name: str, title: str, score: ScoreItem, chain: bool, max_tokens: int) -> PromptBenchmark:
    return PromptBenchmark(
        name=name,
        title=title,
        files=("bbh/*.json", "bbh/*.json.gz"),
        read=lambda row, place: PromptItem(place, "", ""),
        read_files=partial(read_tasks, chain=chain),
        score=score,
        shots=3,
        template="Q: {}\nA:",
        stops=("\nQ:", "\n\n"),
        max_tokens=max_tokens,
    )


BBH = _bbh("bbh", "BIG-Bench Hard", score_direct, chain=False, max_tokens=64)
BBH_COT = _bbh("bbh_cot", "BIG-Bench Hard, chain of thought", score_task, chain=True, max_tokens=512)
