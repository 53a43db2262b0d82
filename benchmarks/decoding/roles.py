"""Who decodes in `decode.py --model`: our engine in its forms, transformers, llama.cpp, and an older checkout."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import THREADS, Measurement
from decoding.workloads import Workload, make_workload
from peers.llama_cpp_parity import llama_cpp_greedy

from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import load_model
from tutelage.model.transformer import Transformer

GUESSES = 8  # tokens a step, with speculation
STOP_EVERY = 24  # of the ids, for answers of natural, long-tailed lengths

Decode = Callable[[Workload], tuple[list[list[int]], dict[str, Any]]]


def measure(quick: bool, load: Callable[[], Decode], folder: Path, name: str) -> Measurement:
    """Tokens per second of one workload, after a short warm-up."""
    workload, decode = make_workload(name, folder, quick), load()
    count = min(2, len(workload.prompts))
    decode(Workload(workload.prompts[:count], [6] * count, workload.rows))
    start = time.perf_counter()
    generated, more = decode(workload)
    seconds = more.pop("seconds", time.perf_counter() - start)
    hashes = [hashlib.sha256(repr(tokens).encode()).hexdigest() for tokens in generated]
    return {"value": sum(workload.counts) / seconds, "hashes": hashes, **more}


def ours(folder: Path, dtype: torch.dtype, int8: bool = False, speculate: int = 0) -> Decode:
    """All requests in one engine, in order of arrival. The engine is made once, as a server makes it: its copy of the
    weights belongs to loading, whose time nobody counts."""
    model, engines = load_model(folder, dtype=dtype).model, dict[int, Engine]()

    def decode(workload: Workload) -> tuple[list[list[int]], dict[str, Any]]:
        settings = EngineSettings(max_rows=workload.rows, prefix_cache="none", int8=int8, speculate=speculate)
        if workload.rows not in engines:
            engines[workload.rows] = Engine(model, settings)
        return decode_ours(engines[workload.rows], workload)

    return decode


def decode_ours(engine: Engine, workload: Workload) -> tuple[list[list[int]], dict[str, Any]]:
    """`fill`: tokens that a step wrote for each row that there is; `accepted`: guesses that were right."""
    requests = [
        engine.add(prompt, frozenset(), SamplingSettings(max_tokens=count))
        for prompt, count in zip(workload.prompts, workload.counts, strict=True)
    ]
    steps = 0
    while any(request.state != "finished" for request in requests):
        engine.step()
        steps += 1
    more: dict[str, Any] = {"fill": round(sum(workload.counts) / (steps * workload.rows), 3)}
    if engine.speculation is not None:
        more["accepted"] = round(engine.speculation.accepted / max(1, engine.speculation.drafted), 3)
    return [request.generation.tokens for request in requests], more


def transformers(folder: Path, dtype: torch.dtype) -> Decode:
    """`generate`, in batches in order of arrival, each up to its longest answer."""
    from transformers import AutoModelForCausalLM

    return partial(decode_theirs, AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval())


def decode_theirs(model: Any, workload: Workload) -> tuple[list[list[int]], dict[str, Any]]:
    """Prompts are padded on the left, with a mask."""
    results: list[list[int]] = []
    for first in range(0, len(workload.prompts), workload.rows):
        places = slice(first, first + workload.rows)
        batch, wanted = workload.prompts[places], workload.counts[places]
        longest = max(map(len, batch))
        ids = torch.zeros(len(batch), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(batch):
            ids[row, longest - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            mask[row, longest - len(prompt) :] = 1
        generated = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=max(wanted), min_new_tokens=max(wanted),
            do_sample=False, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        results += [row[:count] for row, count in zip(generated[:, longest:].tolist(), wanted, strict=True)]
    return results, {}


def llama_cpp(gguf: Path) -> Decode:
    """llama.cpp, all sequences of a step in one batch; its time is without loading."""

    def decode(workload: Workload) -> tuple[list[list[int]], dict[str, Any]]:
        python, prompts = os.environ["TUTELAGE_LLAMA_CPP"], [prompt.tolist() for prompt in workload.prompts]
        answer: Any = llama_cpp_greedy(python, gguf, prompts, workload.counts, workload.rows, THREADS)
        return answer["tokens"], {"seconds": answer["seconds"]}

    return decode


def measure_checkout(quick: bool, checkout: Path, folder: Path, dtype: str) -> Measurement:
    """Tokens per second of `generate` of a checkout of Tutelage, this one or an older one: 256 sampled answers, at most
    16 at once, each ending at one of many stop tokens. Tokens are counted without the stop token."""
    workload = make_workload("256, 16 at once", folder, quick)
    question = {
        "folder": str(folder),
        "dtype": dtype,
        "prompts": [prompt.tolist() for prompt in workload.prompts],
        "max_tokens": 96 if quick else 384,
        "stop_every": STOP_EVERY,
        "threads": THREADS,
    }
    script = Path(__file__).parents[1] / "peers" / "checkout_decode.py"
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{checkout} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def bandwidth(threads: int = THREADS) -> float:
    """Bytes per second that this machine reads from memory: the best of five sums over 256 MiB."""
    torch.set_num_threads(threads)
    numbers, best = torch.ones(2**26), 0.0
    for _ in range(5):
        start = time.perf_counter()
        numbers.sum()
        best = max(best, 4 * len(numbers) / (time.perf_counter() - start))
    return best


def weight_bytes(model: Transformer, bits: int) -> int:
    """What one step reads of the matrices of the blocks and the output, with so many bits a weight."""
    matrices = [parameter for name, parameter in model.blocks.named_parameters() if parameter.ndim == 2]
    return sum(matrix.numel() for matrix in [*matrices, model.head_weight]) * bits // 8


def equal_answers(measurements: Sequence[Measurement]) -> str:
    """How many requests two roles answered with the same tokens."""
    first, second = (measurement["hashes"] for measurement in measurements)
    return f"{sum(one == other for one, other in zip(first, second, strict=True))} of {len(first)}"
