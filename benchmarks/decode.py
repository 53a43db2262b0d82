"""Tokens per second of greedy decoding: our engine and transformers' `generate`, with the same Llama-shaped weights.

32 prompts of 5 to 60 tokens, 100 new tokens each, no stop token, float32. transformers gets the
prompts in the form it requires: padded on the left, with a mask. The run fails if the generated tokens differ.

With `--model DIR`, a published checkpoint in the dtype `--dtype`, three workloads: one request; 16 prompts of ragged
length; 256 requests with long-tailed answer lengths, at most 16 at once, where transformers runs batches of 16 to their
longest answer. Only tokens that were asked for count. The share of requests with equal tokens is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from common import Measurement, argument_parser, measure_in_turn, print_comparison

from tutelage.engine.engine import Engine, EngineSettings, generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import load_model
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

PROMPTS, NEW_TOKENS, VOCABULARY = 32, 100, 4096
SETTINGS = ModelSettings(depth=6, width=256, heads=8, kv_heads=4, mlp_width=704, context=256)

Decode = Callable[[Sequence[np.ndarray]], list[list[int]]]


def make_model() -> Transformer:
    """The same random weights in every process, scaled up so that the two most likely tokens are never nearly equal."""
    model = initialise(Transformer(resolve(SETTINGS, VOCABULARY)), seed=0)
    with torch.no_grad():
        for parameter in model.blocks.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3)
    return model.eval()


def make_prompts() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    lengths = np.linspace(5, 60, PROMPTS).round().astype(int)
    generator.shuffle(lengths)
    return [generator.integers(0, VOCABULARY, length, dtype=np.int32) for length in lengths]


def measure(decode: Decode) -> Measurement:
    """Tokens per second of one call, after a warm-up call; and a hash of the generated tokens."""
    prompts = make_prompts()
    decode(prompts)
    start = time.perf_counter()
    generated = decode(prompts)
    seconds = time.perf_counter() - start
    assert all(len(tokens) == NEW_TOKENS for tokens in generated)
    return {
        "value": len(prompts) * NEW_TOKENS / seconds, "tokens": hashlib.sha256(repr(generated).encode()).hexdigest(),
    }  # fmt: skip


def measure_ours(_quick: bool) -> Measurement:
    """`tutelage.engine.engine.generate`."""
    model = make_model()
    greedy = SamplingSettings(max_tokens=NEW_TOKENS)

    def decode(prompts: Sequence[np.ndarray]) -> list[list[int]]:
        return [answer.tokens for answer in generate(model, prompts, frozenset(), greedy)]

    return measure(decode)


def measure_transformers(_quick: bool, cache: str) -> Measurement:
    """`LlamaForCausalLM.generate` with this `cache_implementation`."""
    llama = make_llama(make_model())

    def decode(prompts: Sequence[np.ndarray]) -> list[list[int]]:
        longest = max(map(len, prompts))
        ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            mask[row, longest - len(prompt) :] = 1
        generated = llama.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, use_cache=True,
            cache_implementation=cache, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        return generated[:, longest:].tolist()

    return measure(decode)


def make_llama(model: Transformer) -> LlamaForCausalLM:
    """transformers' Llama with our weights; only the fused projections are split."""
    from transformers import LlamaConfig, LlamaForCausalLM

    c = model.config
    config = LlamaConfig(
        vocab_size=c.vocab, hidden_size=c.width, intermediate_size=c.mlp_width, num_hidden_layers=c.depth,
        num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, max_position_embeddings=c.context,
        rms_norm_eps=c.norm_eps, rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
        tie_word_embeddings=c.tied, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    ours = model.state_dict()
    theirs = {"model.embed_tokens.weight": ours["embedding.weight"], "model.norm.weight": ours["final_norm.weight"]}
    for layer in range(c.depth):
        mine, its = f"blocks.{layer}", f"model.layers.{layer}"
        head_rows = [n * c.head_size for n in (c.heads, c.kv_heads, c.kv_heads)]
        q, k, v = ours[f"{mine}.qkv.weight"].split(head_rows)
        gate, up = ours[f"{mine}.mlp_up.weight"].chunk(2)
        theirs |= {
            f"{its}.input_layernorm.weight": ours[f"{mine}.attention_norm.weight"],
            f"{its}.self_attn.q_proj.weight": q,
            f"{its}.self_attn.k_proj.weight": k,
            f"{its}.self_attn.v_proj.weight": v,
            f"{its}.self_attn.o_proj.weight": ours[f"{mine}.attention_out.weight"],
            f"{its}.post_attention_layernorm.weight": ours[f"{mine}.mlp_norm.weight"],
            f"{its}.mlp.gate_proj.weight": gate,
            f"{its}.mlp.up_proj.weight": up,
            f"{its}.mlp.down_proj.weight": ours[f"{mine}.mlp_down.weight"],
        }
    llama = LlamaForCausalLM(config)
    left_out = llama.load_state_dict(theirs, strict=False)
    assert not left_out.unexpected_keys and left_out.missing_keys == (["lm_head.weight"] if c.tied else [])
    llama.tie_weights()
    return llama.eval()


WORKLOADS = {"1": 1, "16 ragged": 16, "256, 16 at once": 256}


def make_workload(name: str, vocab: int, quick: bool) -> tuple[list[np.ndarray], list[int]]:
    """Prompts of 10 to 100 tokens, and how many tokens each is answered with."""
    generator, count = np.random.default_rng(0), WORKLOADS[name] // (4 if quick and WORKLOADS[name] == 256 else 1)
    prompts = [generator.integers(0, vocab, generator.integers(10, 101), dtype=np.int32) for _ in range(count)]
    new_tokens = 24 if quick else 96
    if count > 16:  # long-tailed, with this mean at most
        return prompts, np.clip(generator.exponential(new_tokens / 2, count), 4, 4 * new_tokens).astype(int).tolist()
    return prompts, [new_tokens] * count


def measure_model(quick: bool, role: str, folder: Path, dtype: torch.dtype, workload: str) -> Measurement:
    """Tokens per second of one workload, after a short warm-up."""
    if role == "ours":
        decode_all = partial(decode_ours, load_model(folder, dtype=dtype).model)
    else:
        from transformers import AutoModelForCausalLM

        decode_all = partial(decode_theirs, AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval())
    prompts, counts = make_workload(workload, 10_000, quick)
    decode_all(prompts[:2], [2] * len(prompts[:2]))
    start = time.perf_counter()
    generated = decode_all(prompts, counts)
    seconds = time.perf_counter() - start
    hashes = [hashlib.sha256(repr(tokens).encode()).hexdigest() for tokens in generated]
    return {"value": sum(counts) / seconds, "hashes": hashes}


def decode_ours(model: Transformer, prompts: Sequence[np.ndarray], counts: Sequence[int]) -> list[list[int]]:
    """All requests in one engine with 16 rows, in order of arrival."""
    engine = Engine(model, EngineSettings(max_rows=16, prefix_cache="none"))
    requests = [
        engine.add(prompt, frozenset(), SamplingSettings(max_tokens=count))
        for prompt, count in zip(prompts, counts, strict=True)
    ]
    engine.run()
    return [request.generation.tokens for request in requests]


def decode_theirs(model: LlamaForCausalLM, prompts: Sequence[np.ndarray], counts: Sequence[int]) -> list[list[int]]:
    """Batches of 16 in order of arrival, each up to its longest answer."""
    results: list[list[int]] = []
    for first in range(0, len(prompts), 16):
        batch, wanted = prompts[first : first + 16], counts[first : first + 16]
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
    return results


def compare_on_model(arguments: argparse.Namespace) -> None:
    """One comparison for each workload, or for the one that is named."""
    for workload in [arguments.workload] if arguments.workload else WORKLOADS:
        dtype = getattr(torch, arguments.dtype)
        roles = {
            role: partial(measure_model, role=role, folder=arguments.model, dtype=dtype, workload=workload)
            for role in ("ours", "transformers")
        }
        measured = measure_in_turn(roles, arguments, unit="tokens/s", child_options=["--workload", workload])
        pairs = zip(*(rounds[0]["hashes"] for rounds in measured.values()), strict=True)
        equal = [ours == theirs for ours, theirs in pairs]
        print(f"{workload}: {sum(equal)} of {len(equal)} requests have equal tokens")
        print_comparison(
            measured, arguments, name=f"decode {workload}", unit="tokens/s", main_peer="transformers"
        )  # fmt: skip


if __name__ == "__main__":
    roles = {
        "ours": measure_ours,
        "transformers, static cache": partial(measure_transformers, cache="static"),
        "transformers": partial(measure_transformers, cache="dynamic"),
    }
    parser = argument_parser(rounds=5, quick_rounds=3)
    parser.add_argument("--model", type=Path, help="a published checkpoint instead of the small Llama shape")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="with --model")
    parser.add_argument("--workload", choices=list(WORKLOADS), help="with --model: only this one")
    arguments = parser.parse_args()
    if arguments.model:
        compare_on_model(arguments)
        sys.exit()
    measured = measure_in_turn(roles, arguments, unit="tokens/s")
    if len({measurement["tokens"] for rounds in measured.values() for measurement in rounds}) > 1:
        sys.exit("ours and transformers generated different tokens from the same weights; speeds are not compared")
    print("ours and transformers generated identical tokens")
    print_comparison(measured, arguments, name="decode", unit="tokens/s", main_peer="transformers")
