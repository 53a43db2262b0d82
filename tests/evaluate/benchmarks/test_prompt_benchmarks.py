from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate import repeated_samples, sampled_answers
from tutelage.evaluate.benchmarks import run_prompts as module
from tutelage.evaluate.benchmarks.benchmark import ItemScore, PromptBenchmark, PromptItem
from tutelage.evaluate.benchmarks.ifeval import IFEVAL
from tutelage.evaluate.benchmarks.math_sets import MATH_SETS
from tutelage.evaluate.benchmarks.measured import AskSettings, Measured
from tutelage.evaluate.benchmarks.run_prompts import conversation, examples_of, plain_text, read_prompt_set, run_prompts
from tutelage.evaluate.item_results import ItemResult, Sample
from tutelage.evaluate.repeated_samples import k_figures, majority_right, right_by_length, share_rate
from tutelage.evaluate.result_cache import ResultCache
from tutelage.evaluate.sampled_answers import SampledAnswer, plain_prompts, sample_answers
from tutelage.evaluate.thinking_budget import ThinkBudget
from tutelage.model.hub import Checkpoint

WriteRows = Callable[[str, Any], Path]
GSM8K = MATH_SETS["gsm8k"]
ROWS = [
    {"question": f"How much is {n} + {n}?", "answer": f"{n} + {n} = <<{n}+{n}={2 * n}>>{2 * n}.\n#### {2 * n}"}
    for n in range(1, 13)
]
# What a model writes, by a text that its prompt holds, and why it ended.
ANSWERS = {
    "1 + 1?": ("The answer is 2.", "stop"),
    "2 + 2?": ("That makes 4 apples", "stop"),  # read leniently
    "3 + 3?": ("The answer is 7.", "stop"),
    "4 + 4?": ("Let me see", "stop"),
    "5 + 5?": ("<think>5 + 5 is", "length"),
    "6 + 6?": ("I'm sorry, but I can't help with that.", "stop"),
    "7 + 7?": ("I do not know.", "stop"),
    "8 + 8?": ("The answer is 16.", "length"),  # right before the limit
}


def scripted(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, tuple[str, str]]) -> list[str]:
    """Lets the model write these answers; returns the prompts that it gets."""
    seen: list[str] = []

    def write(checkpoint: Any, prompts: Any, settings: Any, samples: int, *rest: Any) -> list[list[SampledAnswer]]:
        seen.extend(prompt.text for prompt in prompts)
        found = [next(a for name, a in answers.items() if name in prompt.text) for prompt in prompts]
        return [[SampledAnswer(text, 5, -1.0, reason)] * samples for text, reason in found]

    monkeypatch.setattr(module, "sample_answers", write)
    return seen


def run(model: Checkpoint, benchmark: PromptBenchmark, files: list[Path], **settings: Any) -> Measured:
    return run_prompts(model, benchmark, files, [], AskSettings(**settings), ResultCache())


