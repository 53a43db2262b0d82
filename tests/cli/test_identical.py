"""`tutelage identical`: two servers, two runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from served import serving, tiny_checkpoint

from tutelage.cli import main
from tutelage.model.hub import save_model


def identical(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["identical", *map(str, arguments)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the servers, and a file of prompts beside it."""
    folder = tmp_path_factory.mktemp("served") / "tiny"
    save_model(folder, tiny_checkpoint())
    (folder.parent / "prompts.txt").write_text("Where was Nora born?\n\nGood day, you are\n")
    return folder


def test_servers_of_one_model_are_the_same_and_of_another_differ_at_a_token(model: Path) -> None:
    options = ("--model", model, "--prompts", model.parent / "prompts.txt", "--max-tokens", 12)
    with serving() as one, serving() as other, serving({"tiny": tiny_checkpoint(seed=1)}) as third:
        same = identical(f"{one.url}/v1", f"{other.url}/v1", *options)
        assert (same.exit_code, same.output) == (0, "the answers to 2 prompts are the same\n")
        different = identical(f"{one.url}/v1", f"{third.url}/v1", *options, "--json")
    assert different.exit_code == 1
    found = json.loads(different.stdout)
    assert not found["identical"] and found["differences"][0].startswith("prompt 1, token ")


def test_a_server_that_is_not_there_is_named_in_a_sentence(model: Path) -> None:
    options = ("--model", model, "--prompts", model.parent / "prompts.txt")
    refused = identical("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", *options)
    assert refused.exit_code == 1
    assert "tutelage: http://127.0.0.1:9/v1: broken connection" in refused.output
    assert "give both" in identical("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1").output
    assert "give two servers, or two runs" in identical("http://127.0.0.1:9/v1", model).output


def test_runs_are_the_same_up_to_the_first_step_that_differs(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    rows = [{"step": step, "loss": 5.0 - step, "lr": 0.1, "tokens": 10 * step, "seconds": step} for step in (1, 2, 3)]
    (one / "base").mkdir(parents=True)
    (one / "base" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(one, other)
    assert identical(one, other).output == "the steps of the two runs are the same\n"
    rows[1]["loss"] += 1e-6
    (other / "base" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = identical(one, other)
    sentence = "tutelage: the steps of the two runs differ: stage base, step 2: loss is 3.0 and 3.000001\n"
    assert (refused.exit_code, refused.output) == (1, sentence)
    assert identical(one, other, "--tolerance", 1e-5).exit_code == 0
    (other / "base" / "train.jsonl").write_text(json.dumps(rows[0]) + "\n")
    assert "step 2: loss is 3.0 and None" in identical(one, other).output
    assert "holds no train.jsonl" in identical(tmp_path / "x", tmp_path / "y").output
    shutil.rmtree(other / "base")
    assert "has no stage 'base'" in identical(one, other).output
