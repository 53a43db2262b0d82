"""Latent attention, clamped SwiGLU and sinks; their families against transformers are in test_families.py."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
import transformers
from family_models import make, packed_logits, padded_logits, texts
from torch.utils.flop_counter import FlopCounterMode

from tutelage.batching.packing import collate
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.requests import Chunk, Generation, Request, StepPlan
from tutelage.engine.rows import Rows
from tutelage.engine.sampling import DrawStream, SamplingSettings
from tutelage.model.attention import ScoreOptions, masked_attention
from tutelage.model.hub import Checkpoint, load_model, save_model, with_context
from tutelage.model.mlp import activation
from tutelage.model.parts import parts
from tutelage.model.rotary import rotation_table
from tutelage.model.settings import Experts, Latent, YarnScaling
from tutelage.model.sizes import ModelSettings, flops_per_token, kv_bytes_per_token, parameter_count, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train.losses import cross_entropy

LATENT = Latent(rank=16, query_rank=12, plain=8, rotated=4, value=10)
EXPERTS = Experts(
    count=4, used=2, width=12, shared=1, scores="sigmoid", scaling=2.5, selection_bias=True, dense_layers=(0,)
)
SHAPE = ModelSettings(depth=2, width=32, heads=4, context=64, latent=LATENT, tied=False)


def test_pain_14_scores_and_rotations_have_a_factor_each(tmp_path: Path) -> None:
    """With `mscale` in place of `mscale_all_dim`, or without its square, logits at position 0 would be right, and worse
    with the distance."""
    for kind in ("deepseek_v2", "deepseek_v3"):
        theirs = make(tmp_path / kind, kind)
        ours, row = load_model(tmp_path / kind).model, texts([51])
        [found], [expected] = packed_logits(ours, row), padded_logits(theirs, row)
        assert (found[[0, 50]] - expected[[0, 50]]).abs().max() < 1e-5 * expected.abs().max()
        wrong = Transformer(msgspec.structs.replace(ours.config, attention_scale=ours.config.head_size**-0.5))
        wrong.load_state_dict(ours.state_dict())
        [without] = packed_logits(wrong, row)
        assert (without[0] - expected[0]).abs().max() < 1e-4 < (without[50] - expected[50]).abs().max()


def test_pain_15_rotated_rows_in_pairs_become_halves_and_come_back(tmp_path: Path) -> None:
    """The round trip is in test_families.py; here the rows of one head, which are paired in the file."""
    theirs, ours = make(tmp_path, "deepseek_v3"), load_model(tmp_path).model
    attention, config = theirs.model.layers[0].self_attn, ours.config
    rows = ours.blocks[0].q_up.weight[config.heads * 12 : config.heads * 12 + 8]
    assert torch.equal(rows, attention.q_b_proj.weight[12:20][[0, 2, 4, 6, 1, 3, 5, 7]])
    assert torch.equal(
        ours.blocks[0].kv_down.weight[16:], attention.kv_a_proj_with_mqa.weight[16:][[0, 2, 4, 6, 1, 3, 5, 7]]
    )


def test_pain_16_the_activation_of_gpt_oss_clamps_and_adds_one() -> None:
    gate, up = torch.tensor([2.0, 9.0, -9.0]), torch.tensor([0.5, -8.0, 8.0])
    found = activation("swiglu_clamped", torch.cat([gate, up]))
    clamped = torch.tensor([2.0, 7.0, -9.0])
    torch.testing.assert_close(found, torch.tensor([1.5, -6.0, 8.0]) * clamped * torch.sigmoid(1.702 * clamped))


def test_pain_16_a_sink_of_minus_infinity_is_none() -> None:
    q, k, v = torch.randn(3, 2, 4, 5, 8)
    mask = torch.full((5, 5), -torch.inf).triu(1)
    plain = masked_attention(q, k, v, mask, ScoreOptions())
    for value, factor in ((-torch.inf, 1.0), (0.0, None)):
        found = masked_attention(q, k, v, mask, ScoreOptions(), torch.full((4, 1, 1), value))
        assert torch.allclose(found, plain, atol=1e-6) == (factor is not None)
    first = masked_attention(q, k, v, mask, ScoreOptions(), torch.zeros(4, 1, 1))[..., 0, :]
    score = (q[..., 0, :] * k[..., 0, :]).sum(-1, keepdim=True) * 8**-0.5
    torch.testing.assert_close(first, v[..., 0, :] * score.exp() / (score.exp() + 1))


@pytest.mark.parametrize("kind", ["deepseek_v3", "gpt_oss"])
def test_pain_17_a_longer_context_changes_the_table_and_is_saved(kind: str, tmp_path: Path) -> None:
    """The original context stays the number that scaling was made for."""
    make(tmp_path, kind)
    before = load_model(tmp_path)
    scaling = before.model.config.rope_scaling
    assert isinstance(scaling, YarnScaling)
    unscaled = msgspec.structs.replace(before.model.config, rope_scaling=None)
    assert not torch.equal(rotation_table(unscaled), before.model.rotations)
    save_model(tmp_path / "longer", with_context(before, 128))
    again = load_model(tmp_path / "longer").model
    assert again.config.context == 128
    assert again.config.rope_scaling == scaling
    assert torch.equal(again.rotations[:, :64], before.model.rotations)


def test_the_cache_holds_latents_alone() -> None:
    """576 numbers per token and layer in DeepSeek's sizes; here 16 + 4."""
    config = resolve(msgspec.structs.replace(SHAPE, context=16), vocab=30)
    assert kv_bytes_per_token(config) == 4 * 2 * 20
    engine = Engine(initialise(Transformer(config), 0), EngineSettings(max_rows=1))
    engine.add([1] * 15, frozenset(), SamplingSettings())
    engine.step()
    assert isinstance(engine.rows, Rows)
    assert engine.rows.kv.nbytes == kv_bytes_per_token(config) * 16


