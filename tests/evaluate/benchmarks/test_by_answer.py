from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.evaluate.benchmarks import BENCHMARKS
from tutelage.evaluate.benchmarks import run_prompts as module
from tutelage.evaluate.benchmarks.benchmark import ChoiceBenchmark, PromptItem
from tutelage.evaluate.benchmarks.by_answer import by_answer, score_choice
from tutelage.evaluate.benchmarks.measured import AskSettings
from tutelage.evaluate.benchmarks.run import find_benchmarks
from tutelage.evaluate.benchmarks.run_prompts import run_prompts
from tutelage.evaluate.result_cache import ResultCache
from tutelage.evaluate.sampled_answers import SampledAnswer
from tutelage.model.hub import Checkpoint

ITEM = PromptItem("1", "", "B", data={"choices": ("a cat", "the dog", "no cat at all")})


@pytest.mark.parametrize(
    ("answer", "lenient", "strict"),
    [
        ("B", "right", "right"),
        ("**B**.", "right", "right"),
        ("The answer is B.", "right", "right"),
        ("B. the dog", "right", "right"),
        ("B. a cat", "right", "unparsable"),
        ("B. the dog, since it barks", "right", "unparsable"),
        ("It must be the dog.", "right", "unparsable"),
        ("<think>A?</think>The answer is (C)", "wrong", "wrong"),
        ("A cat", "wrong", "unparsable"),
        ("Neither the dog nor a cat", "unparsable", "unparsable"),  # two choices are named
        ("I do not know.", "abstained", "unparsable"),
    ],
)
def test_what_an_answer_chooses(answer: str, lenient: str, strict: str) -> None:
    found = score_choice(answer, ITEM)
    assert (found["lenient"].outcome, found["strict"].outcome) == (lenient, strict)


def choice_set(name: str) -> ChoiceBenchmark:
    benchmark = BENCHMARKS[name]
    assert isinstance(benchmark, ChoiceBenchmark)
    return benchmark


def test_examples_are_of_the_same_subject_and_stand_as_turns(
    tmp_path: Path, chat_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mmlu").mkdir()
    files = [tmp_path / "mmlu" / f"{subject}_test.csv" for subject in ("anatomy", "virology")]
    for file in files:
        subject = file.name.partition("_")[0]
        file.write_text("".join(f"{subject} {n}?,w{n},x{n},y{n},z{n},{'ABCD'[n % 4]}\n" for n in range(4)))
    seen: list[str] = []

    def write(checkpoint: Any, prompts: Any, settings: Any, samples: int, chat: bool, *rest: Any) -> Any:
        seen.extend(prompt.text for prompt in prompts)
        return [[SampledAnswer("B", 1, -1.0, "stop")] for _ in prompts]

    monkeypatch.setattr(module, "sample_answers", write)
    found = run_prompts(chat_model, by_answer(choice_set("mmlu")), files, [], AskSettings(shots=2), ResultCache())
    assert (found.name, found.format) == ("mmlu_answer", "chat, 2 examples, at most 64 tokens")
    assert found.rates["lenient"].rate == found.figures["macro"] == 0.25
    assert found.items[0].gold == "A. w0"
    for text in seen:
        assert ("anatomy" in text) != ("virology" in text)
        assert "A. w" in text and "Answer with the letter of the right choice." in text


def test_texts_without_choices_are_refused(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    row = {"context": "The cat sat on the", "continuation": " mat"}
    folder = write_rows("lambada_openai.jsonl", [row])
    (benchmark, files), *others = find_benchmarks(["lambada"], folder, answered=True).values()
    assert not others and not isinstance(benchmark, ChoiceBenchmark) and benchmark.read_files is not None
    with pytest.raises(ValueError, match="lambada has texts to continue and no choices to name"):
        benchmark.read_files(files)
    (folder / "gsm8k.jsonl").write_text(json.dumps({"question": "1 + 1?", "answer": "2"}))
    assert [*find_benchmarks(["gsm8k"], folder, answered=True)] == ["gsm8k"]
