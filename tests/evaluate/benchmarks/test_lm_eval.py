"""Per-item log-probabilities are those of lm-evaluation-harness. It has an environment of its own, whose Python
TUTELAGE_LM_EVAL names; the model is a tiny random Llama, or that of TUTELAGE_SERVE_MODEL."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer

from tutelage.evaluate.benchmarks import BENCHMARKS
from tutelage.evaluate.benchmarks.benchmark import ChoiceBenchmark
from tutelage.evaluate.benchmarks.math_sets import MATH_SETS
from tutelage.evaluate.benchmarks.measured import AskSettings, Measured
from tutelage.evaluate.benchmarks.run_choices import read_choice_set, run_choices
from tutelage.evaluate.benchmarks.run_prompts import read_prompt_set, run_prompts
from tutelage.evaluate.result_cache import ResultCache
from tutelage.model.hub import Checkpoint, load_model

PEER = Path(__file__).parents[3] / "benchmarks" / "peers" / "lm_eval_tasks.py"
ITEMS = 24
TEXTS = ["Question: Where was Nora born?\nAnswer: in Berlin. 0123456789", "A. B. C. D. The answer is 7."] * 8
FILES = {
    "arc_easy": "llmfoundry_eval/world_knowledge/arc_easy.jsonl",
    "arc_challenge": "llmfoundry_eval/world_knowledge/arc_challenge.jsonl",
    "piqa": "llmfoundry_eval/commonsense_reasoning/piqa.jsonl",
    "obqa": "llmfoundry_eval/commonsense_reasoning/openbook_qa.jsonl",
    "winogrande": "llmfoundry_eval/language_understanding/winogrande.jsonl",
    "lambada": "llmfoundry_eval/language_understanding/lambada_openai_small.jsonl",
    "mmlu": "mmlu/mmlu_dev.tar.gz",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "TUTELAGE_SERVE_MODEL" in os.environ:
        return Path(os.environ["TUTELAGE_SERVE_MODEL"])
    from transformers import LlamaConfig, LlamaForCausalLM

    path = tmp_path_factory.mktemp("lm-eval") / "llama"
    tokenizer = ByteLevelBPETokenizer()  # as that of GPT-2: nothing stands before a text
    tokenizer.train_from_iterator(TEXTS, 300, special_tokens=["<|end|>"])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, initializer_range=0.3, max_position_embeddings=16384, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>"}
    (path / "tokenizer_config.json").write_text(json.dumps(named))
    return path


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    return load_model(folder, "cpu")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif("TUTELAGE_LM_EVAL" not in os.environ, reason="TUTELAGE_LM_EVAL names no Python with lm-eval")
@pytest.mark.parametrize("name", FILES)
def test_every_item_is_scored_as_by_the_harness(
    name: str, data: Callable[[str], Path], folder: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """Prompts, log-probabilities to 1e-3 and verdicts. The prompts of MMLU are ours on both sides, with 3 examples."""
    benchmark = BENCHMARKS[name]
    assert isinstance(benchmark, ChoiceBenchmark)
    files = [data(FILES[name])]
    ours: Measured = run_choices(checkpoint, benchmark, files, [], AskSettings(limit=ITEMS), ResultCache())
    by_id = {item.id: item for item in read_choice_set(benchmark, files)}
    sys.path.insert(0, str(PEER.parent))
    from lm_eval_tasks import job

    made = job(name, [by_id[item.id] for item in ours.items], [item.prompt for item in ours.items])
    (tmp_path / "jobs.json").write_text(json.dumps([made]))
    theirs = harness(folder, tmp_path)
    assert len(theirs) == len(ours.items) > 7
    for item, line in zip(ours.items, theirs, strict=True):
        if name != "winogrande":
            assert {context for context, _ in line["asked"]} == {item.prompt}
        else:
            assert "\n".join(context for context, _ in line["asked"]) == item.prompt
        assert item.logprobs == pytest.approx(line["logprobs"], abs=1e-3)
        assert item.passed["acc"] == line["acc"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif("TUTELAGE_LM_EVAL" not in os.environ, reason="TUTELAGE_LM_EVAL names no Python with lm-eval")
def test_answers_to_gsm8k_are_those_of_the_harness(
    data: Callable[[str], Path], folder: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """As plain text without examples: the prompts, and every answer up to its stop. Its flexible reading takes the last
    number of an answer, and so does ours where none is marked."""
    items = read_prompt_set(MATH_SETS["gsm8k"], [data("gsm8k/train.jsonl.gz")])
    asked = AskSettings(limit=8, shots=0, max_tokens=24, chat=False)
    benchmark = replace(MATH_SETS["gsm8k"], stops=("Question:",))
    ours = run_prompts(checkpoint, benchmark, [data("gsm8k/train.jsonl.gz")], [], asked, ResultCache())
    questions = {item.id: item.question for item in items}
    sys.path.insert(0, str(PEER.parent))
    from lm_eval_tasks import gsm8k_job

    rows = [{"question": questions[item.id], "gold": item.gold} for item in ours.items]
    (tmp_path / "jobs.json").write_text(json.dumps([gsm8k_job(rows, 24)]))
    theirs = harness(folder, tmp_path)
    assert len(theirs) == len(ours.items) == 8
    for item, line in zip(ours.items, theirs, strict=True):
        assert line["asked"][0][0] == item.prompt
        assert line["answer"] == item.output
        if not re.search("answer is|####|boxed", item.output):
            assert item.passed["lenient"] == line["acc"]


def harness(folder: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """The lines of the items."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    command = [os.environ["TUTELAGE_LM_EVAL"], str(PEER), str(folder), str(tmp_path / "jobs.json"), "4"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline}, timeout=800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")][:-1]
