"""Tokens per second of greedy decoding: our engine and transformers' `generate`, with the same Llama-shaped weights.

32 prompts of 5 to 60 tokens, 100 new tokens each, no stop token, float32. transformers gets the
prompts in the form it requires: padded on the left, with a mask. The run fails if the generated tokens differ.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from common import Measurement, argument_parser, measure_in_turn, print_comparison

from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
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


if __name__ == "__main__":
    roles = {
        "ours": measure_ours,
        "transformers, static cache": partial(measure_transformers, cache="static"),
        "transformers": partial(measure_transformers, cache="dynamic"),
    }
    arguments = argument_parser(rounds=5, quick_rounds=3).parse_args()
    measured = measure_in_turn(roles, arguments, unit="tokens/s")
    if len({measurement["tokens"] for rounds in measured.values() for measurement in rounds}) > 1:
        sys.exit("ours and transformers generated different tokens from the same weights; speeds are not compared")
    print("ours and transformers generated identical tokens")
    print_comparison(measured, arguments, name="decode", unit="tokens/s", main_peer="transformers")
