"""lm-evaluation-harness on rows of ours, in an environment of its own: PYTHON lm_eval_tasks.py MODEL JOBS.json [BATCH].

JOBS.json is a list of {"name", "config", "rows"}; `job` makes one from the items of a benchmark, with the prompt as the
harness's own task file has it. Prints one JSON line for each item, with what was asked and its log-probabilities, and
one with the seconds that all of it took, without loading the model.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHOICES = {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold"}
QUESTION = {**CHOICES, "doc_to_text": "Question: {{question}}\nAnswer:"}
CONFIGS: dict[str, dict[str, Any]] = {
    "arc_easy": QUESTION,
    "arc_challenge": QUESTION,
    "piqa": QUESTION,
    "obqa": {**CHOICES, "doc_to_text": "question"},
    "winogrande": {**CHOICES, "doc_to_text": "{{gold}}", "doc_to_target": "question"},
    "lambada": {"output_type": "loglikelihood", "doc_to_text": "{{question}}", "doc_to_target": "{{' ' + choices[0]}}"},
    "mmlu": {**CHOICES, "doc_to_text": "{{prompt}}", "doc_to_choice": ["A", "B", "C", "D"]},
}
# As its gsm8k.yaml, but for the number of examples.
GSM8K: dict[str, Any] = {
    "output_type": "generate_until", "doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_target": "{{gold}}",
    "generation_kwargs": {"until": ["Question:", "</s>", "<|im_end|>"], "do_sample": False, "temperature": 0.0},
    "metric_list": [{"metric": "exact_match", "ignore_case": True, "ignore_punctuation": False,
                     "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"]}],
    "filter_list": [{"name": "flexible-extract", "filter": [
        {"function": "regex", "group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"},
        {"function": "take_first"}]}],
}  # fmt: skip


def gsm8k_job(rows: Sequence[dict[str, str]], max_tokens: int) -> dict[str, Any]:
    """The job of rows with "question" and "gold", answered in at most so many tokens."""
    generation = {**GSM8K["generation_kwargs"], "max_gen_toks": max_tokens}
    return {"name": "gsm8k_plain", "config": {**GSM8K, "generation_kwargs": generation}, "rows": list(rows)}


def job(name: str, items: Sequence[Any], prompts: Sequence[str]) -> dict[str, Any]:
    """The job of a benchmark's items (`ChoiceItem`); the prompts are of use for MMLU alone, whose examples are ours."""
    rows = [
        {
            "question": item.question.removeprefix("Question: "),
            "choices": list(item.choices),
            "gold": item.gold,
            "prompt": text,
        }
        for item, text in zip(items, prompts, strict=True)
    ]
    return {"name": name, "config": CONFIGS[name], "rows": rows}


def first_number(response: Any) -> float:
    """The log-probability of a response, which is (log-probability, whether it is the likeliest) in lists."""
    while isinstance(response, list | tuple):
        response = response[0]
    return float(response)


def main(model: str, jobs: list[dict[str, Any]], batch: int) -> None:
    """Run the jobs and print what they give."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=batch)
    with tempfile.TemporaryDirectory() as folder:
        tasks = []
        for one in jobs:
            file = Path(folder) / f"{one['name']}.jsonl"
            file.write_text("".join(json.dumps(row) + "\n" for row in one["rows"]), encoding="utf-8")
            tasks.append(
                {
                    "task": one["name"], "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(file)}},
                    "test_split": "test", "num_fewshot": 0, "metric_list": [{"metric": "acc"}], **one["config"],
                }
            )  # fmt: skip
        began = time.perf_counter()
        results = lm_eval.simple_evaluate(model=harness, tasks=tasks, log_samples=True, bootstrap_iters=0)
        seconds = time.perf_counter() - began
    for name, samples in results["samples"].items():
        for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
            arguments = sample["arguments"]
            asked = list(arguments.values()) if isinstance(arguments, dict) else arguments
            pairs = [list(pair.values()) if isinstance(pair, dict) else list(pair) for pair in asked]
            line: dict[str, Any] = {"name": name, "number": sample["doc_id"], "asked": pairs}
            if "exact_match" in sample:
                print(json.dumps({**line, "acc": float(sample["exact_match"]), "answer": sample["resps"][0][0]}))
                continue
            line["acc"] = float(sample["acc"])
            print(json.dumps({**line, "logprobs": [first_number(one) for one in sample["resps"]]}))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")), int((*sys.argv, "1")[3]))
