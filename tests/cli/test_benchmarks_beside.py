"""What stands beside the scores of named benchmarks, and how two models are compared on them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tutelage.model.hub import Checkpoint, save_model
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.tokenizer import TokenizerSettings, train

Verb = Callable[..., Result]
NOUNS = "cat dog hen fox owl bee ant cow pig rat elk emu".split()


def question(number: int) -> str:
    nouns = [NOUNS[(number * step + step) % len(NOUNS)] for step in (1, 5, 7, 2, 3)]
    return "The {} of the {} saw a {}, a {} and the {} because".format(*nouns)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, verb: Verb) -> tuple[Path, Path, list[Path], Any]:
    """A data folder, training text that has one of its questions, the results of two models, and what was printed."""
    folder = tmp_path_factory.mktemp("beside")
    rows = [{"query": question(n), "choices": ["it fell.", "it grew."], "gold": n % 2} for n in range(10)]
    (folder / "copa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "sft.jsonl").write_text(json.dumps({"prompt": question(2), "completion": "it fell."}))
    tokenizer = train(["it fell. it grew. The carpenter"] * 4, TokenizerSettings(kind="bpe", vocab=280))
    results, shown = [], []
    for seed in (0, 1):
        model = initialise(Transformer(resolve(ModelSettings(depth=1, width=16, context=256), 280)), seed)
        save_model(folder / f"model{seed}", Checkpoint(model, tokenizer))
        results.append(folder / f"results{seed}")
        arguments = ["evaluate", folder / f"model{seed}", "--suite", "copa", "--data", folder / "copa.jsonl"]
        options = ["--contamination", folder / "sft.jsonl", "--formats"] if seed == 0 else []
        shown.append(verb(*arguments, "--out", results[-1], *options))
        assert shown[-1].exit_code == 0, shown[-1].output
    return folder, folder / "sft.jsonl", results, shown


def test_a_named_benchmark_has_a_clean_and_a_dirty_part_and_a_range(folders: Any) -> None:
    _, _, results, (with_both, plain) = folders
    assert (
        "contamination: 1 of 10 questions stand in the 1 training texts, 1 of them with the answer" in with_both.output
    )
    assert "format range: " in with_both.output and "letter bias: A " in with_both.output
    beside = json.loads((results[0] / "copa" / "beside.json").read_text())
    assert len(beside["contamination"]["matches"]) == 1
    assert beside["format_range"]["questions"] == 10
    page = (results[0] / "index.html").read_text()
    assert " median " in page and "% of 9; dirty " in page and "<td>not measured</td>" not in page
    other = (results[1] / "index.html").read_text()
    assert "<td>not checked</td>" in other and "<td>not measured</td>" in other
    assert "contamination not checked" in plain.output and "format range not measured" in plain.output


def test_two_models_are_compared_benchmark_by_benchmark(folders: Any, verb: Verb) -> None:
    _, _, results, _ = folders
    found = json.loads(verb("compare", *results, "--json").stdout)["suites"]["copa"]["metrics"]
    assert found["acc"]["count"] == 10
    assert all(of["holm"] >= of["p_value"] for of in found.values())
    shown = verb("compare", results[0] / "copa", results[1] / "copa").output
    assert "McNemar p = " in shown and "copa:" in shown


def test_what_was_asked_otherwise_is_refused(
    folders: Any, verb: Verb, refused: Callable[..., str], tmp_path: Path
) -> None:
    folder, _, results, _ = folders
    arguments = ["evaluate", folder / "model1", "--suite", "copa", "--data", folder / "copa.jsonl", "--limit", "5"]
    assert verb(*arguments, "--out", tmp_path / "fewer").exit_code == 0
    assert "different settings" in refused("compare", results[0], tmp_path / "fewer")


def test_results_of_an_older_version_lack_only_options_that_were_not_used(
    folders: Any, verb: Verb, tmp_path: Path
) -> None:
    _, _, results, _ = folders
    shutil.copytree(results[0], tmp_path / "old")
    path = tmp_path / "old" / "copa" / "results.json"
    plain = json.loads(path.read_text())
    assert plain["settings"].pop("power") is None and plain["settings"].pop("by_answer") is False
    path.write_text(json.dumps(plain))
    assert verb("compare", tmp_path / "old", results[1]).exit_code == 0
