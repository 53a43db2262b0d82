from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.evaluate.benchmarks.benchmark import ChoiceBenchmark
from tutelage.evaluate.benchmarks.choice_sets import CHOICE_SETS, lambada_row
from tutelage.evaluate.benchmarks.data_folder import find_files
from tutelage.evaluate.benchmarks.measured import AskSettings, Measured
from tutelage.evaluate.benchmarks.mmlu import MMLU, read_mmlu
from tutelage.evaluate.benchmarks.run_choices import read_choice_set, run_choices
from tutelage.evaluate.calibration import calibration
from tutelage.evaluate.result_cache import ResultCache
from tutelage.model.hub import Checkpoint

WriteRows = Callable[[str, Any], Path]
HEADER = "question,choice0,choice1,choice2,choice3,answer\n"


def run(model: Checkpoint, benchmark: ChoiceBenchmark, files: list[Path], **settings: Any) -> Measured:
    return run_choices(model, benchmark, files, [], AskSettings(**settings), ResultCache())


def mmlu_folder(folder: Path) -> Path:
    (folder / "dev").mkdir(parents=True)
    rows = "".join(f'"Is {n} + {n} even?",no,yes,2,3,{n % 4}\n' for n in range(4))
    (folder / "dev" / "moral_disputes_dev.csv").write_text(HEADER + rows)
    (folder / "dev" / "anatomy_dev.csv").write_text("What is a bone?,A,hard,soft,wet,A\nA cell?,1,2,0,3,0\n")
    return folder


def test_mmlu_files_in_both_forms(tmp_path: Path) -> None:
    """A header and numbers, or neither; "A" as an answer is a letter also where a choice is "A"."""
    files = find_files(mmlu_folder(tmp_path), MMLU.files)
    items = read_mmlu(files)
    assert [(item.group, item.gold) for item in items] == [
        ("anatomy", 0), ("anatomy", 0), *(("moral_disputes", n) for n in range(4)),
    ]  # fmt: skip
    with tarfile.open(tmp_path / "mmlu_dev.tar.gz", "w:gz") as archive:
        for file in files:
            info = tarfile.TarInfo(f"dev/{file.name}")
            info.size = file.stat().st_size
            archive.addfile(info, io.BytesIO(file.read_bytes()))
    assert read_mmlu([tmp_path / "mmlu_dev.tar.gz"]) == items
    (tmp_path / "dev" / "anatomy_dev.csv").write_text("What is a bone?,hard,soft,A\n")
    with pytest.raises(ValueError, match=r"anatomy_dev.csv:1: it has 4 cells; a row is question, 4 choices, answer"):
        read_mmlu(files)


def test_the_prompt_of_mmlu_is_that_of_the_harness(tmp_path: Path, base_model: Checkpoint) -> None:
    files = find_files(mmlu_folder(tmp_path), MMLU.files)
    found = run(base_model, MMLU, files, shots=1)
    assert found.items[-1].prompt == (
        "The following are multiple choice questions (with answers) about moral disputes.\n\n"
        "Is 0 + 0 even?\nA. no\nB. yes\nC. 2\nD. 3\nAnswer: A\n\n"
        "Is 3 + 3 even?\nA. no\nB. yes\nC. 2\nD. 3\nAnswer:"
    )
    assert found.items[-1].gold == "D" and len(found.items[-1].logprobs) == 4
    assert found.format == "plain text, letters, 1 examples"
    assert set(found.rates) >= {"acc", "acc/pmi"} and "acc/char" not in found.rates  # letters have one character


def test_the_default_number_of_examples_is_what_the_smallest_subject_has(
    tmp_path: Path, base_model: Checkpoint
) -> None:
    files = find_files(mmlu_folder(tmp_path), MMLU.files)
    assert run(base_model, MMLU, files).format == "plain text, letters, 1 examples"
    with pytest.raises(ValueError, match="5 examples are asked for, but there are 1 other questions"):
        run(base_model, MMLU, files, shots=5)


