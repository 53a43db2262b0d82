"""Evaluation harnesses as clients, unchanged. Each has an environment of its own, since their packages conflict with
others: name its Python in TUTELAGE_LM_EVAL or TUTELAGE_INSPECT, or these tests are skipped."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, serving, tiny_checkpoint

from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import load_model, save_model
from tutelage.serve.prompt_logprobs import prompt_logprobs
from tutelage.tokenizer import END_OF_TEXT

PAIRS = [
    ("Where was Nora born?", " Good day"),
    ("Good day, you are", " well."),
    ("a", "Nora was born"),
    ("The sum of 1 and 2 is", " 3"),
    ("Question: who are you?\nAnswer:", " Bo, age 3"),
]
# Scores the pairs through the harness's own client of completions; prints (ids, length of the context, score) a line.
LM_EVAL = """
import json, sys
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

url, folder, pairs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
harness = LocalCompletionsAPI(
    model="tiny", base_url=url + "/v1/completions", tokenizer=folder, tokenizer_backend="huggingface", num_concurrent=2,
    tokenized_requests=True, max_length=500, batch_size=2,
)
requests = [Instance("loglikelihood", {}, tuple(pair), number) for number, pair in enumerate(pairs)]
results = harness.loglikelihood(requests, disable_tqdm=True)
for (context, continuation), (score, greedy) in zip(pairs, results):
    ids = harness._encode_pair(context, continuation)
    print(json.dumps({"context": ids[0], "continuation": ids[1], "score": score, "greedy": bool(greedy)}))
(context, continuation), *_ = pairs
(rolled,) = harness.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (context,), 0)], disable_tqdm=True)
ids = [harness.prefix_token_id, *harness.tok_encode(context)]
print(json.dumps({"context": ids[:1], "continuation": ids[1:], "score": rolled, "greedy": None}))
until = {"until": ["@@"], "max_gen_toks": 6, "temperature": 0}
(text,) = harness.generate_until([Instance("generate_until", {}, (context, until), 0)], disable_tqdm=True)
print(json.dumps({"written": text, "prompt": ids[1:]}))
"""
INSPECT = """
import json, sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message

model = get_model("openai-api/local/tiny", base_url=sys.argv[1] + "/v1", api_key="none")
samples = [Sample(input="Good day", target="x"), Sample(input="Where was Nora born?", target="y")]
task = Task(dataset=samples, solver=[system_message("Be short."), generate()], scorer=includes())
config = {"max_tokens": 12, "seed": 1, "temperature": 0.5}
(log,) = eval(task, model=model, display="none", log_dir=sys.argv[2], epochs=2, **config)
usage = [value.model_dump() for value in log.stats.model_usage.values()]
print(json.dumps({"status": log.status, "error": str(log.error), "samples": len(log.samples or []), "usage": usage}))
"""


def run(variable: str, code: str, *arguments: str) -> list[Any]:
    """The JSON lines that a script prints in the harness's environment."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"}
    command = [os.environ[variable], "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def needs(variable: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(variable not in os.environ, reason=f"{variable} names no Python with the harness")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model: TUTELAGE_SERVE_MODEL, or a tiny random one."""
    if "TUTELAGE_SERVE_MODEL" in os.environ:
        return Path(os.environ["TUTELAGE_SERVE_MODEL"])
    path = tmp_path_factory.mktemp("harness") / "tiny"
    save_model(path, tiny_checkpoint())
    eos = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT}  # what lm-eval begins a text with
    (path / "tokenizer_config.json").write_text(json.dumps(eos))
    return path


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving({"tiny": load_model(folder)}) as one:
        yield one


@pytest.mark.slow
@needs("TUTELAGE_LM_EVAL")
def test_lm_eval_scores_every_item_as_the_engine_does(served: Served, folder: Path) -> None:
    *lines, last = run("TUTELAGE_LM_EVAL", LM_EVAL, served.url, str(folder), json.dumps(PAIRS))
    assert len(lines) == len(PAIRS) + 1
    checkpoint = served.model.checkpoint
    for line in lines:
        ids = line["context"] + line["continuation"]
        scored = prompt_logprobs(checkpoint.model, ids, 1)[len(line["context"]) :]
        assert line["score"] == pytest.approx(sum(value or 0 for value, _ in scored), abs=1e-4)
        greedy = all(token == top[0][0] for token, (_, top) in zip(line["continuation"], scored, strict=True))
        assert line["greedy"] in (greedy, None)
    (answer,) = generate(checkpoint.model, [last["prompt"]], served.model.stop_ids, SamplingSettings(max_tokens=6))
    assert last["written"] == checkpoint.tokenizer.decode(answer.content)
    served.settle()


@pytest.mark.slow
@needs("TUTELAGE_INSPECT")
def test_an_inspect_task_runs_unchanged(served: Served, tmp_path: Path) -> None:
    (line,) = run("TUTELAGE_INSPECT", INSPECT, served.url, str(tmp_path))
    assert line["status"] == "success", line["error"]
    assert line["samples"] == 4
    assert line["usage"][0]["output_tokens"] > 0
    served.settle()