@pytest.mark.parametrize("chunk", [20, 7])
def test_a_prompt_read_whole_and_in_chunks_gives_the_logits_of_training(chunk: int) -> None:
    """Keys and values are computed for a prompt that is read whole, and absorbed where a chunk is resumed."""
    model = initialise(Transformer(resolve(SHAPE, vocab=30)), 0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.ndim > 1 else 1)
    tokens, positions = torch.arange(20), torch.arange(20)
    with torch.no_grad():
        expected = model.logits(model.hidden(tokens, positions, model.within_segments((20,))))[-1]
    cache, ids = Rows(model, 1), tokens.tolist()
    sampling = SamplingSettings(max_tokens=4)
    request = Request(0, 20, ids, sampling, frozenset(), DrawStream(0, 0, 0), Generation(), "running")
    cache.admit(request, 1)
    while request.computed < 20:
        count = min(chunk, 20 - request.computed)
        with torch.inference_mode():
            logits = cache.forward(StepPlan([], [Chunk(request, count)]))
        request.computed += count
    torch.testing.assert_close(logits[-1], expected)


def test_parameters_and_flops_of_latent_attention_are_exact() -> None:
    config = resolve(msgspec.structs.replace(SHAPE, experts=EXPERTS), vocab=200)
    model = initialise(Transformer(config), 0)
    assert parameter_count(config) == sum(parameter.numel() for parameter in model.parameters())
    batch = collate([(Example(torch.zeros(8).int().numpy(), targets=torch.ones(8).int().numpy()),)] * 3)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model, batch)[0]["loss"].backward()
    assert flops_per_token(config, 0) == pytest.approx(counter.get_total_flops() / len(batch.tokens_N), rel=1e-9)
    pairs = flops_per_token(config, 20) - flops_per_token(config, 0)
    assert pairs == 6 * config.depth * config.heads * (8 + 4 + 10) * 10


def test_compressed_keys_and_rotated_ones_are_separate_matrices() -> None:
    config = resolve(SHAPE, vocab=30)
    named = {part.name: part.rows for part in parts(config, "blocks.0.kv_up.weight")}
    assert named == {"k": slice(0, 32), "v": slice(32, 72)}
    assert [part.name for part in parts(config, "blocks.0.kv_down.weight")] == ["latent", "k_rotated"]
    assert [part.name for part in parts(config, "blocks.0.q_up.weight")] == ["q_plain", "q_rotated"]


def test_a_latent_mixture_trained_here_is_a_deepseek_v3(tmp_path: Path) -> None:
    tokenizer = train(["abc "], TokenizerSettings(kind="char"))
    model = initialise(Transformer(resolve(msgspec.structs.replace(SHAPE, experts=EXPERTS), tokenizer.vocab_size)), 1)
    save_model(tmp_path, Checkpoint(model, tokenizer))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs).__name__ == "DeepseekV3ForCausalLM"
    ids = torch.tensor([0, 1, 2, 3, 1])
    with torch.no_grad():
        hidden = model.hidden(ids, torch.arange(5), model.within_segments((5,)))
        torch.testing.assert_close(model.logits(hidden), theirs(ids[None]).logits[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kv_heads": 2}, "model.latent excludes kv_heads, qk_norm, bias and learned positions; leave them out"),
        ({"qk_norm": True}, "model.latent excludes kv_heads, qk_norm, bias and learned positions; leave them out"),
    ],
)
def test_settings_that_latent_attention_excludes_are_one_sentence(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match="latent") as error:
        resolve(msgspec.structs.replace(SHAPE, **changes), vocab=10)
    assert str(error.value) == sentence


def test_values_larger_than_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="^latent.value is 13, more than plain \\+ rotated = 12; lower it$"):
        msgspec.convert({"rank": 4, "plain": 8, "rotated": 4, "value": 13}, Latent)