def test_pain_e19_both_means_are_named_and_duplicates_counted(tmp_path: Path, base_model: Checkpoint) -> None:
    folder = mmlu_folder(tmp_path)
    with (folder / "dev" / "anatomy_dev.csv").open("a") as file:
        file.write("A cell?,1,2,0,3,0\n")
    found = run(base_model, MMLU, find_files(folder, MMLU.files), shots=0)
    groups = found.figures["groups"]
    assert set(groups) == {"anatomy", "moral_disputes"}
    assert found.figures["macro"] == pytest.approx(np.mean([*groups.values()]))
    assert found.rates["acc"].rate == pytest.approx((3 * groups["anatomy"] + 4 * groups["moral_disputes"]) / 7)
    assert found.figures["duplicates"] == 1


def test_a_limit_and_a_budget_ask_a_part_and_say_of_how_many(write_rows: WriteRows, base_model: Checkpoint) -> None:
    rows = [{"query": f"{n} is", "choices": ["odd", "even"], "gold": n % 2} for n in range(30)]
    files = [write_rows("copa.jsonl", rows) / "copa.jsonl"]
    found = run(base_model, CHOICE_SETS["copa"], files, limit=6)
    assert len(found.items) == 6 and found.total == 30
    ids = [item.id for item in found.items]
    assert ids == sorted(ids, key=lambda name: int(name.split(":")[1]))
    every = {item.id: item.logprobs for item in run(base_model, CHOICE_SETS["copa"], files).items}
    assert all(item.logprobs == pytest.approx(every[item.id], abs=1e-5) for item in found.items)
    short = run(base_model, CHOICE_SETS["copa"], files, budget_seconds=0.0)
    assert len(short.items) == 8


def test_pain_e8_in_a_chat_examples_are_turns(write_rows: WriteRows, chat_model: Checkpoint) -> None:
    from tutelage.evaluate.benchmarks.run_choices import _asked
    from tutelage.evaluate.choices import chat_sequences

    rows = [{"query": f"Is {n} odd", "choices": ["yes", "no"], "gold": 0} for n in range(3)]
    items = read_choice_set(CHOICE_SETS["arc_easy"], [write_rows("arc_easy.jsonl", rows) / "arc_easy.jsonl"])
    one = _asked(CHOICE_SETS["arc_easy"], items[0], items, "cloze", 2, 0)
    first, _ = chat_sequences(chat_model, one)
    text = chat_model.tokenizer.decode(first.tokens)
    assert text.count("<|user|>") == text.count("<|assistant|>") == 3
    assert "yes" not in "".join(part.split("<|assistant|>")[0] for part in text.split("<|user|>")[1:])
    assert first.weights is not None
    assert chat_model.tokenizer.decode(first.tokens[first.weights > 0]) == "yes"


def test_a_last_word_is_right_if_it_is_the_likeliest(write_rows: WriteRows, base_model: Checkpoint) -> None:
    assert lambada_row({"text": "she saw the cat"}) == {
        "text": "she saw the cat", "context": "she saw the", "continuation": "cat",
    }  # fmt: skip
    rows = [{"text": "Nora was born in Berlin"}, {"context": "The answer is", "continuation": "7"}]
    found = run(base_model, CHOICE_SETS["lambada"], [write_rows("lambada_openai.jsonl", rows) / "lambada_openai.jsonl"])
    assert [len(item.logprobs) for item in found.items] == [1, 1]
    assert found.rates["acc"].count == 2
    assert found.figures["perplexity"] == pytest.approx(np.exp(-np.mean([item.logprobs[0] for item in found.items])))


def test_brier_and_ece_by_hand() -> None:
    """Four equally likely choices: 0.75. Confidence .9 and .6, one of two right: |.5| of (.1 + .6) / 2."""
    assert calibration([np.zeros(4)], [2])["brier"] == pytest.approx(0.75)
    logprobs = [np.log([0.9, 0.1]), np.log([0.4, 0.6])]
    found = calibration(logprobs, [0, 0])
    assert found["ece"] == pytest.approx((0.1 + 0.6) / 2)
    assert found["brier"] == pytest.approx((2 * 0.1**2 + 2 * 0.6**2) / 2)
    assert calibration([np.zeros(1)], [0]) == {}