def test_outcomes_stand_apart_from_wrong(
    write_rows: WriteRows, chat_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pains E12, E13, E20: cut off, unparsable, refused and abstained are not wrong; both readings are shown."""
    scripted(monkeypatch, ANSWERS)
    files = [write_rows("gsm8k/test.jsonl", ROWS[:8]) / "gsm8k/test.jsonl"]
    found = run(chat_model, GSM8K, files, shots=0)
    assert [item.outcome for item in found.items] == [
        "right", "right", "wrong", "unparsable", "cut off", "refused", "abstained", "right",
    ]  # fmt: skip
    assert found.headline == "lenient"
    rates = {name: rate.rate for name, rate in found.rates.items()}
    assert rates == {
        "lenient": 3 / 8, "strict": 2 / 8, "wrong": 1 / 8, "unparsable": 1 / 8, "refused": 1 / 8, "abstained": 1 / 8,
        "cut_off": 1 / 8,
    }  # fmt: skip
    assert found.items[0].samples[0].extracted == "2" and found.items[0].gold == "2"
    assert found.format == "chat, 0 examples, at most 512 tokens"


def test_pain_e20_a_thought_that_never_ends_is_cut_off(write_rows: WriteRows, chat_model: Checkpoint) -> None:
    files = [write_rows("gsm8k/test.jsonl", ROWS[:2]) / "gsm8k/test.jsonl"]
    found = run(chat_model, GSM8K, files, shots=0, max_tokens=4)
    assert [item.outcome for item in found.items] == ["cut off", "cut off"]
    assert found.rates["cut_off"].rate == 1 and found.rates["lenient"].rate == 0


def test_pain_e8_shots_are_turns_and_no_user_turn_holds_an_answer(write_rows: WriteRows) -> None:
    items = read_prompt_set(GSM8K, [write_rows("gsm8k/test.jsonl", ROWS) / "gsm8k/test.jsonl"])
    chat = conversation(GSM8K, items[0], examples_of(items[0], items, 5, 0))
    roles = [message.role for message in chat.messages]
    assert roles == ["user", "assistant"] * 5 + ["user"]
    users = " ".join(message.text for message in chat.messages if message.role == "user")
    assert "####" not in users and "= 2" not in users
    assert chat.messages[1].text.rpartition("\n")[2].startswith("The answer is ")
    plain = plain_text(GSM8K, items[0], examples_of(items[0], items, 1, 0))
    assert plain.endswith("\n\nQuestion: How much is 1 + 1?\nAnswer:") and plain.count("Question:") == 2


def test_pain_e14_no_item_is_its_own_example(write_rows: WriteRows) -> None:
    """lm-evaluation-harness #4145: the pool was the test split; two of three prompts held their own gold."""
    rows = [*ROWS[:3], {**ROWS[0], "id": "twin"}]
    items = read_prompt_set(GSM8K, [write_rows("gsm8k/test.jsonl", rows) / "gsm8k/test.jsonl"])
    for item in items:
        assert item.question not in [question for question, _ in examples_of(item, items, 2, 0)]
    with pytest.raises(ValueError, match="3 examples are asked for, but there are 2 other questions with a solution"):
        examples_of(items[0], items, 3, 0)


def test_pain_e9_a_prompt_that_does_not_fit_is_too_long(write_rows: WriteRows, chat_model: Checkpoint) -> None:
    rows = [ROWS[0], {"question": "How much? " * 2000, "answer": "1"}]
    files = [write_rows("gsm8k/test.jsonl", rows) / "gsm8k/test.jsonl"]
    found = run(chat_model, GSM8K, files, shots=0, max_tokens=2)
    assert [item.outcome for item in found.items] == ["cut off", "too long"]
    assert found.rates["lenient"].count == 1 and found.figures["too_long"] == 1


def test_pain_e11_samples_resume_and_do_not_depend_on_what_else_is_asked(
    tmp_path: Path, base_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row stops by itself, and a killed run goes on."""
    prompts = plain_prompts(base_model, ["The answer", "Nora was born in", "0123"])
    settings = SamplingSettings(temperature=1.0, max_tokens=12, seed=3)

    def ask(these: Any, cache: ResultCache, samples: int = 3) -> list[list[SampledAnswer]]:
        return sample_answers(base_model, these, settings, samples, False, ("B",), cache, "test")

    with ResultCache(tmp_path / "cache.jsonl") as cache:
        together = ask(prompts, cache)
    (alone,) = ask(prompts[1:2], ResultCache())
    assert [(one.text, one.tokens) for one in alone] == [(one.text, one.tokens) for one in together[1]]
    assert len({answer.text for answer in together[0]}) > 1
    assert all("B" not in answer.text for own in together for answer in own)
    monkeypatch.setattr(sampled_answers, "_generate", lambda *arguments: pytest.fail("generated again"))
    with ResultCache(tmp_path / "cache.jsonl") as cache:
        assert ask(prompts[:2], cache, 2) == [own[:2] for own in together[:2]]


def result(*passed: bool, extracted: str = "") -> ItemResult:
    names = extracted or "".join("r" if right else "w" for right in passed)
    samples = [
        Sample(name, "right" if right else "wrong", {"lenient": right}, name)
        for right, name in zip(passed, names, strict=True)
    ]
    return ItemResult("1", "", "", samples[0].outcome, passed={"lenient": sum(passed) / len(passed)}, samples=samples)


def test_pass_at_k_and_the_majority() -> None:
    results = [result(True, False, False, False), result(True, True, True, True)]
    figures = k_figures(results, "lenient", majority=True)
    assert figures["pass_at"]["1"]["mean"] == pytest.approx((1 / 4 + 1) / 2)
    assert figures["pass_at"]["2"]["mean"] == pytest.approx((1 / 2 + 1) / 2)
    assert figures["pass_at"]["4"]["mean"] == 1
    assert figures["pass_all"]["4"]["mean"] == pytest.approx(1 / 2)
    assert figures["majority"]["4"]["mean"] == pytest.approx(1 / 2)
    assert "majority" not in k_figures(results, "lenient", majority=False)
    assert share_rate([0.25, 1.0]).rate == pytest.approx(0.625)
    assert share_rate([1.0, 0.0]).low == pytest.approx(0.0945, abs=1e-3)  # Wilson's


def test_right_answers_by_their_length() -> None:
    lengths = [(40, True), (10, False), (30, True), (20, False)]
    samples = [Sample("", "right", {"lenient": right}, tokens=tokens) for tokens, right in lengths]
    curve = right_by_length([ItemResult("1", "", "", "right", samples=samples)], "lenient")
    assert [part["tokens"] for part in curve] == [[10, 10], [20, 20], [30, 30], [40, 40]]
    assert [part["right"]["mean"] for part in curve] == [0, 0, 1, 1]


def test_a_tie_goes_to_the_answer_that_came_first() -> None:
    assert majority_right(result(True, False, extracted="ab"), "lenient")
    assert not majority_right(result(False, True, extracted="ab"), "lenient")
    assert majority_right(result(False, True, True, extracted="abb"), "lenient")
    silent = replace_samples(result(False, True, True, extracted="abb"))
    assert not majority_right(silent, "lenient")


def replace_samples(found: ItemResult) -> ItemResult:
    """The same without anything that was read."""
    samples = [Sample(sample.text, sample.outcome, sample.passed) for sample in found.samples]
    return ItemResult(found.id, "", "", found.outcome, passed=found.passed, samples=samples)


def test_a_curve_over_the_length_of_thinking(
    write_rows: WriteRows, chat_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripted model finds the sum once it may think for 20 tokens."""
    seen: list[ThinkBudget | None] = []

    def write(checkpoint: Any, prompts: Any, *rest: Any) -> list[list[SampledAnswer]]:
        think: ThinkBudget | None = rest[-1]
        seen.append(think)
        right = think is None or (think.at_most or 0) >= 20 or (think.at_least or 0) >= 20
        return [[SampledAnswer(f"The answer is {2 if right else 3}.", 5, -1.0, "stop")] for _ in prompts]

    monkeypatch.setattr(module, "sample_answers", write)
    files = [write_rows("gsm8k/test.jsonl", ROWS[:1]) / "gsm8k/test.jsonl"]
    found = run(chat_model, GSM8K, files, shots=0, think_tokens=(10, 20), think_at_least=(5, 30))
    budgets = [ThinkBudget(at_most=10), ThinkBudget(at_most=20), ThinkBudget(at_least=5), ThinkBudget(at_least=30)]
    assert seen == [None, *budgets]
    assert {name: value["rate"] for name, value in found.figures["by_think_tokens"].items()} == {"10": 0.0, "20": 1.0}
    assert {name: value["rate"] for name, value in found.figures["by_think_at_least"].items()} == {"5": 0.0, "30": 1.0}
    assert found.rates["lenient"].rate == 1


def test_the_best_of_k_by_a_reward_model(
    write_rows: WriteRows, chat_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 4 answers one is right, and the reward model scores it highest; the empty one never wins."""
    texts = ["The answer is 3.", "The answer is 2.", "", "It is 9."]

    def write(checkpoint: Any, prompts: Any, *rest: Any) -> list[list[SampledAnswer]]:
        return [[SampledAnswer(text, 5, -1.0, "stop") for text in texts] for _ in prompts]

    def score(scorers: Any, conversations: Any) -> np.ndarray:
        return np.array([float("2." in conversation.messages[-1].text) for conversation in conversations])

    monkeypatch.setattr(module, "sample_answers", write)
    monkeypatch.setattr(repeated_samples, "reward_scores", score)
    files = [write_rows("gsm8k/test.jsonl", ROWS[:1]) / "gsm8k/test.jsonl"]
    settings = AskSettings(shots=0, samples=4, temperature=1.0)
    found = run_prompts(chat_model, GSM8K, files, [], settings, ResultCache(), chat_model)
    assert {k: value["mean"] for k, value in found.figures["best_of"].items()} == pytest.approx(
        {"1": 1 / 4, "2": 1 / 2, "4": 1.0}
    )


def test_a_benchmark_of_few_lines(write_rows: WriteRows, base_model: Checkpoint) -> None:
    length = PromptBenchmark(
        name="length",
        title="Length",
        files=("length.jsonl",),
        read=lambda row, place: PromptItem(place, row["text"], row["count"]),
        score=lambda answer, item: {"right": ItemScore("right" if len(answer) >= item.gold else "wrong", answer)},
        template="{}",
        max_tokens=8,
        stops=(),
        ends_matter=False,
        measure=lambda items, results: {"mean": float(np.mean([len(result.output) for result in results]))},
    )
    files = [write_rows("length.jsonl", [{"text": "Nora", "count": 0}, {"text": "Bo", "count": 99}]) / "length.jsonl"]
    found = run(base_model, length, files)
    assert [item.outcome for item in found.items] == ["right", "wrong"]
    assert found.figures["mean"] > 0
    refused = replace(length, chat_only=True)
    with pytest.raises(ValueError, match="length asks in a chat, which a base model does not"):
        run(base_model, refused, files)


def test_power_sampling_draws_whole_answers(write_rows: WriteRows, base_model: Checkpoint) -> None:
    """Sharper than the model's own samples: their answers are more probable, and stop strings end them all the same."""
    files = [write_rows("gsm8k/test.jsonl", ROWS[:2]) / "gsm8k/test.jsonl"]
    cache = ResultCache()
    asked = AskSettings(shots=0, max_tokens=6, samples=12, power=4.0)
    found = run_prompts(base_model, GSM8K, files, [], asked, cache)
    assert found.format.endswith("at most 6 tokens, 12 samples by power 4, 10 moves in blocks of 192")
    kept = dict(cache.values)
    assert run_prompts(base_model, GSM8K, files, [], asked, cache).items == found.items and cache.values == kept
    plain = run_prompts(base_model, GSM8K, files, [], replace(asked, power=None, temperature=1.0), cache)
    logprobs = [
        np.mean([sample.logprob for item in measured.items for sample in item.samples]) for measured in (found, plain)
    ]
    assert logprobs[0] > logprobs[1] + 1


def test_sets_without_solutions_are_asked_without_examples(
    write_rows: WriteRows, chat_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--suite gsm8k,ifeval --shots 5` stopped at IFEval, whose prompts have no right answer to show."""
    scripted(monkeypatch, {"Say": ("hello", "stop")})
    row = {"key": 1, "prompt": "Say hello", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    found = run(chat_model, IFEVAL, [write_rows("ifeval/input.jsonl", [row]) / "ifeval/input.jsonl"], shots=5)
    assert found.format.startswith("chat, 0 examples") and found.rates["strict"].rate == 1
