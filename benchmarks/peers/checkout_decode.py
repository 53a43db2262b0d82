"""Decoding by whatever checkout of Tutelage PYTHONPATH names: also an older one, whose engine is a static batch.

Standard input is one JSON object: `folder` and `dtype` of a model, `prompts`, `max_tokens`, `stop_every` (ids that are
multiples of it end an answer) and `threads`. Prints one JSON object: `value`, tokens per second without stop tokens,
and `tokens`, how many.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

question = json.loads(sys.stdin.read())
torch.set_num_threads(question["threads"])
try:
    generate = import_module("tutelage.engine.engine").generate
except ModuleNotFoundError:
    generate = import_module("tutelage.engine.decode").generate
sampling = import_module("tutelage.engine.sampling").SamplingSettings(
    temperature=1.0, max_tokens=question["max_tokens"]
)
load_model = import_module("tutelage.model.hub").load_model
checkpoint = load_model(Path(question["folder"]), dtype=getattr(torch, question["dtype"]))
stop_ids = frozenset(range(0, checkpoint.model.config.vocab, question["stop_every"]))
prompts = [np.array(prompt, dtype=np.int32) for prompt in question["prompts"]]
generate(checkpoint.model, prompts[:2], stop_ids, sampling, batch=16)
start = time.perf_counter()
answers = generate(checkpoint.model, prompts, stop_ids, sampling, batch=16)
seconds = time.perf_counter() - start
tokens = sum(len(getattr(answer, "content", answer.tokens)) for answer in answers)
print(json.dumps({"value": tokens / seconds, "tokens": tokens}))
