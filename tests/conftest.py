from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # what follows must be set before torch is imported
    from tutelage.batching.loader import WeightedStore
    from tutelage.batching.store import Store
    from tutelage.runner import Run
    from tutelage.stages.train_stage import TrainSetup

# Set before any test imports a library that would look for models or data on the network.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models of the tests are so small that two threads spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: how long an example takes on a shared machine says nothing about whether it is right.
settings.register_profile("tutelage", deadline=None, max_examples=50)
settings.load_profile("tutelage")


@pytest.fixture(autouse=True)
def _progress_as_by_default() -> Iterator[None]:
    """A command with --json or --quiet changes how the whole process shows progress."""
    yield
    from tutelage import progress

    progress.set_mode("auto")


TALES = """
name      = "tales"
model     = { depth = 1, width = 32, context = 64 }
tokenizer = { kind = "char" }

[data]
tales  = { kind = "text", path = "tales.txt" }
chat   = { kind = "chat", path = "chat.jsonl", held_out = "held_out.jsonl" }
unseen = { kind = "prompts", path = "prompts.jsonl" }

[stages.base]
kind = "pretrain"
data = { tales = 1 }
steps = 30
batch_tokens = 1024
lr = 1e-2
optimizer = { kind = "adamw" }

[stages.chat]
kind = "sft"
from = "base"
data = { chat = 1 }
replay = 0.3
steps = 24
batch_tokens = 512
evaluate_every = 3
lr = 1e-2
optimizer = { kind = "adamw" }
schedule = { kind = "constant", warmup = 0.0 }

[evaluate]
chat = ["format", "forgetting"]
"""
PROMPTS = {"near": ["who fears the fox?", "who hears the hen and the owl?"], "far": ["what is the sea?", "7 + 5?"]}


@pytest.fixture(scope="session")
def data() -> Callable[[str], Path]:
    """A file or folder of the folder of data ($TUTELAGE_DATA, or shared/data beside the checkout); the test is skipped
    where it is not there."""
    folder = Path(os.environ.get("TUTELAGE_DATA") or Path(__file__).parents[2] / "shared" / "data")

    def find(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"{name} is in no data folder; set TUTELAGE_DATA to the folder that has it")
        return folder / name

    return find


@pytest.fixture(scope="session")
def tales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose data are files beside it: a text, conversations with others held out, and prompts. So little is
    learned so fast that the evaluations of its chat stage differ. To be copied before it is changed.
    """
    folder = tmp_path_factory.mktemp("tales")
    draw = random.Random(0)
    nouns, verbs = "cat dog fox hen owl".split(), "sees likes hears".split()

    def line() -> str:
        verb, noun = draw.choice(verbs), draw.choice(nouns)
        return f"who {verb} the {noun}?" if draw.random() < 1 / 3 else f"the {draw.choice(nouns)} {verb} the {noun}."

    (folder / "tales.txt").write_text("\n".join(line() for _ in range(300)))
    asked = [(verb, noun) for noun in nouns for verb in verbs]
    for name, part in {"held_out": asked[:4], "chat": asked[4:]}.items():
        rows = [(f"who {v} the {n}?", f"the {who} {v} the {n}.") for who in ("cat", "dog") for v, n in part]
        lines = [json.dumps({"prompt": prompt, "completion": answer}) for prompt, answer in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    prompts = [json.dumps({"set": name, "prompt": prompt}) for name, texts in PROMPTS.items() for prompt in texts]
    (folder / "prompts.jsonl").write_text("\n".join(prompts))
    (folder / "tales.toml").write_text(TALES)
    return folder / "tales.toml"


@pytest.fixture(scope="session")
def tales_run(tales: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """That recipe, run; to be read only."""
    from tiny_recipe import run_quietly

    from tutelage.recipe import load_recipe
    from tutelage.runner import Run

    return run_quietly(Run(load_recipe(tales), tmp_path_factory.mktemp("tales-run")))


@pytest.fixture
def quiet() -> Iterator[None]:
    """No progress on the terminal."""
    from tutelage import progress

    progress.set_mode("quiet")
    yield
    progress.set_mode("auto")


@dataclass(frozen=True)
class Parts:
    """A stage that is set up, with the stores that went into its stream of data and into its evaluation."""

    setup: TrainSetup
    datasets: Mapping[str, WeightedStore]
    held_out: Mapping[str, Store]
    base_held_out: Mapping[str, Store]


@pytest.fixture
def parts_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run, str], Parts]:
    """Sets up a stage of a run, by its name."""
    from tutelage.stages import pretrain, sft
    from tutelage.stages.train_stage import set_up

    given: dict[str, Any] = {}
    for module in (pretrain, sft):
        store_stream, evaluate_stores = module.store_stream, module.evaluate_stores

        def stream(stage: Any, label: Any, datasets: Any, real: Any = store_stream) -> Any:
            given["datasets"] = datasets
            return real(stage, label, datasets)

        def evaluate(stage: Any, made: Any, held_out: Any, base_held_out: Any, real: Any = evaluate_stores) -> Any:
            given.update(held_out=held_out, base_held_out=base_held_out)
            return real(stage, made, held_out, base_held_out)

        monkeypatch.setattr(module, "store_stream", stream)
        monkeypatch.setattr(module, "evaluate_stores", evaluate)
    return lambda run, name: Parts(set_up(run.trained_stage(name), run.context(name)), **given)
