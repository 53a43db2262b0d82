"""Greedy decoding by llama.cpp, run in an environment that has llama-cpp-python: its requirements conflict with ours.

Standard input is one JSON object: `path` of a GGUF file, `prompts` (token ids), `counts` (tokens to write for each),
`sequences` (most at once) and `threads`. Sequences share one batch; a finished one makes room for the next prompt.
Prints one JSON object: `tokens` of each prompt, and `seconds` without loading.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import llama_cpp as lib
import numpy as np


def main() -> None:
    """Answer the question on standard input."""
    question = json.loads(sys.stdin.read())
    prompts, counts, sequences = question["prompts"], question["counts"], question["sequences"]
    model = lib.llama_model_load_from_file(question["path"].encode(), lib.llama_model_default_params())
    room = max(len(prompt) + count for prompt, count in zip(prompts, counts, strict=True))
    params = lib.llama_context_default_params()
    params.n_ctx = sequences * -(-room // 256) * 256  # each sequence has an equal share
    params.n_batch = params.n_ubatch = 2048
    params.n_seq_max = sequences
    params.n_threads = params.n_threads_batch = question["threads"]
    context = lib.llama_init_from_model(model, params)
    warm_up(context)
    start = time.perf_counter()
    tokens = decode(context, lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model)), prompts, counts, sequences)
    print(json.dumps({"tokens": tokens, "seconds": time.perf_counter() - start}))


def decode(context: Any, vocab: int, prompts: list[list[int]], counts: list[int], sequences: int) -> list[list[int]]:
    """Greedy tokens of all prompts, at most `sequences` at once."""
    memory, batch = lib.llama_get_memory(context), lib.llama_batch_init(2048, 0, 1)
    waiting, running = list(range(len(prompts))), {}  # sequence number -> prompt number
    tokens: list[list[int]] = [[] for _ in prompts]
    while waiting or running:
        batch.n_tokens, ends = 0, {}
        for sequence, prompt in running.items():
            add(batch, tokens[prompt][-1:], len(prompts[prompt]) + len(tokens[prompt]) - 1, sequence)
            ends[sequence] = batch.n_tokens - 1
        for sequence in range(sequences):
            if sequence not in running and waiting and batch.n_tokens + len(prompts[waiting[0]]) <= 2048:
                running[sequence] = waiting.pop(0)
                add(batch, prompts[running[sequence]], 0, sequence)
                ends[sequence] = batch.n_tokens - 1
        if lib.llama_decode(context, batch):
            sys.exit("llama_decode failed")
        for sequence, end in ends.items():
            logits_V = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, end), shape=(vocab,))
            prompt = running[sequence]
            tokens[prompt].append(int(logits_V.argmax()))
            if len(tokens[prompt]) == counts[prompt]:
                lib.llama_memory_seq_rm(memory, sequence, -1, -1)
                del running[sequence]
    lib.llama_batch_free(batch)
    return tokens


def add(batch: Any, tokens: list[int], position: int, sequence: int) -> None:
    """Put tokens of a sequence at the end of a batch; logits are wanted after the last one."""
    for offset, token in enumerate(tokens):
        place = batch.n_tokens
        batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, position + offset, 1
        batch.seq_id[place][0] = sequence
        batch.logits[place] = offset == len(tokens) - 1
        batch.n_tokens += 1


def warm_up(context: Any) -> None:
    """Read one token, so that loading is not measured."""
    batch = lib.llama_batch_init(1, 0, 1)
    batch.n_tokens = 0
    add(batch, [1], 0, 0)
    lib.llama_decode(context, batch)
    lib.llama_batch_free(batch)
    lib.llama_memory_clear(lib.llama_get_memory(context), True)


if __name__ == "__main__":
    main()
