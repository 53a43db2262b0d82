"""Every method against the built-in world as teacher: rows of its kind, balanced accounts, and short files."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from synth_runs import balanced, recipe, rows

from tutelage.chat.formats import read_conversations, read_preferences
from tutelage.config import convert, recipes_folder, to_plain
from tutelage.ledger import Ledger
from tutelage.synth.methods import AnyMethod
from tutelage.synth.methods.knowledge_probe import REFUSALS
from tutelage.synth.oracle import Oracle
from tutelage.synth.recipe import SynthRecipe, kind_of, load_recipe
from tutelage.synth.runner import synthesise
from tutelage.synth.teacher import WorldTeacher

RIGHT = "tutelage.world.tasks:names_value"
METHODS: dict[str, dict[str, Any]] = {
    "agents": {"tools": "search", "fails": 0.3, "verify": RIGHT},
    "alpaca": {"count": 40},
    "constitution": {"rounds": 2},
    "continuation": {"min_words": 20},
    "document_qa": {},
    "evol_instruct": {"rounds": 2},
    "exercises": {},
    "instruction_reversal": {},
    "knowledge_probe": {"samples": 2},
    "mga": {"pairs": 2},
    "multi_turn": {"turns": 2},
    "nemotron_cc": {},
    "persona": {"votes": 2},
    "persona_if": {},
    "plurality": {"samples": 3},
    "reasoning": {"verify": RIGHT, "samples": 2},
    "rejection_sampling": {"verify": RIGHT, "samples": 3, "easy": True},
    "rlaif": {},
    "self_instruct": {"count": 20},
    "self_rewarding": {"answers": 3},
    "teacher_swap": {"verify": RIGHT},
    "wrap": {"styles": ["wikipedia", "toddler"]},
}
FAULTS = {"wrong": 0.2, "refused": 0.05, "cut": 0.05, "empty": 0.03, "unparsable": 0.05, "failed": 0.03}
KINDS = [kind_of_class.__struct_config__.tag for kind_of_class in get_args(AnyMethod)]


def method_recipe(kind: str, faults: dict[str, float]) -> Any:
    teacher = {"kind": "world", "faults": faults, "world": {"people": 40}}
    make = {"kind": kind, **METHODS[kind]}
    limit = 100 if kind == "knowledge_probe" else 20  # most pages are of no person, and nobody knows them
    return recipe({"make": make, "input": "world", "limit": limit, "teacher": teacher, "world": {"people": 40}})


def test_every_method_is_listed() -> None:
    assert sorted(METHODS) == sorted(KINDS)
    folder = Path(inspect.getfile(sys.modules["tutelage.synth.methods"])).parent
    assert sorted(METHODS) == sorted(path.stem for path in folder.glob("[a-z]*.py"))


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_makes_rows_that_training_reads(kind: str, tmp_path: Path) -> None:
    loaded = method_recipe(kind, {"wrong": 0.3} if kind in ("plurality", "rlaif", "self_rewarding") else {})
    summary = synthesise(loaded, tmp_path)
    assert summary["rows"] >= 5 and balanced(summary)
    data, ledger = tmp_path / "data.jsonl", Ledger("rows")
    if loaded.make.makes == "conversations":
        assert len(list(read_conversations(data, ledger, 0.0))) == summary["rows"]
        assert not any("not read" in note for note in ledger.noted)
    elif loaded.make.makes == "preferences":
        assert len(list(read_preferences(data, ledger, 0.0))) == summary["rows"]
    else:
        assert all(row["text"].strip() for row in rows(tmp_path))
    assert all(row["lineage"]["method"] == kind and row["lineage"]["model"] == "world" for row in rows(tmp_path))


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_accounts_for_every_fault(kind: str, tmp_path: Path) -> None:
    loaded = convert(to_plain(method_recipe(kind, FAULTS)) | {"min_kept": 0}, SynthRecipe)
    summary = synthesise(loaded, tmp_path)
    assert balanced(summary)
    dropped = rows(tmp_path, "dropped.jsonl")
    assert dropped or kind == "rejection_sampling"  # where one of the samples of each prompt was right
    assert all(row["reason"] and "raw" in row for row in dropped)
    assert summary["steps"][0]["items"] == loaded.limit or METHODS[kind].get("count")


def test_probing_teaches_to_answer_what_is_known_and_to_refuse_what_is_invented(tmp_path: Path) -> None:
    """Llama 3, 4.3.6: always right, always wrong, sometimes right; wrong answers that say nothing are neither."""
    table = to_plain(method_recipe("knowledge_probe", {"wrong": 0.5})) | {"limit": 200}
    synthesise(convert(table, SynthRecipe), tmp_path / "drop")
    made = rows(tmp_path / "drop")
    refused = [row["messages"][1]["content"] in REFUSALS for row in made]
    verdicts = [row["lineage"]["verdicts"] for row in made]
    assert 3 <= sum(refused) <= len(made) - 3
    assert all(found["wrong" if no else "right"] == 2 for no, found in zip(refused, verdicts, strict=True))
    reasons = {row["reason"] for row in rows(tmp_path / "drop", "dropped.jsonl")}
    assert reasons == {"some answers are right", "uninformative answers"}
    table["make"] = table["make"] | {"mixed": "right"}
    synthesise(convert(table, SynthRecipe), tmp_path / "right")
    assert {row["reason"] for row in rows(tmp_path / "right", "dropped.jsonl")} == {"uninformative answers"}


def test_a_list_of_instructions_in_another_form_is_asked_for_once_more(endpoint: Any, tmp_path: Path) -> None:
    """A model of 135M writes one list of three with "Task 1:" or in a sentence."""
    wrong, right = "Task 1: Name a river of the north.", "1. Name a river of the north.\n2. The soup was cold today."

    def reply(body: dict[str, Any]) -> str:
        turns = body["messages"]
        return "The Ob." if "new tasks" not in turns[0]["content"] else wrong if len(turns) == 1 else right

    endpoint.answer = reply
    path = tmp_path / "seeds.jsonl"
    path.write_text(json.dumps({"prompt": "Name a tree of the south.", "completion": "The olive."}) + "\n")
    teacher = {"kind": "endpoint", "url": endpoint.url, "model": "m", "parallel": 1}
    make = {"kind": "self_instruct", "count": 1}
    synthesise(recipe({"make": make, "input": str(path), "teacher": teacher}), tmp_path / "out")
    [row] = rows(tmp_path / "out")
    assert [turn["content"] for turn in row["messages"]] == ["Name a river of the north.", "The Ob."]
    assert rows(tmp_path / "out", "dropped.jsonl")[0]["reason"] == "statement"
    again = next(body["messages"] for body in endpoint.seen if len(body["messages"]) == 3)
    assert again[1]["content"] == wrong and "numbered list" in again[2]["content"]


def test_every_method_has_a_recipe() -> None:
    made = set()
    for path in sorted((recipes_folder() / "synth").glob("*.toml")):
        loaded = load_recipe(path, ["teacher=world"])
        assert loaded.name == path.stem
        made |= {kind_of(method) for _, method in loaded.steps}
    assert made == set(METHODS)


def code_lines(source: str) -> int:
    """Lines of code: without blank lines, comments, docstrings, imports and constants, which hold the prompts."""
    tree = ast.parse(source)
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = source.splitlines()
    return sum(bool(line.split("#")[0].strip()) and n not in skipped for n, line in enumerate(lines, 1))


def test_a_method_has_at_most_40_lines_of_code() -> None:
    counts = {
        kind.__name__: code_lines(inspect.getsource(sys.modules[kind.__module__])) for kind in get_args(AnyMethod)
    }
    assert {name: lines for name, lines in counts.items() if lines > 40} == {}


GOLDEN = Path(__file__).parent / "golden_prompts.json"


class Recorder(Oracle):
    """The world as teacher, which keeps what it was asked."""

    def __init__(self, settings: WorldTeacher) -> None:
        super().__init__(settings)
        self.asked: dict[str, str] = {}

    def submit(self, body: Mapping[str, Any], sample: int, purpose: str, about: Any) -> Any:
        turns = "\n".join(f"[{turn['role']}] {turn['content']}" for turn in body["messages"])
        self.asked.setdefault(purpose, turns)
        return super().submit(body, sample, purpose, about)


def prompts_of(kind: str, out: Path) -> dict[str, str]:
    """The first question of each purpose."""
    loaded = method_recipe(kind, {})
    table = to_plain(loaded) | {"limit": None if loaded.make.draws else 1, "min_kept": 0}
    table["make"] = table["make"] | ({"count": 1} if loaded.make.draws else {})
    recorder = Recorder(WorldTeacher(world=loaded.world))
    synthesise(convert(table, SynthRecipe), out, teachers={"teacher": recorder})
    return recorder.asked


@pytest.mark.parametrize("kind", METHODS)
def test_d702_the_prompts_of_a_method_are_those_that_were_read(kind: str, tmp_path: Path) -> None:
    """distilabel PR 702: a prompt was one character for weeks. One that changes on purpose is read again here, and then
    written: PYTHONPATH=tests python tests/synth/test_methods.py."""
    assert prompts_of(kind, tmp_path) == json.loads(GOLDEN.read_text())[kind]


def test_kinds_are_the_names_of_the_files() -> None:
    for kind in get_args(AnyMethod):
        assert kind.__module__.rpartition(".")[2] == kind.__struct_config__.tag == kind_of_name(kind)


def kind_of_name(kind: Any) -> str:
    return str(kind_of(kind(verify="exact") if kind.__struct_config__.tag == "rejection_sampling" else kind()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps({kind: prompts_of(kind, Path(folder, kind)) for kind in METHODS}, indent=1) + "\n")
