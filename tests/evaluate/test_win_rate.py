from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tutelage.evaluate.win_rate import aligned, controlled_win_rate, length_controlled

Data = Callable[[str], Path]
MODELS = (
    "NullModel",
    "FuseChat-Llama-3.1-8B-Instruct",
    "gpt-3.5-turbo-1106_concise",
    "vicuna-13b-v1.5",
    "vicuna-7b-v1.5",
    "alpaca-7b",
)


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return [*csv.DictReader(file)]


def shares(rows: list[dict[str, str]], field: str = "preference") -> np.ndarray:
    """Preferences from 1 (the baseline wins) to 2; 0 is a tie."""
    values = np.array([float(row[field]) for row in rows])
    return np.where(values == 0, 0.5, values - 1)


def difficulty(data: Data) -> np.ndarray:
    """The difficulty of each instruction, from the fitted preferences of one model."""
    weights = weights_of(data)["vicuna-7b-v1.5"]
    fitted = np.array([float(row["glm_preference"]) for row in table(data("alpaca_eval_lc/vicuna-7b-v1.5.csv"))])
    return (np.log(fitted / (1 - fitted)) - weights[1]) / weights[0]


def weights_of(data: Data) -> dict[str, tuple[float, float]]:
    """Of each model the weight of difficulty, and the intercept."""
    with data("alpaca_eval_lc/weights_baseline_gpt4_1106_preview.csv").open() as file:
        return {row[0]: (float(row[2]), float(row[3])) for row in list(csv.reader(file))[1:]}


@pytest.mark.parametrize("model", MODELS)
def test_alpaca_eval_2_is_the_published_one(data: Data, model: str) -> None:
    published = {row[""]: row for row in table(data("alpaca_eval_lc/leaderboard_rows.csv"))}[model]
    rows = table(data(f"alpaca_eval_lc/{model}.csv"))
    assert 100 * shares(rows).mean() == pytest.approx(float(published["win_rate"]), abs=1e-4)
    if model == "NullModel":
        return  # its published length-controlled rate does not come from the published weights
    weight, intercept = weights_of(data)[model]
    controlled = 100 * controlled_win_rate(intercept, weight, difficulty(data))
    assert controlled == pytest.approx(float(published["length_controlled_winrate"]), abs=0.01)


def test_pain_e25_rows_are_paired_by_prompt_and_not_by_number(data: Data) -> None:
    """text_davinci_001 lacks two rows; its published 9.02573 comes from pairing by number."""
    rows = table(data("alpaca_eval_lc/text_davinci_001.csv"))
    of_prompt = dict(zip(range(805), difficulty(data), strict=True))
    by_prompt = {int(row["index"]): row for row in rows}
    with pytest.raises(ValueError, match="text_davinci_001 lacks 2 of 805 prompts"):
        aligned(of_prompt, by_prompt, ("the baseline", "text_davinci_001"))
    kept = {index: value for index, value in of_prompt.items() if index in by_prompt}
    hard_N = np.array([value for _, value, _ in aligned(kept, by_prompt)])
    weight, intercept = weights_of(data)["text_davinci_001"]
    assert 100 * controlled_win_rate(intercept, weight, hard_N) == pytest.approx(9.00862, abs=1e-4)
    by_number_N = difficulty(data)[: len(rows)]
    assert 100 * controlled_win_rate(intercept, weight, by_number_N) == pytest.approx(9.02573, abs=1e-4)


