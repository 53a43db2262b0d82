from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.recipe import load_recipe
from tutelage.runner import Run

TASKS = """
[data.questions]
kind = "prompts"
path = "questions.jsonl"
held_out = "held_out_questions.jsonl"

[stages.{kind}]
kind = "{kind}"
from = "chat"
data = {{ questions = 1 }}
steps = 6
prompts = 4
{own}
max_tokens = 24
lr = 1e-3
optimizer = {{ kind = "adamw" }}
schedule = {{ kind = "constant", warmup = 0.0 }}
rewards = {{ right = {{ kind = "function", name = "{function}" }}, short = {{ kind = "length", weight = 0.1 }} }}
"""


@pytest.fixture(scope="session")
def asked(tales: Path, tales_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of tales with prompts beside it."""
    folder = Path(shutil.copytree(tales.parent, tmp_path_factory.mktemp("tasks") / "tales"))
    nouns, verbs = "cat dog fox hen owl".split(), "sees likes hears".split()
    rows = [{"prompt": f"who {v} the {n}?", "answer": f"the cat {v} the {n}."} for n in nouns for v in verbs]
    for name, part in {"questions": rows[3:], "held_out_questions": rows[:3]}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder / "tales.toml"


@pytest.fixture
def rl_run(asked: Path, tales_run: Run, tmp_path: Path) -> Callable[..., Run]:
    """A run of the recipe with a stage of a kind on its chat stage, both stages below it finished; not run yet."""

    def make(kind: str, *overrides: str, name: str = "run") -> Run:
        path = asked.with_name(f"{kind}.toml")
        path.write_text(
            asked.read_text()
            + TASKS.format(
                kind=kind, own="group_size = 4" if kind == "grpo" else "", function="tiny_rl:mentions_the_cat"
            )
        )
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(tales_run.folder, folder)
        return Run(load_recipe(path, [f"stages.{kind}.{override}" for override in overrides]), folder)

    return make
