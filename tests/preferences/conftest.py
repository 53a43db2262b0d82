from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_recipe import run_quietly

from tutelage.recipe import Recipe, load_recipe
from tutelage.runner import Run

PAIRS = """
[data.pairs]
kind = "preferences"
path = "pairs.jsonl"
held_out = "held_out_pairs.jsonl"

[stages.{kind}]
kind = "{kind}"
from = "chat"
data = {{ pairs = 1 }}
steps = 6
batch_tokens = 512
lr = 1e-3
optimizer = {{ kind = "adamw" }}
schedule = {{ kind = "constant", warmup = 0.0 }}
"""


@pytest.fixture(scope="session")
def tuned(tales: Path, tales_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of tales with pairs beside it: the right answer is chosen, another animal's rejected."""
    folder = Path(shutil.copytree(tales.parent, tmp_path_factory.mktemp("pairs") / "tales"))
    nouns, verbs = "cat dog fox hen owl".split(), "sees likes hears".split()
    rows = [
        {"prompt": f"who {v} the {n}?", "chosen": f"the cat {v} the {n}.", "rejected": f"the {o} {v} {w} {n}."}
        for number, n in enumerate(nouns)
        for v in verbs
        for o, w in ((nouns[(number + 1) % 5], "the"), ("fox", "the the"))
    ]
    rows = [row for row in rows if row["chosen"] != row["rejected"]]
    for name, part in {"pairs": rows[6:], "held_out_pairs": rows[:6]}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder / "tales.toml"


@pytest.fixture
def preference_run(tuned: Path, tales_run: Run, tmp_path: Path) -> Callable[..., Run]:
    """A run of the recipe with a stage of a kind on its chat stage, both stages below it finished; not run yet."""

    def make(kind: str, *overrides: str, name: str = "run") -> Run:
        path = tuned.with_name(f"{kind}.toml")
        path.write_text(tuned.read_text() + PAIRS.format(kind=kind))
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(tales_run.folder, folder)
        return Run(recipe_of(path, *overrides), folder)

    return make


def recipe_of(path: Path, *overrides: str) -> Recipe:
    return load_recipe(path, overrides)


def run_stage(run: Run, kind: str) -> Run:
    return run_quietly(run, kind)
