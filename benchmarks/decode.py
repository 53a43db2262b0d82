"""Tokens per second of greedy decoding: our engine and transformers' `generate`, with the same Llama-shaped weights.

32 prompts of 5 to 60 tokens, 100 new tokens each, no stop token, float32. transformers gets the
prompts in the form it requires: padded on the left, with a mask. The run fails if the generated tokens differ.

With `--model DIR`, a published checkpoint in the dtype `--dtype`, these workloads: one request; 8; 16 prompts of
ragged length; 256 requests with long-tailed answer lengths, at most 16 at once, where transformers runs batches of 16
to their longest answer; prompts whose texts the model copies, with n-gram speculation and without. Only tokens that
were asked for count. Beside ours: 8-bit weights, with what they cost; llama.cpp, f16 and q8_0, where
TUTELAGE_LLAMA_CPP names a Python with llama-cpp-python; an older checkout of Tutelage (`--older`, such as a git
worktree), on 256 sampled answers. The floor is the time that a step takes to read the weights at the measured
bandwidth of memory. The number of requests with equal tokens is printed: float32 weights against f16 differ at near
ties.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from common import CHECKOUT, Measurement, argument_parser, measure_in_turn, print_comparison
from decoding import roles
from decoding.workloads import NAMES

from tutelage.corpus.fetch import cache_folder
from tutelage.engine.engine import generate
from tutelage.engine.quantization_check import measure_quantization
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.gguf.write import write_gguf
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


def compare_on_model(arguments: argparse.Namespace) -> None:
    """One comparison for each workload, or for the one that is named."""
    dtype, folder = getattr(torch, arguments.dtype), arguments.model
    if arguments.older and not arguments.workload:
        compare_checkouts(arguments)
    for name in [arguments.workload] if arguments.workload else NAMES:
        loads = {"ours": partial(roles.ours, folder, dtype), "transformers": partial(roles.transformers, folder, dtype)}
        if name in ("1", "8"):
            loads["ours int8"] = partial(roles.ours, folder, dtype, int8=True)
            if "TUTELAGE_LLAMA_CPP" in os.environ:
                for kind in ("f16", "q8_0"):
                    loads[f"llama.cpp {kind}"] = partial(roles.llama_cpp, gguf_file(folder, kind))
        if name == "copying":
            loads = {"ours speculating": partial(roles.ours, folder, dtype, speculate=roles.GUESSES), **loads}
        measures = {role: partial(roles.measure, load=load, folder=folder, name=name) for role, load in loads.items()}
        measured = measure_in_turn(measures, arguments, unit="tokens/s", child_options=["--workload", name])
        print_workload(name, measured, arguments)
        if name == "1":
            print_floor(load_model(folder, dtype=dtype).model, measured)


def print_workload(name: str, measured: dict[str, list[Measurement]], arguments: argparse.Namespace) -> None:
    """A JSON line for each pair that is compared; ours against transformers in the same dtype last."""
    first = {role: rounds[0] for role, rounds in measured.items()}
    for role, measurement in first.items():
        more = {key: measurement[key] for key in ("fill", "accepted") if key in measurement}
        print(f"{name}: {role} answers {roles.equal_answers([first['ours'], measurement])} as ours {more or ''}")
    pairs = [("ours int8", role) for role in measured if role.startswith("llama.cpp")]
    pairs += [("ours", role) for role in measured if role.startswith("llama.cpp")]
    pairs += [("ours speculating", "ours")] if "ours speculating" in measured else []
    for one, other in [*pairs, ("ours", "transformers")]:
        print_comparison(
            {one: measured[one], other: measured[other]}, arguments,
            name=f"decode {name}: {one}", unit="tokens/s", main_peer=other,
        )  # fmt: skip


def print_floor(model: Transformer, measured: dict[str, list[Measurement]]) -> None:
    """Tokens per second of one request if a step took no longer than reading the weights, and the share reached."""
    speed = roles.bandwidth()
    for role, bits in (("ours", 8 * model.embedding.weight.element_size()), ("ours int8", 8)):
        most = speed / roles.weight_bytes(model, bits)
        value = statistics.median(measurement["value"] for measurement in measured[role])
        print(json.dumps({"name": f"floor: {role}", "bandwidth_gb_s": round(speed / 1e9, 1),
                          "most_tokens_s": round(most, 1), "share": round(value / most, 3)}))  # fmt: skip
    print(measure_quantization(model).sentence())


def compare_checkouts(arguments: argparse.Namespace) -> None:
    """This checkout against an older one, whose public interface is `generate`."""
    checkouts = {"ours": CHECKOUT, "older": arguments.older}
    measures = {
        role: partial(roles.measure_checkout, checkout=checkout, folder=arguments.model, dtype=arguments.dtype)
        for role, checkout in checkouts.items()
    }
    measured = measure_in_turn(measures, arguments, unit="tokens/s", child_options=["--checkouts"])
    print_comparison(measured, arguments, name="decode 256 sampled", unit="tokens/s", main_peer="older")


def gguf_file(folder: Path, kind: Literal["f16", "q8_0"]) -> Path:
    """The model as a GGUF file, written once into the cache."""
    path = cache_folder() / "benchmarks" / f"{folder.name}-{kind}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_gguf(path, load_model(folder), kind, folder.name)
    return path


if __name__ == "__main__":
    measures = {
        "ours": measure_ours,
        "transformers, static cache": partial(measure_transformers, cache="static"),
        "transformers": partial(measure_transformers, cache="dynamic"),
    }
    parser = argument_parser(rounds=5, quick_rounds=3)
    parser.add_argument("--model", type=Path, help="a published checkpoint instead of the small Llama shape")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="with --model")
    parser.add_argument("--workload", choices=NAMES, help="with --model: only this one")
    parser.add_argument("--older", type=Path, metavar="DIR", help="with --model: also against this older checkout")
    parser.add_argument("--checkouts", action="store_true", help="with --older: only that comparison")
    arguments = parser.parse_args()
    if arguments.checkouts:
        compare_checkouts(arguments)
        sys.exit()
    if arguments.model:
        compare_on_model(arguments)
        sys.exit()
    measured = measure_in_turn(measures, arguments, unit="tokens/s")
    if len({measurement["tokens"] for rounds in measured.values() for measurement in rounds}) > 1:
        sys.exit("ours and transformers generated different tokens from the same weights; speeds are not compared")
    print("ours and transformers generated identical tokens")
    print_comparison(measured, arguments, name="decode", unit="tokens/s", main_peer="transformers")
