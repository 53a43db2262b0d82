from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.runner import Run


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_a_command_trains_evaluates_and_reports(asked: Path, tales_run: Run, tmp_path: Path) -> None:
    folder, out = asked.parent, tmp_path / "better"
    marked = folder / "marked.jsonl"
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    marked.write_text("".join(json.dumps({**row, "answer": f"so: #### {row['answer']}"}) + "\n" for row in rows))
    code, output = run(
        "grpo", "--model", tales_run.folder / "chat", "--data", marked, "--out", out, "--held-out",
        marked, "--steps", 2, "--prompts", 2, "--group-size", 2, "--max-tokens", 20, "--reward",
        "exact", "--gold-after", "####", "--lr", 1e-3, "--replay", 0.2, "--kl", 0.1,
    )  # fmt: skip
    assert code == 0, output
    summary = json.loads((out / "summary.json").read_text())
    rate = "evaluate.grpo.tasks.right"
    assert summary[f"{rate}.low"] <= summary[f"{rate}.rate"] <= summary[f"{rate}.high"]
    assert "held-out prompts answered right" in output
    for command in (["look", out / "grpo"], ["doctor", out], ["evaluate", out], ["compare", out, out]):
        code, output = run(*command)
        assert code == 0, output


def test_ppo_trains_against_a_reward_model(asked: Path, tales_run: Run, tmp_path: Path) -> None:
    """The chain of InstructGPT by commands; the rewarded answers are rendered as in the training of the scorer."""
    pairs = [
        {"prompt": f"who {v} the {n}?", "chosen": f"the cat {v} the {n}.", "rejected": f"the {n} {v} the {n}."}
        for v in ("sees", "likes")
        for n in ("dog", "fox", "hen")
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    chat, scorer, out = tales_run.folder / "chat", tmp_path / "scorer", tmp_path / "better"
    code, output = run(
        "reward", "--model", chat, "--data", tmp_path / "pairs.jsonl", "--out", scorer, "--lr", 1e-3, "--epochs", 2
    )
    assert code == 0, output
    code, output = run(
        "ppo", "--model", chat, "--data", asked.parent / "questions.jsonl", "--out", out, "--reward-model", scorer /
        "reward", "--steps", 4, "--prompts", 4, "--max-tokens", 24, "--lr", 1e-4, "--kl-target", 2, "--no-eval",
    )  # fmt: skip
    assert code == 0, output
    log = [json.loads(line) for line in (out / "ppo" / "train.jsonl").read_text().splitlines()]
    assert log[0]["reward.model"] == log[0]["reward"]
    assert "value_loss" in log[0]


def test_best_of_n_writes_rows_that_sft_reads(asked: Path, tales_run: Run, tmp_path: Path) -> None:
    chat, out = tales_run.folder / "chat", tmp_path / "best"
    code, output = run(
        "best-of-n", "--model", chat, "--data", asked.parent / "questions.jsonl", "--out", out, "--reward",
        "contains", "--samples", 3, "--keep", 2, "--max-tokens", 30,
    )  # fmt: skip
    assert code == 0, output
    assert "rows of 12 prompts" in output
    rows = out / "best_of_n" / "data.jsonl"
    code, output = run("sft", "--model", chat, "--data", rows, "--out", tmp_path / "again", "--no-eval", "--epochs", 1)
    assert code == 0, output
    code, output = run("best-of-n", "--model", chat, "--data", rows, "--out", tmp_path / "none")
    assert code == 1
    assert "say what is rewarded" in output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "say what is rewarded: --reward numeric"),
        (["--reward", "numeric"], "reward 'numeric': the gold answer"),
        (["--reward", "nothing"], "'nothing' is no verifier"),
        (["--reward", "exact", "--gold-after", "####"], "the answer has no '####'"),
        (["--reward", "exact", "--find-lr"], "those of sampled answers do not fall"),
        (["--reward", "exact", "--max-tokens", 64], "no prompt is left to train on"),
    ],
)
def test_a_mistake_is_one_sentence(
    options: list[object], said: str, asked: Path, tales_run: Run, tmp_path: Path
) -> None:
    data = asked.parent / "questions.jsonl"
    code, output = run(
        "grpo", "--model", tales_run.folder / "chat", "--data", data, "--out", tmp_path / "out", "--steps", 1, *options
    )
    assert code == 1
    assert said in output
    assert "Traceback" not in output