def test_longer_answers_win_more_and_length_control_takes_it_away(data: Data) -> None:
    """The raw rates of RewardBench's best-of-16 study are exact, and grow with length; ours at equal length do not."""
    rows = table(data("rewardbench_bon/alpaca_eval_bon16.csv"))
    published = [
        27.31367, 28.67660, 30.54935, 31.25058, 30.91316, 32.56823, 33.76810, 33.00680, 34.33924, 34.44314, 35.45479,
    ]  # fmt: skip
    raw, controlled = [], []
    for number, value in enumerate(published):
        share_N = shares(rows, f"preference_{number}")
        raw.append(100 * share_N.mean())
        assert raw[-1] == pytest.approx(value, abs=1e-5)
        lengths = [np.array([int(row[name]) for row in rows]) for name in (f"length_{number}", "length_baseline")]
        fitted = length_controlled(share_N, *lengths)
        assert fitted is not None
        controlled.append(100 * fitted)
    assert raw[-1] - raw[0] > 7
    assert max(controlled) - min(controlled) < (max(raw) - min(raw)) / 2


def test_the_best_of_16_by_reward_models_is_the_published_one(data: Data) -> None:
    """RewardBench's study: the win rate of what one reward model picks, and the length of what each picks."""
    rows = table(data("rewardbench_bon/alpaca_eval_bon16.csv"))
    deberta = "reward-model-deberta-v3-large-v2"
    assert 100 * shares(rows, f"preference_of_pick_{deberta}").mean() == pytest.approx(33.38721, abs=1e-5)
    published = {
        "UltraRM-13b": 1695, "hh_rlhf_rm_open_llama_3b": 2008, "beaver-7b-v1.0-cost": 1640,
        "beaver-7b-v1.0-reward": 1915, "oasst-rm-2.1-pythia-1.4b-epoch-2.5": 1520, deberta: 1429,
    }  # fmt: skip
    for name, length in published.items():
        picks = [int(row[f"pick_{name}"]) for row in rows]
        lengths = [int(row[f"length_{pick}"]) for row, pick in zip(rows, picks, strict=True)]
        assert int(np.mean(lengths)) == length
        known = [row for row, pick in zip(rows, picks, strict=True) if name == deberta and pick <= 10]
        for row in known:  # both files have one preference for an answer
            pick, of_pick = row[f"preference_{row[f'pick_{name}']}"], row[f"preference_of_pick_{name}"]
            assert float(pick) == pytest.approx(float(of_pick), abs=1e-6)


def test_pain_e24_the_judge_of_alpaca_eval_prefers_the_longer_answer(data: Data) -> None:
    folder = data("alpaca_eval_pairs/split_give_no_selfinstruct.jsonl.gz")
    rows = [json.loads(line) for line in gzip.decompress(folder.read_bytes()).splitlines()]
    lengths = [(len(row["output_1"]), len(row["output_2"]), row["preference"]) for row in rows]
    longer = [(preferred == 2) == (second > first) for first, second, preferred in lengths if first != second]
    assert len(longer) == 9872
    assert 100 * np.mean(longer) == pytest.approx(80.06, abs=0.005)


def test_length_control_finds_what_was_put_in() -> None:
    rng = np.random.default_rng(0)
    length_N, baseline_N = rng.normal(500, 100, 20_000), rng.normal(400, 100, 20_000)
    difference_N = length_N - baseline_N
    chance_N = 1 / (1 + np.exp(-(0.4 + 2 * np.tanh(difference_N / difference_N.std()))))
    share_N = (rng.random(20_000) < chance_N).astype(float)
    assert length_controlled(share_N, length_N, baseline_N) == pytest.approx(1 / (1 + np.exp(-0.4)), abs=0.015)


def test_where_length_explains_all_nothing_is_made_up() -> None:
    baseline_N = np.full(4, 100)
    assert length_controlled(np.array([1.0, 1, 0, 0]), np.array([200, 300, 50, 20]), baseline_N) is None
    assert length_controlled(np.ones(4), np.array([200, 50, 300, 20]), baseline_N) is None
    assert length_controlled(np.array([1.0, 0, 0, 0]), baseline_N, baseline_N) is None
    tied = length_controlled(np.array([1.0, 0.5, 0, 0.5]), np.array([200, 300, 50, 20]), baseline_N)
    assert tied is not None and 0 < tied < 1
